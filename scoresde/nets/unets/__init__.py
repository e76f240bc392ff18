"""Convolutions, down through a few resolutions and up again: `unet.py`; `nested.py`, U-Nets within one another, of all
sizes of a picture at once; `refinenet.py`, that of NCSN; `edm2.py`, which keeps the sizes of its activations."""

from .edm2 import EDM2
from .nested import NestedUNet
from .refinenet import RefineNet
from .unet import UNet

__all__ = ["EDM2", "NestedUNet", "RefineNet", "UNet"]
