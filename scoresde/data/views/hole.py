"""Pictures with holes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from ...errors import InputError
from ...settings import Range
from .base import Choice, View, numbers

Share = Annotated[float, Range(above=0, below=1)]
Few = Annotated[int, Range(1, 64)]
LEAST = 1.01  # diagonals of a pixel that a stroke is wide: no narrower one covers a pixel wherever it begins


@dataclass(frozen=True)
class Hole(View):
    """A picture with a hole, NaN where pixels are missing and as it is elsewhere: what is told for inpainting.

    Holes are rectangles, or free-form: strokes of a brush, each a walk of straight pieces (Yu et al., 2019, Free-Form
    Image Inpainting with Gated Convolution, arXiv 1806.03589).  Some pixels of a picture are always missing, and some
    always known.

    Arguments:
        kind: "rectangle", "free", or "both", each for about half of the items.
        side: least and most of a rectangle's sides, shares of the picture's.
        strokes: of the brush.
        turns: straight pieces of a stroke.
        reach: least and most length of a piece, shares of the picture's shortest side.
        width: least and most of a stroke, shares of the same.

    Raises:
        InputError: a least that is above its most.
    """

    draws: ClassVar[bool] = True

    kind: Literal["both", "rectangle", "free"] = "both"
    side: tuple[Share, Share] = (0.3, 0.6)
    strokes: Few = 2
    turns: Few = 4
    reach: tuple[Share, Share] = (0.15, 0.4)
    width: tuple[Share, Share] = (0.08, 0.2)

    def __post_init__(self) -> None:
        for name in ("side", "reach", "width"):
            object.__setattr__(self, name, ordered(name, getattr(self, name)))
        super().__post_init__()

    def of(self, shape):
        wide(type(self).__name__, shape)
        return tuple(shape)

    def __call__(self, x, index, seed):
        space = tuple(x.shape[2:])
        gone = self._rectangles(space, index, seed)
        if self.kind != "rectangle":
            free = self._free(space, index, seed)
            free = torch.where(_rows(free.flatten(1).all(1), free), gone, free)  # strokes that leave nothing
            half = numbers(index, 1, seed, Choice.KIND)[:, 0] < 0.5
            gone = free if self.kind == "free" else torch.where(_rows(half, free), free, gone)
        return torch.where(gone[:, None].to(x.device), math.nan, x)

    def _rectangles(self, space: tuple[int, ...], index: Tensor, seed: int) -> Tensor:
        """Which pixels (B, *space) a rectangle has."""
        u = numbers(index, 2 * len(space), seed, Choice.PLACE)
        inside = torch.ones(len(index), *space, dtype=torch.bool)
        for axis, n in enumerate(space):
            share = self.side[0] + (self.side[1] - self.side[0]) * u[:, 2 * axis]
            size = (share * n).round().clamp(1, n - 1)
            first = (u[:, 2 * axis + 1] * (n - size + 1)).floor()
            place = torch.arange(n).reshape(1, n)
            own = (place >= first[:, None]) & (place < (first + size)[:, None])
            inside &= own.reshape(-1, *[n if a == axis else 1 for a in range(len(space))])
        return inside

    def _free(self, space: tuple[int, ...], index: Tensor, seed: int) -> Tensor:
        """Which pixels (B, *space) the strokes cover."""
        d, last, short = len(space), torch.tensor(space) - 1.0, min(space)
        each = d + 1 + self.turns * (d + 1)  # a start, a width, and a direction and a length for each piece
        u = numbers(index, self.strokes * each, seed, Choice.STROKES).reshape(-1, self.strokes, each)
        grid = torch.stack(torch.meshgrid(*(torch.arange(float(n)) for n in space), indexing="ij"), -1).reshape(-1, d)
        covered = torch.zeros(len(index), len(grid), dtype=torch.bool)
        for stroke in u.unbind(1):
            at, width = stroke[:, :d] * last, _between(self.width, stroke[:, d]) * short
            for piece in stroke[:, d + 1 :].reshape(-1, self.turns, d + 1).unbind(1):
                way = 2 * piece[:, :d] - 1
                step = _between(self.reach, piece[:, d]) * short / way.norm(dim=1).clamp_min(1e-6)
                end = torch.minimum((at + way * step[:, None]).clamp_min(0), last)
                covered |= _near(grid, at, end, width.clamp_min(LEAST * math.sqrt(d)) / 2)
                at = end
        return covered.reshape(-1, *space)


def _between(ends: tuple[float, float], u: Tensor) -> Tensor:
    return ends[0] + (ends[1] - ends[0]) * u


def _near(grid: Tensor, start: Tensor, end: Tensor, radius: Tensor) -> Tensor:
    """Which of the points `grid` (P, d) are within `radius` (B,) of the lines from start (B, d) to end: (B, P)."""
    way, away = (end - start)[:, None], grid - start[:, None]
    along = ((away * way).sum(2) / way.square().sum(2).clamp_min(1e-12)).clamp(0, 1)
    return (away - along[..., None] * way).square().sum(2) <= radius[:, None] ** 2


def _rows(which: Tensor, like: Tensor) -> Tensor:
    """Which rows (B,), to stand beside `like` (B, *shape)."""
    return which.reshape(-1, *[1] * (like.ndim - 1))


def ordered(name: str, ends: tuple[float, float]) -> tuple[float, float]:
    """A least and a most as a tuple, whatever else they are.  Raises `InputError` where the least is the larger."""
    ends = tuple(ends) if isinstance(ends, list) else ends
    pair = isinstance(ends, tuple) and len(ends) == 2 and all(isinstance(e, int | float) for e in ends)
    if pair and ends[0] > ends[1]:
        raise InputError(f"{name}={list(ends)}: give the least first", name)
    return ends


def wide(name: str, shape: tuple[int, ...]) -> None:
    """Raises `InputError` for items of a shape of which no part may be missing without the rest."""
    if len(shape) < 2 or min(shape[1:]) < 2:
        raise InputError(f"{name}: items of shape {shape} have no space with 2 pixels along each axis")
