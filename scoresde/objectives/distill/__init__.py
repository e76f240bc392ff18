"""Models of few steps: what a `FlowMap` is trained by, from a teacher or from data alone.

`base.py`: what all of them draw and ask of a teacher; `suited.py`: which student, teacher and method go together;
`look.py`: what they are watched by; `paced.py`: what some remember of their steps; `times.py`: where jumps begin;
`consistency.py`: jumps to the data of neighbours on one trajectory; `continuous.py`: the same with neighbours
infinitely near, to the data (sCM) or to anywhere (MeanFlow); `anywhere.py`: jumps to anywhere that agree with each
other, shortcuts and trajectories; `progressive.py`: chains of jumps, halved stage by stage; `guided.py`: a denoiser
that is told its guidance; `stored.py`: pairs of a noise and its end, by which `knowledge.py` trains one jump, or a
straighter flow; `matching/`: by the law of what a student makes (DMD, DMD2, ADD).  All is written in z = x / n and
phi = atan(sigma / alpha), in which every SDE has one flow.
"""

from .anywhere import Shortcut, Trajectory
from .base import Distilled
from .consistency import Consistency
from .continuous import SCM, Continuous, MeanFlow
from .guided import GuidedDistillation
from .knowledge import Pairs, Reflow
from .matching import ADD, DMD, DMD2, Contest, Matching
from .progressive import Progressive
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
