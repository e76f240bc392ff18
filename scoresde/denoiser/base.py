"""The waist of the toolkit: a Denoiser gives E[x_0 | x_t]; samplers, likelihood and guidance take nothing else."""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..answers import ask
from ..sde import SDE, Marginal, expand
from .moments import Moments


def weigh(a: float | Tensor, x: Tensor, b: float | Tensor, y: Tensor) -> Tensor:
    """a x + b y for x, y (B, *shape), a and b numbers or coefficients () or (B,)."""
    plain = isinstance(a, float) and isinstance(b, float)
    return torch.add(a * x, y, alpha=b) if plain else expand(a, x) * x + expand(b, x) * y


def rows(value: float | Tensor, x: Tensor, dtype: torch.dtype) -> Tensor:
    """A number, or a tensor () or (B,), as (B,) beside x (B, *shape), of the type given."""
    if torch.is_tensor(value) and (value.ndim or value.requires_grad or value.device == x.device):
        return value.to(x.device, dtype).expand(len(x))
    # A host number fills on the device; a copy from the host would wait for it.
    return x.new_full((len(x),), float(value), dtype=dtype)


class Denoiser(nn.Module, ABC):
    """The posterior mean D(x, t) = E[x_0 | x_t = x] under the SDE `self.sde`.

    `forward(x, t, **cond)` takes x (B, *shape) of any floating type, t a number, () or (B,), and whatever conditions
    the model knows; it returns (B, *shape) in the type of x.  All the rest follows from it: with alpha, sigma at t and
    n^2 = alpha^2 + sigma^2,

        score = (alpha D - x) / sigma^2      eps = (x - alpha D) / sigma      v = (alpha x / n - n D) / sigma

    (Efron, 2011, Tweedie's formula; Vincent, 2011, denoising score matching.)
    """

    sde: SDE
    moments: Moments | None = None  # of the data, where they are known

    def __init__(self, sde: SDE):
        super().__init__()
        self.sde = sde

    @abstractmethod
    def forward(self, x: Tensor, t: float | Tensor, **cond) -> Tensor:
        """E[x_0 | x_t = x]."""

    def __call__(self, x: Tensor, t: float | Tensor, **cond) -> Tensor:
        """D(x, t).  Raises `InputError` for an answer that is no tensor like x, or has lost its graph to x."""
        return ask(super().__call__, self, x, t, **cond)

    def _level(self, t: float | Tensor) -> tuple[Any, Any]:
        """alpha and sigma: numbers at a time of a sampling, else tensors, which may have a graph."""
        known = isinstance(t, Marginal) and t.way.sde is self.sde
        return (t.alpha, t.sigma) if known else self.sde.marginal(t)

    def score(self, x: Tensor, t: float | Tensor, **cond) -> Tensor:
        """grad_x log p_t(x) = (alpha D(x, t) - x) / sigma^2, (B, *shape)."""
        alpha, sigma = self._level(t)
        return weigh(-1 / sigma**2, x, alpha / sigma**2, self(x, t, **cond))

    def eps(self, x: Tensor, t: float | Tensor, **cond) -> Tensor:
        """The expected noise E[eps | x_t = x] = (x - alpha D(x, t)) / sigma, (B, *shape)."""
        alpha, sigma = self._level(t)
        return weigh(1 / sigma, x, -alpha / sigma, self(x, t, **cond))

    def velocity(self, x: Tensor, t: float | Tensor, **cond) -> Tensor:
        """dz/dphi of the probability flow in z = x / n and phi = atan(sigma / alpha), (B, *shape):

        v = cos(phi) eps - sin(phi) x_0 = (cos(phi) z - D(x, t)) / sin(phi)
        """
        alpha, sigma = self._level(t)
        n = (alpha**2 + sigma**2) ** 0.5
        return weigh(alpha / (n * sigma), x, -n / sigma, self(x, t, **cond))


def device_of(denoiser: nn.Module) -> torch.device:
    """Where its parameters and buffers are; the CPU if it has none."""
    kept = itertools.chain(denoiser.parameters(), denoiser.buffers())
    return next((p.device for p in kept), torch.device("cpu"))


def select(cond: dict, rows: Tensor, n: int) -> dict:
    """The conditions of some rows: tensors with n rows are indexed, anything else is handed on."""
    return {k: c[rows.to(c.device)] if torch.is_tensor(c) and c.ndim and len(c) == n else c for k, c in cond.items()}


class Counted(Denoiser):
    """A denoiser that counts: `calls` of the network, `rows` given to it, and `x0`, its latest answer.

    `on_call(counted)`, if given, runs after every call (a progress bar, say).
    """

    def __init__(self, denoiser: Denoiser, on_call: Callable[["Counted"], None] | None = None):
        super().__init__(denoiser.sde)
        self.denoiser, self.on_call, self.moments = denoiser, on_call, denoiser.moments
        self.calls, self.rows, self.x0 = 0, 0, None

    def forward(self, x, t, **cond):
        self.x0 = self.denoiser(x, t, **cond)
        self.calls += 1
        self.rows += len(x)
        if self.on_call is not None:
            self.on_call(self)
        return self.x0
