"""Linear SDEs: the abstract one, and those of the papers."""

from .base import SDE, Marginal, as_time, expand, widest
from .known import EDM, VE, VP, Cosine, Linear, SubVP
from .schedules import CosinePower, Shifted, Sigmoid

__all__ = [
    "EDM",
    "SDE",
    "VE",
    "VP",
    "Cosine",
    "CosinePower",
    "Linear",
    "Marginal",
    "Shifted",
    "Sigmoid",
    "SubVP",
    "as_time",
    "expand",
    "widest",
]
