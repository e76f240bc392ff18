"""Views: a picture that is computed of an item, and told to a model as a condition.

`base.py`: what a view is, a data set with one (`viewed`), samples with what is known of them (`put_back`);
`lower.py`: the item at a lower resolution; `grey.py`, `hole.py`, `box.py`, `border.py`, `jpeg.py`: without its colours,
a part of it, or its details; `mixed.py`: one of several.  A view is a function of the item and of (seed, index),
computed when rows are asked for.
"""

from .base import View, put_back, redrawn, viewed
from .border import Border
from .box import Box
from .grey import Grey
from .hole import Hole
from .jpeg import Jpeg
from .lower import Lower, lowered
from .mixed import Mixed

__all__ = [
    "Border",
    "Box",
    "Grey",
    "Hole",
    "Jpeg",
    "Lower",
    "Mixed",
    "View",
    "lowered",
    "put_back",
    "redrawn",
    "viewed",
]
