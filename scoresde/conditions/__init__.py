"""Conditions: what a model can be told about a sample, as plain tensors with a row for each, which may be missing.

`base.py`: what a condition is, and how it is written where it is missing; `kinds.py`: the four kinds, and how each is
checked; `made.py`: those that training makes for itself.  It knows no model and no network.
"""

from .base import Kind, dropped, missing_like, of_items
from .kinds import KINDS, Label, Picture, Tokens, Vector
from .made import Augmentation, Corruption, Estimate
from .text import Text, retold

__all__ = [
    "KINDS",
    "Augmentation",
    "Corruption",
    "Estimate",
    "Kind",
    "Label",
    "Picture",
    "Text",
    "Tokens",
    "Vector",
    "dropped",
    "missing_like",
    "of_items",
    "retold",
]
