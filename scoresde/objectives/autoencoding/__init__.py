"""Autoencoders, as an objective: `objective.py`; how far a picture is from its reconstruction: `losses.py`; a codebook
whose codes stay in use: `codes.py`."""

from .losses import Perceptual
from .objective import Autoencode

__all__ = ["Autoencode", "Perceptual"]
