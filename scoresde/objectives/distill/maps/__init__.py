"""By the map: each jump is told where it lands.

`consistency.py`: jumps to the data of neighbours on one trajectory; `continuous.py`: the same with neighbours
infinitely near, to the data (sCM) or to anywhere (MeanFlow); `anywhere.py`: jumps to anywhere that agree with each
other, shortcuts and trajectories; `progressive.py`: chains of jumps, halved stage by stage; `guided.py`: a denoiser
that is told its guidance; `knowledge.py`: by stored pairs of a noise and its end, one jump or a straighter flow.
"""

from .anywhere import Shortcut, Trajectory
from .consistency import Consistency
from .continuous import SCM, Continuous, MeanFlow
from .guided import GuidedDistillation
from .knowledge import Pairs, Reflow
from .progressive import Progressive

__all__ = [
    "SCM",
    "Consistency",
    "Continuous",
    "GuidedDistillation",
    "MeanFlow",
    "Pairs",
    "Progressive",
    "Reflow",
    "Shortcut",
    "Trajectory",
]
