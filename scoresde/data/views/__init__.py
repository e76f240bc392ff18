"""Views: a picture that is computed of an item, and told to a model as a condition.

`base.py`: what a view is, and a data set with one (`viewed`); `lower.py`: the item at a lower resolution.  A view is a
function of the item and of (seed, index), computed when rows are asked for.
"""

from .base import View, viewed
from .lower import Lower, lowered

__all__ = ["Lower", "View", "lowered", "viewed"]
