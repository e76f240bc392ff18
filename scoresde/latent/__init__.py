"""Latents: data whose items an autoencoder has made of others, and which it makes them of again.

`latents.py`: the data set; what samples, guides and scores is that of any data.  It may import `model/` and what lies
below it.
"""

from .latents import latents

__all__ = ["latents"]
