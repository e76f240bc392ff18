"""Few steps by the distribution of what they make: a student whose samples a second player cannot tell from the data.

`base.py`: what the student makes in a step, and the fake denoiser, which learns its law; `parts.py`: with what both
begin; `critics.py`: networks that tell samples from data, alone or by the features of another; `contest.py`: a student
against one; `dmd.py`: distribution matching by the difference of two denoisers, alone (DMD) and with a critic (DMD2);
`add.py`: a critic and a teacher (ADD, LADD).
"""

from .add import ADD
from .base import Matching
from .contest import Contest
from .critics import Critic, FeatureCritic, NetCritic
from .dmd import DMD, DMD2

__all__ = ["ADD", "DMD", "DMD2", "Contest", "Critic", "FeatureCritic", "Matching", "NetCritic"]
