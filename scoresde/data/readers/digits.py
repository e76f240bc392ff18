"""The 8x8 handwritten digits that come with scikit-learn."""

from __future__ import annotations

import torch

from ...conditions import Label
from ...errors import InputError
from ...settings import Seed, checked
from ...spaces import Bins
from ..base import Data
from ..checks import Part, split
from ..rows import Tensors
from ..texts.digits import captions


@checked
def digits(test: Part = 300, seed: Seed = 0) -> Data:
    """1797 handwritten digits, (1, 8, 8) uint8 with 17 levels 0..16, with their "label"; nothing is downloaded.

    Where a model asks for it there is a "caption": "a handwritten three", "the digit three", "a three written by hand"
    or "three", one after the other by an item's number.

    Arguments:
        test: a fraction or a count of them.
        seed: of the split.

    Raises:
        InputError: scikit-learn is not installed; a test or seed that `split` refuses.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise InputError("the digits need scikit-learn: pip install scikit-learn") from error
    found = load_digits()
    x, y = torch.from_numpy(found.images).to(torch.uint8).unsqueeze(1), torch.from_numpy(found.target).long()
    train, hold = split(len(x), test, seed)
    parts = (Tensors(x[part], cond={"label": y[part]}) for part in (train, hold))
    more = {"caption": captions(y[train], y[hold])}
    return Data("digits", *parts, Bins(17), conditions={"label": Label(10)}, more=more)
