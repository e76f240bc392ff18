"""Latents: data whose items an autoencoder has made of others, and which it makes them of again.

`latents.py`: the data set; `encoded.py`: its items, made when they are asked for; `pretrained.py`: autoencoders of
others; what samples, guides and scores is that of any data.  It may import `model/` and what lies below it.
"""

from ..model.tiles import Tiles
from .latents import latents
from .pretrained import pretrained

__all__ = ["Tiles", "latents", "pretrained"]
