"""Data sets: each function returns a `Data`, raw items in two splits with an exact map to the model's space."""

from .array import array, from_table, from_tensor
from .base import Affine, Data
from .checks import split
from .custom import as_data, custom
from .digits import digits
from .images import images
from .items import Tensors, item, stack
from .look import check_data
from .mnist import mnist
from .toy import toy

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
