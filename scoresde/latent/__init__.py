"""Latents: data whose items an autoencoder has made of others, and which it makes them of again.

`latents.py`: the data set; `encoded.py`: its items, made when they are asked for; what samples, guides and scores is
that of any data.  `pretrained.py`: autoencoders of others; `pca.py`: a linear one whose density is known; `bound.py`:
what a model of latents says of log p(x).  It may import `likelihood/`, `model/` and what lies below them.
"""

from ..model.trained.tiles import Tiles
from .bound import LatentBound, bound
from .latents import latents
from .pca import pca
from .pretrained import pretrained

__all__ = ["LatentBound", "Tiles", "bound", "latents", "pca", "pretrained"]
