"""unCLIP: pictures by way of their CLIP embeddings, a prior of embeddings and a decoder of them.

`embedded.py`: data whose items are embeddings, and data whose items come with theirs, both computed once;
`pictures.py`: a prior and a decoder together: pictures from words, variations of a picture, walks between two, and
changes of one by words.  It may import `machine/`, `conditions/`, `data/`, `denoiser/`, `sampling/` and
`model/`.

Ramesh et al. (2022), Hierarchical Text-Conditional Image Generation with CLIP Latents, arXiv 2204.06125.
"""

from .embedded import embedded, embeddings
from .pictures import Unclip

__all__ = ["Unclip", "embedded", "embeddings"]
