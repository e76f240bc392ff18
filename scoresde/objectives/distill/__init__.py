"""Models of few steps: what a `FlowMap` is trained by, from a teacher or from data alone.

<<<<<<< HEAD
`base.py`: what all of them draw and ask of a teacher; `suited.py`: which student, teacher and method go together;
`look.py`: what they are watched by; `times.py`: where jumps begin; `consistency.py`: jumps to the data of neighbours on
one trajectory; `continuous.py`: the same with neighbours infinitely near, to the data (sCM) or to anywhere (MeanFlow);
`anywhere.py`: jumps to anywhere that agree with each other, shortcuts and trajectories; `progressive.py`: chains of
jumps, halved stage by stage; `guided.py`: a denoiser that is told its guidance; `stored.py`: pairs of a noise and its
end, by which `knowledge.py` trains one jump, or a straighter flow.  All is written in z = x / n and phi =
atan(sigma / alpha), in which every SDE has one flow.
=======
`base.py`: what all of them draw and ask of a teacher; `look.py`: what they are watched by; `times.py`: where jumps
begin; `consistency.py`: jumps to the data of neighbours on one trajectory; `continuous.py`: the same with neighbours
infinitely near, to the data (sCM) or to anywhere (MeanFlow); `stored.py`: pairs of a noise and its end; `matching/`:
by the law of what a student makes (DMD, DMD2, ADD).  All is written in z = x / n and phi = atan(sigma / alpha), in
which every SDE has one flow.
>>>>>>> c133483a294cfa7be306532ba2f768b008e22487
"""

from .anywhere import Shortcut, Trajectory
from .base import Distilled
from .consistency import Consistency
from .continuous import SCM, Continuous, MeanFlow
<<<<<<< HEAD
from .guided import GuidedDistillation
from .knowledge import Pairs, Reflow
from .matching import ADD, DMD, DMD2
from .progressive import Progressive
=======
from .matching import ADD, DMD, DMD2, Contest, Matching
>>>>>>> c133483a294cfa7be306532ba2f768b008e22487
from .stored import Stored, pairs

__all__ = [
    "ADD",
    "DMD",
    "DMD2",
    "SCM",
    "Consistency",
<<<<<<< HEAD
    "Continuous",
    "Distilled",
    "GuidedDistillation",
    "MeanFlow",
    "Pairs",
    "Progressive",
    "Reflow",
    "Shortcut",
    "Stored",
    "Trajectory",
=======
    "Contest",
    "Continuous",
    "Distilled",
    "Matching",
    "MeanFlow",
    "Stored",
>>>>>>> c133483a294cfa7be306532ba2f768b008e22487
    "pairs",
]
