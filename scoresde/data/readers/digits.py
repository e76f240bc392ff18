"""The 8x8 handwritten digits that come with scikit-learn."""

from __future__ import annotations

from typing import Annotated

import torch

from ...conditions import Label
from ...errors import InputError
from ...settings import LATER, Count, Seed, checked
from ...spaces import Bins
from ..base import Data
from ..checks import Part, split
from ..rows import Tensors
from ..texts.digits import captions
from ..views import lowered


@checked
def digits(test: Part = 300, seed: Seed = 0, size: Annotated[Count | None, LATER] = None) -> Data:
    """1797 handwritten digits, (1, 8, 8) uint8 with 17 levels 0..16, with their "label"; nothing is downloaded.

    Where a model asks for it there is a "caption": "a handwritten three", "the digit three", "a three written by hand"
    or "three", one after the other by an item's number.

    Arguments:
        test: a fraction or a count of them.
        seed: of the split.
        size: the side of the images, 4, say: rounded means; None: as they are.

    Returns:
        A `Data`, of uint8 (1, 8, 8) or (1, size, size), 17 levels.

    Raises:
        InputError: scikit-learn is not installed; a test or seed that `split` refuses; a size that does not divide 8.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise InputError("the digits need scikit-learn: pip install scikit-learn") from error
    found = load_digits()
    x, y = torch.from_numpy(found.images).to(torch.uint8).unsqueeze(1), torch.from_numpy(found.target).long()
    x = lowered(x, size)
    train, hold = split(len(x), test, seed)
    parts = (Tensors(x[part], cond={"label": y[part]}) for part in (train, hold))
    more = {"caption": captions(y[train], y[hold])}
    return Data("digits", *parts, Bins(17), conditions={"label": Label(10)}, more=more)
