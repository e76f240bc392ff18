"""Networks: `net(x, c)`, or `net(x, c, cond)`, for x (B, *shape) and the log noise level c (B,); they know no SDE.

`unets/`, `transformers/` and `mlp.py` answer with what is like x, `encoder.py` with a vector, `reader.py` with one of
what a sample is told; `energy.py` and `mixed.py` are around another; `autoencoder/`: down to latents and up again;
`presets/` makes them in the sizes of their papers, `auto.py` in one by the data and the time.
`parts/` is what they share: `parts/conditioning/` turns conditions into a vector, channels and tokens: no network knows
what a label is.
"""

from . import presets
from .auto import auto
from .autoencoder import Codebook, Codec, Gaussian, LinearCodec, PatchCritic, Plain, TinyCodec
from .base import Network
from .encoder import Encoder
from .energy import Energy
from .mixed import Mixed
from .mlp import MLP
from .parts.conditioning import Conditioner
from .reader import Reader
from .transformers import DiT, JiT, SimpleUViT, UViT
from .unets import EDM2, NestedUNet, RefineNet, UNet

__all__ = [
    "EDM2",
    "MLP",
    "Codebook",
    "Codec",
    "Conditioner",
    "DiT",
    "Encoder",
    "Energy",
    "Gaussian",
    "JiT",
    "LinearCodec",
    "Mixed",
    "NestedUNet",
    "Network",
    "PatchCritic",
    "Plain",
    "Reader",
    "RefineNet",
    "SimpleUViT",
    "TinyCodec",
    "UNet",
    "UViT",
    "auto",
    "presets",
]
