"""Items at a lower resolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from ...errors import InputError
from ...settings import Range
from .base import View


@dataclass(frozen=True)
class Lower(View):
    """The item at a lower resolution: means over cells of `factor` pixels along each axis of space.

    What a model of super-resolution is told (Ho et al., 2021, Cascaded Diffusion Models, arXiv 2106.15282).

    Arguments:
        factor: of the resolution; it divides every side.
    """

    factor: Annotated[int, Range(2, 2**10)] = 2

    def of(self, shape):
        return shape[0], *_sides(shape, self.factor)

    def __call__(self, x, index, seed):
        return means(x, self.factor)


def means(x: Tensor, factor: int) -> Tensor:
    """x (B, C, *space) as means over cells of `factor` along each axis of space: (B, C, *space / factor)."""
    for axis in range(2, x.ndim):
        x = x.unflatten(axis, (-1, factor)).mean(axis + 1)
    return x


def lowered(raw: Tensor, size: int | None) -> Tensor:
    """Raw pictures of levels (N, C, H, W) with H = W at the side `size`: rounded means.

    None: as they are.  Raises `InputError` for a size that does not divide the side.
    """
    if size is None or raw.shape[2:] == (size, size):
        return raw
    sides = raw.shape[2:]
    if len(set(sides)) > 1 or sides[0] % size:
        right = [side for side in range(1, sides[0]) if sides[0] % side == 0]
        raise InputError(f"size={size}: pictures of {sides[0]} x {sides[1]} have means of sides {right}", "size")
    return means(raw.float(), sides[0] // size).round().to(raw.dtype)


def _sides(shape: tuple[int, ...], factor: int) -> tuple[int, ...]:
    if len(shape) < 2:
        raise InputError(f"factor={factor}: items of shape {shape} have no space to be lower in", "factor")
    for side in shape[1:]:
        if side % factor or side < factor:
            raise InputError(f"factor={factor}: must divide each side of items of shape {shape}", "factor")
    return tuple(side // factor for side in shape[1:])
