"""Models of few steps: what a `FlowMap` is trained by, from a teacher or from data alone.

`base.py`: what all of them draw and ask of a teacher; `suited.py`: which student, teacher and method go together;
`look.py`: what they are watched by; `paced.py`: what some remember of their steps; `times.py`: where jumps begin;
`stored.py`: pairs of a noise and its end; `maps/`: by where each jump lands (consistency, sCM, MeanFlow, shortcuts,
progressive, pairs); `matching/`: by the law of what a student makes (DMD, DMD2, ADD).  All is written in z = x / n and
phi = atan(sigma / alpha), in which every SDE has one flow.
"""

from .base import Distilled
from .maps import (
    SCM,
    Consistency,
    Continuous,
    GuidedDistillation,
    MeanFlow,
    Pairs,
    Progressive,
    Reflow,
    Shortcut,
    Trajectory,
)
from .matching import ADD, DMD, DMD2, Contest, Matching
from .stored import Stored, pairs

__all__ = [
    "ADD",
    "DMD",
    "DMD2",
    "SCM",
    "Consistency",
    "Contest",
    "Continuous",
    "Distilled",
    "GuidedDistillation",
    "Matching",
    "MeanFlow",
    "Pairs",
    "Progressive",
    "Reflow",
    "Shortcut",
    "Stored",
    "Trajectory",
    "pairs",
]
