"""How a sequence knows where its patches are: waves of the position, or rotations by it."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .patches import places


def angles(grid: Sequence[int], pairs: int) -> Tensor:
    """(N, pairs) of the cells of a grid: position times frequency, each axis with its share of the pairs.

    The frequencies of an axis fall geometrically from 1 to nearly 1e-4; pairs that are left over have the angle 0.
    """
    where = places(grid)
    each = pairs // where.shape[1]
    frequencies = 10000.0 ** (-torch.arange(each) / max(each, 1))
    found = (where[:, :, None] * frequencies).flatten(1)
    return torch.cat([found, found.new_zeros(len(found), pairs - found.shape[1])], 1)


def sincos(grid: Sequence[int], width: int) -> Tensor:
    """Sines and cosines (N, width) of the positions in a grid, for an even width.

    Vaswani et al. (2017), arXiv 1706.03762, section 3.5, axis by axis as in Peebles, Xie (2022), arXiv 2212.09748.
    """
    angle = angles(grid, width // 2)
    return torch.cat([angle.sin(), angle.cos()], 1)


class Rotary(nn.Module):
    """Turns the pairs of queries or keys by their positions, so that q . k depends on the difference of positions only.

    Of a sequence longer than the grid the last N are turned: what comes before them has no place.

    Su et al. (2021), RoFormer, arXiv 2104.09864; axis by axis in more than one dimension.

    Arguments:
        grid: the patches along each axis, N in all.
        width: of a head, an even number.
    """

    def __init__(self, grid: Sequence[int], width: int):
        super().__init__()
        angle = angles(grid, width // 2)
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)

    def forward(self, q: Tensor) -> Tensor:
        """(B, heads, ... + N, width) turned."""
        first, last = q[..., : -len(self.cos), :], q[..., -len(self.cos) :, :]
        a, b = last.unflatten(-1, (2, -1)).unbind(-2)
        cos, sin = self.cos.to(q.dtype), self.sin.to(q.dtype)
        return torch.cat([first, torch.cat([a * cos - b * sin, a * sin + b * cos], -1)], -2)
