"""The numbers of a sampling, step by step."""

import torch
from torch import Tensor

from .counter import normal

TOGETHER = 1 << 14  # numbers that are drawn at once, at most, to save calls


class Ahead:
    """The normal numbers of a sampling's steps, those of several steps at once where they are few.

    A few numbers cost as much as some thousand.

    Arguments:
        seed, index: as in `bits`.
        last: the number of the last step.
    """

    def __init__(self, seed: int, index: Tensor, last: int):
        self.seed, self.index, self.last = seed, index, last
        self.kept: dict[tuple, tuple[int, Tensor]] = {}

    def __call__(self, x: Tensor, step: int, draw: int) -> Tensor:
        """`normal(x, index, seed, step, draw)`, which nobody else is given: it may be overwritten.

        Arguments:
            x: (B, *shape), whose values do not count.
            step, draw: whole numbers.

        Returns:
            (B, *shape).
        """
        key = draw, x.shape, x.dtype
        first, numbers = self.kept.get(key, (0, ()))
        if not first <= step < first + len(numbers):
            count = max(1, min(self.last - step + 1, TOGETHER // max(1, x.numel())))
            if count == 1:
                return normal(x, self.index, self.seed, step, draw)
            steps = torch.arange(step, step + count, device=x.device).repeat_interleave(len(x))
            like = x.new_empty(1, *x.shape[1:]).expand(count * len(x), *x.shape[1:])
            numbers = normal(like, self.index.repeat(count), self.seed, steps, draw).unflatten(0, (count, len(x)))
            first, numbers = self.kept[key] = step, numbers.unbind()
        return numbers[step - first]


class Draws:
    """The random numbers of one step: each call is the next draw.

    Arguments:
        seed, index, step: as in `bits`.
        silent: turns the noise of the transition off (a last step that returns the mean); correctors keep theirs.
        ahead: where the numbers come from; by default `normal`.
    """

    def __init__(self, seed: int, index: Tensor, step: int | Tensor, silent: bool = False, ahead: Ahead | None = None):
        self.seed, self.index, self.step, self.silent, self.ahead = seed, index, step, silent, ahead
        self.draw = 0

    def __call__(self, x: Tensor) -> Tensor:
        """Standard normal numbers like x (B, *shape), the next draw."""
        self.draw += 1
        if self.ahead is not None:
            return self.ahead(x, self.step, self.draw - 1)
        return normal(x, self.index, self.seed, self.step, self.draw - 1)

    def transition(self, x: Tensor) -> Tensor:
        """The noise that carries x (B, *shape) from t to s; zero in a silent step."""
        return torch.zeros_like(x) if self.silent else self(x)
