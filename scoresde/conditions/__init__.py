"""Conditions: what a model can be told about a sample, as plain tensors with a row for each, which may be missing.

`base.py`: what a condition is, and how it is written where it is missing; `kinds.py`: the four kinds, and how each is
checked; `text.py`: tokens that are words; `features.py`: what a frozen encoder gave; `made.py`: those that training
makes for itself; `jumps.py`: those of models of few steps.  It knows no model and no network.
"""

from .base import Kind, dropped, missing_like, of_items
from .features import Features
from .jumps import Landing, Strength
from .kinds import Label, Picture, Tokens, Vector
from .made import Augmentation, Corruption, Estimate
from .text import Text, retold, takes_words

KINDS: dict[str, type[Kind]] = {"label": Label, "vector": Vector, "picture": Picture, "tokens": Tokens, "text": Text}
KINDS |= {"features": Features}

__all__ = [
    "KINDS",
    "Augmentation",
    "Corruption",
    "Estimate",
    "Features",
    "Kind",
    "Label",
    "Landing",
    "Picture",
    "Strength",
    "Text",
    "Tokens",
    "Vector",
    "dropped",
    "missing_like",
    "of_items",
    "retold",
    "takes_words",
]
