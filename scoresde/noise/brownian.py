"""Brownian paths by counter: W(time) of a sample is a function of (seed, sample index), however it is looked up."""

from collections.abc import Callable

import torch
from torch import Tensor

from . import Stream, normal

_LEVELS = 32  # that a step word has room for


class BrownianTree:
    """A Brownian path for each sample `index` (B,), at the places k = 0, ..., 2^depth and the times clock(k).

    W is 0 at the place 0 and Gaussian at 2^depth; between known points l < m < r, at the middle place m, it is Levy's

        W(m) = W(l) + a / (a + b) (W(r) - W(l)) + sqrt(a b / (a + b)) z,    a, b = the times from l to m, from m to r,

    with z a function of (seed, index, step, level, l) alone.  So a solver may look the path up in any order, reject a
    step and take a shorter one, and meet the same path; memory does not grow.  `clock` maps places (an int64 tensor)
    to increasing times of the same shape; `step` < 2^25 tells the trees of one seed apart.

    Levy (1948), Processus stochastiques et mouvement brownien; Li, Wong, Chen, Duvenaud (2020), Scalable Gradients for
    Stochastic Differential Equations, arXiv 2001.01328, section 4.
    """

    def __init__(self, index: Tensor, seed: int, step: int, clock: Callable[[Tensor], Tensor], depth: int = 24):
        self.index, self.seed, self.clock, self.depth = index, seed, clock, depth
        self.word = step * _LEVELS

    def _normal(self, like: Tensor, rows: Tensor, level: int, left: Tensor) -> Tensor:
        return normal(like, self.index[rows], self.seed, *Stream.TREE(self.word + level, left))

    def __call__(self, like: Tensor, rows: Tensor, place: Tensor) -> Tensor:
        """W of the samples index[rows] at `place` (b,), shaped and typed like `like` (b, *shape).

        As many normal numbers for each value as there are binary digits in the most finely placed `place`.
        """

        def per_row(a: Tensor) -> Tensor:
            return a.to(like.dtype).reshape(-1, *[1] * (like.ndim - 1))

        left, width = torch.zeros_like(place), 1 << self.depth
        end = self.clock(left + width) - self.clock(left)
        low, high = torch.zeros_like(like), per_row(end.sqrt()) * self._normal(like, rows, 0, left)
        found = per_row(place == width) * high
        todo = (place > 0) & (place < width)
        level = 0
        while bool(todo.any()):
            level, width = level + 1, width // 2
            middle = left + width
            a, b = self.clock(middle) - self.clock(left), self.clock(middle + width) - self.clock(middle)
            # A clock that stands still has one value on both sides.
            share = torch.where(a + b > 0, a / (a + b), 0.5)
            w = low + per_row(share) * (high - low)
            w = w + per_row((share * b).sqrt()) * self._normal(like, rows, level, left)
            found = torch.where(per_row(todo & (place == middle)) != 0, w, found)
            todo = todo & (place != middle)
            right = place > middle
            low, high = (torch.where(per_row(right) != 0, p, q) for p, q in ((w, low), (high, w)))
            left = torch.where(right, middle, left)
        return found
