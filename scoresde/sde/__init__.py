"""Linear SDEs: the abstract one, and those of the papers."""

from .base import SDE, Marginal, as_time, expand, widest
from .known import EDM, VE, VP, Cosine, Linear, SubVP

__all__ = ["EDM", "SDE", "VE", "VP", "Cosine", "Linear", "Marginal", "SubVP", "as_time", "expand", "widest"]
