"""Pictures without a part that is named."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from ...errors import InputError
from ...settings import Fraction
from .base import View
from .hole import wide


@dataclass(frozen=True)
class Box(View):
    """A picture without a box, the same one of each picture: NaN there, and as it is elsewhere.

    What a model of inpainting (`Hole`) is told where somebody says what is to be drawn anew.

    Arguments:
        low, high: where the box begins and ends along each axis of space, shares of it from the top and from the left;
            up to whole pixels.

    Raises:
        InputError: a box that ends where it begins, or before; in use, one of other axes than the picture's, without a
            pixel, or with all of them.
    """

    low: tuple[Fraction, ...] = (0.0, 0.0)
    high: tuple[Fraction, ...] = (0.5, 1.0)

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            value = getattr(self, name)
            object.__setattr__(self, name, tuple(value) if isinstance(value, list) else value)
        super().__post_init__()
        if len(self.low) != len(self.high) or not all(a < b for a, b in zip(self.low, self.high, strict=False)):
            raise InputError(f"low={list(self.low)}, high={list(self.high)}: give a begin below an end for each axis")

    def of(self, shape):
        wide(type(self).__name__, shape)
        space = tuple(shape[1:])
        if len(space) != len(self.low):
            raise InputError(f"low={list(self.low)}: pictures of shape {tuple(shape)} have {len(space)} axes of space")
        gone = self._gone(space)
        if not gone.any() or gone.all():
            some = "no pixel" if not gone.any() else "every pixel"
            raise InputError(f"low={list(self.low)}, high={list(self.high)}: the box has {some} of {space}")
        return tuple(shape)

    def __call__(self, x, index, seed):
        return torch.where(self._gone(tuple(x.shape[2:])).to(x.device), math.nan, x)

    def _gone(self, space: tuple[int, ...]) -> torch.Tensor:
        """Which pixels (*space) are missing."""
        gone = torch.ones(space, dtype=torch.bool)
        for axis, (n, low, high) in enumerate(zip(space, self.low, self.high, strict=True)):
            place = torch.arange(n).reshape(n, *[1] * (len(space) - axis - 1))
            gone &= (place >= round(low * n)) & (place < round(high * n))
        return gone
