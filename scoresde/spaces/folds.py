"""Neighbours of a grid as channels, and back."""

import itertools
import math
from collections.abc import Sequence

from torch import Tensor


def folded(x: Tensor, f: int | Sequence[int]) -> Tensor:
    """x (B, C, *space) as (B, C f^d, *grid) on a grid of 1/f of its d axes, f^d neighbours side by side as channels.

    Nothing is lost: `pixel_unshuffle` of any number of axes, each with an f of its own where several are given.
    """
    axes, space = x.ndim - 2, x.shape[2:]
    each = [f] * axes if isinstance(f, int) else f
    sizes = itertools.chain(*((s // n, n) for s, n in zip(space, each, strict=True)))
    places, within = range(2, 2 + 2 * axes, 2), range(3, 3 + 2 * axes, 2)
    return x.reshape(*x.shape[:2], *sizes).permute(0, 1, *within, *places).flatten(1, 1 + axes)


def unfolded(h: Tensor, f: int | Sequence[int]) -> Tensor:
    """(B, C f^d, *grid) to (B, C, *space), the inverse of `folded`."""
    axes, grid = h.ndim - 2, h.shape[2:]
    each = [f] * axes if isinstance(f, int) else f
    pairs = itertools.chain(*((2 + axes + i, 2 + i) for i in range(axes)))
    h = h.unflatten(1, (h.shape[1] // math.prod(each), *each)).permute(0, 1, *pairs)
    return h.reshape(*h.shape[:2], *(s * n for s, n in zip(grid, each, strict=True)))
