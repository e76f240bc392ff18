"""Models of few steps: what a `FlowMap` is trained by, from a teacher or from data alone.

`base.py`: what all of them draw and ask of a teacher; `look.py`: what they are watched by; `times.py`: where jumps
begin; `consistency.py`: jumps to the data of neighbours on one trajectory; `continuous.py`: the same with neighbours
infinitely near, to the data (sCM) or to anywhere (MeanFlow); `stored.py`: pairs of a noise and its end; `matching/`: by
the law of what a student makes (DMD, DMD2, ADD).  All is written in z = x / n and phi = atan(sigma / alpha), in which
every SDE has one flow.
"""

from .base import Distilled
from .consistency import Consistency
from .continuous import SCM, Continuous, MeanFlow
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
    "Matching",
    "MeanFlow",
    "Stored",
    "pairs",
]
