"""Spaces: the exact map from raw values to what the model sees, and back, with its volume.

`affine.py`: continuous values; `bins.py`: values with levels, which know the volume of a bin;
`pyramid.py`: a picture at several resolutions as one tensor; `folds.py`: neighbours as channels.  They may import
`sde/`'s small tools and what checks settings, and know neither data sets nor models.
"""

from .affine import Affine
from .base import Space
from .bins import Bins, raw_dtype
from .pyramid import Pyramid

__all__ = ["Affine", "Bins", "Pyramid", "Space", "raw_dtype"]
