"""A denoiser of a bare score function."""

from collections.abc import Callable, Mapping

from torch import Tensor

from ..answers import ask
from ..conditions import Kind
from ..sde import SDE
from .base import Denoiser, rows, weigh


class FromScore(Denoiser):
    """The denoiser of a bare score function: D = (x + sigma^2 score(x, t)) / alpha.

    Arguments:
        score: score(x, t), or score(x, t, cond) where there are conditions, takes x (B, *shape) and t (B,) in the type
            of x, and returns grad_x log p_t(x) (B, *shape).  For likelihoods it must be computed in torch, from x as it
            is given.
        sde: which gives alpha and sigma.
        conditions: the kinds of what it can be told, by name.
    """

    def __init__(self, score: Callable[..., Tensor], sde: SDE, conditions: Mapping[str, Kind] | None = None):
        super().__init__(sde)
        self.score_function, self.conditions = score, dict(conditions or {})

    def forward(self, x, t, cond=None):
        alpha, sigma = self._level(t)
        return weigh(1 / alpha, x, sigma**2 / alpha, self.score(x, t, cond))

    def score(self, x, t, cond=None):
        given = (cond or {},) if self.conditions else ()
        return ask(self.score_function, self.score_function, x, rows(t, x, x.dtype), *given)
