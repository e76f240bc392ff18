"""Data sets: each function returns a `Data`, raw items in two splits with an exact map to the model's space."""

from .base import Affine, Data
from .checks import split
from .items import Tensors, item, stack
from .look import check_data
from .readers.array import array, from_table, from_tensor
from .readers.custom import as_data, custom
from .readers.digits import digits
from .readers.images import images
from .readers.mnist import mnist
from .readers.toy import toy

__all__ = [
    "Affine",
    "Data",
    "Tensors",
    "array",
    "as_data",
    "check_data",
    "custom",
    "digits",
    "from_table",
    "from_tensor",
    "images",
    "item",
    "mnist",
    "split",
    "stack",
    "toy",
]
