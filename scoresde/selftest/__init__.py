"""Whether this installation works on this machine and device: `python run.py task=selftest`, in about a minute.

    python -m scoresde.selftest [auto|cpu|cuda|mps]

does the same where nothing but torch, numpy and scipy is installed.
"""

from .proof import failed, prove, selftest

__all__ = ["failed", "prove", "selftest"]
