"""Autoencoders, as an objective: `objective.py`; how far a picture is from its reconstruction: `losses.py`, and
by the features that others published: `published.py`; a codebook whose codes stay in use: `codes.py`."""

from .losses import Perceptual
from .objective import Autoencode
from .published import lpips

__all__ = ["Autoencode", "Perceptual", "lpips"]
