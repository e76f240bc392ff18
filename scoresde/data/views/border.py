"""Pictures without one of their sides, or without their frame."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch

from ...settings import Range
from .base import Choice, View, numbers
from .hole import wide


@dataclass(frozen=True)
class Border(View):
    """A picture without one side, or its frame, NaN there and as it is elsewhere: what is told for uncropping.

    Arguments:
        share: of the pixels, which are missing, up to whole lines of them; at least one line is, and one is not.
        where: "side", each alike often; "frame", all around; "both", each for about half of the items.
    """

    draws: ClassVar[bool] = True

    share: Annotated[float, Range(above=0, below=1)] = 0.5
    where: Literal["both", "side", "frame"] = "both"

    def of(self, shape):
        wide(type(self).__name__, shape)
        return tuple(shape)

    def __call__(self, x, index, seed):
        space, u = tuple(x.shape[2:]), numbers(index, 2, seed, Choice.BORDER)
        side = (u[:, 0] * 2 * len(space)).floor()
        framed = u[:, 1] < {"both": 0.5, "side": 0.0, "frame": 1.0}[self.where]
        known = torch.ones(len(x), *space, dtype=torch.bool)
        for axis, n in enumerate(space):
            line = [n if a == axis else 1 for a in range(len(space))]
            cut = min(max(round(self.share * n), 1), n - 1)
            left = n - min(max(round((1 - self.share) ** (1 / len(space)) * n), 1), n - 1)  # of a frame, both ends
            place = torch.arange(n)
            first, last, middle = place >= cut, place < n - cut, (place >= left // 2) & (place < n - (left - left // 2))
            for which, rows in ((first, side == 2 * axis), (last, side == 2 * axis + 1)):
                known &= which.reshape(1, *line) | ~(rows & ~framed).reshape(-1, *[1] * len(space))
            known &= middle.reshape(1, *line) | ~framed.reshape(-1, *[1] * len(space))
        return torch.where(known[:, None].to(x.device), x, math.nan)
