"""Data sets: each function returns a `Data`, raw items in two splits with what they come with, and their space.

`base.py`: what a data set is; `items.py`: items, many at once (`Batch`), and rows that need not fit in memory;
`offered.py`: what becomes a condition, of what kind, from what `plain.py` makes of it; `standard.py`: statistics;
`look.py`: the fingerprint and the look before a training; `pyramids.py`: pictures at several resolutions at once;
`readers/`: the data sets; `views/`: pictures that are computed of items, as conditions.  They may import `conditions/`,
`spaces/` and what checks settings.
"""

from ..spaces import Affine, Bins, Space
from .base import Data
from .checks import split
from .items import Batch, collate, item, stack
from .look import check_data, condition_prints
from .pyramids import pyramid
from .readers.arrays.array import array, from_table, from_tensor
from .readers.custom import as_data, custom
from .readers.digits import digits
from .readers.mnist import mnist
from .readers.pictures.images import images
from .readers.scenes.scenes import scenes
from .readers.toy import toy
from .rows import Tensors
from .texts.encoded import encoded
from .views import Border, Box, Grey, Hole, Jpeg, Lower, Mixed, View, put_back, viewed

__all__ = [
    "Affine",
    "Batch",
    "Bins",
    "Border",
    "Box",
    "Data",
    "Grey",
    "Hole",
    "Jpeg",
    "Lower",
    "Mixed",
    "Space",
    "Tensors",
    "View",
    "array",
    "as_data",
    "check_data",
    "collate",
    "condition_prints",
    "custom",
    "digits",
    "encoded",
    "from_table",
    "from_tensor",
    "images",
    "item",
    "mnist",
    "put_back",
    "pyramid",
    "scenes",
    "split",
    "stack",
    "toy",
    "viewed",
]
