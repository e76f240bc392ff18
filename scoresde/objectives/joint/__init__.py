"""An autoencoder and a denoiser of its latents trained together, as an objective: `lsgm.py`; the two as one module, and
how the noise levels weigh for each: `parts.py`."""

from .lsgm import LSGM
from .parts import Joint

__all__ = ["LSGM", "Joint"]
