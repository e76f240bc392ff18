"""A denoiser of a bare score function."""

from collections.abc import Callable

from torch import Tensor

from ..answers import ask
from ..sde import SDE
from .base import Denoiser, rows, weigh


class FromScore(Denoiser):
    """The denoiser of a bare score function: D = (x + sigma^2 score(x, t)) / alpha.

    `score(x, t, **cond)` takes x (B, *shape) and t (B,) in the type of x, and returns grad_x log p_t(x) (B, *shape).
    For likelihoods it must be computed in torch, from x as it is given.
    """

    def __init__(self, score: Callable[..., Tensor], sde: SDE):
        super().__init__(sde)
        self.score_function = score

    def forward(self, x, t, **cond):
        alpha, sigma = self._level(t)
        return weigh(1 / alpha, x, sigma**2 / alpha, self.score(x, t, **cond))

    def score(self, x, t, **cond):
        return ask(self.score_function, self.score_function, x, rows(t, x, x.dtype), **cond)
