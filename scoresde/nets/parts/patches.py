"""x as a sequence of patches, and back."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ...errors import InputError
from ...spaces.folds import folded, unfolded


class Patches:
    """x (B, C, *space) as N patches (B, N, C P) of P pixels each, in rows, and back: nothing is lost.

    Dosovitskiy et al. (2020), arXiv 2010.11929.

    Arguments:
        shape: of x, (C, *space) with 1 to 3 space axes.
        patch: the pixels of a patch along each axis; an axis that is shorter is one patch.

    Raises:
        InputError: another number of axes, or a size that is no multiple of the patch's.
    """

    def __init__(self, shape: Sequence[int], patch: int):
        shape, axes = tuple(shape), len(shape) - 1
        if not 1 <= axes <= 3:
            raise InputError(f"shape={shape}: patches need (channels, *space) with 1 to 3 space axes", "shape")
        self.space, self.patch = shape[1:], tuple(min(patch, s) for s in shape[1:])
        if any(s % p for s, p in zip(self.space, self.patch, strict=True)):
            raise InputError(f"patch={patch}: give a divisor of each of the sizes {self.space}", "patch")
        self.grid = tuple(s // p for s, p in zip(self.space, self.patch, strict=True))
        self.pixels, self.count = math.prod(self.patch), math.prod(self.grid)

    def fold(self, x: Tensor) -> Tensor:
        """x (B, C, *space) to (B, N, C P)."""
        return folded(x, self.patch).flatten(2).transpose(1, 2)

    def unfold(self, h: Tensor) -> Tensor:
        """(B, N, C P) to (B, C, *space)."""
        return unfolded(h.transpose(1, 2).reshape(len(h), -1, *self.grid), self.patch)

    def folded(self, x: Tensor) -> Tensor:
        """x (B, C, *space) to (B, C P, *grid): the pixels of a patch as channels."""
        return folded(x, self.patch)

    def unfolded(self, h: Tensor) -> Tensor:
        """(B, C P, *grid) to (B, C, *space), the inverse of `folded`."""
        return unfolded(h, self.patch)


def places(grid: Sequence[int]) -> Tensor:
    """Where the cells of a grid are, float (N, axes), in rows; an axis of one cell tells nothing, and is left out."""
    axes = [torch.arange(n, dtype=torch.float32) for n in grid if n > 1] or [torch.zeros(1)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).flatten(0, -2)
