"""The parts of an autoencoder: `codec.py` down to a small grid and up again, `tiny.py` as others trained it,
`linear.py` by matrices; `bottleneck.py`, what lies between, and `critic.py`, which tells true pictures from its own."""

from .bottleneck import Codebook, Coded, Gaussian, Plain
from .codec import Codec
from .critic import PatchCritic
from .linear import LinearCodec
from .tiny import TinyCodec

__all__ = ["Codebook", "Codec", "Coded", "Gaussian", "LinearCodec", "PatchCritic", "Plain", "TinyCodec"]
