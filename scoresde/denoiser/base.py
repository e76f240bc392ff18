"""The waist of the toolkit: a Denoiser gives E[x_0 | x_t]; samplers, likelihood and guidance take nothing else."""

import copy
import itertools
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from ..answers import ask
from ..conditions import Kind
from ..sde import SDE, Marginal, expand
from .moments import Moments
from .source import Source

Cond = Mapping[str, Tensor] | None  # checked conditions, of as many rows as x
Given = Mapping[str, Any] | None  # those of a user, which `bind` checks


def weigh(a: float | Tensor, x: Tensor, b: float | Tensor, y: Tensor) -> Tensor:
    """a x + b y, row by row.

    Arguments:
        a, b: numbers, or coefficients () or (B,).
        x, y: (B, *shape).

    Returns:
        (B, *shape).
    """
    plain = isinstance(a, float) and isinstance(b, float)
    return torch.add(a * x, y, alpha=b) if plain else expand(a, x) * x + expand(b, x) * y


def rows(value: float | Tensor, x: Tensor, dtype: torch.dtype) -> Tensor:
    """A number, or a tensor () or (B,), as a tensor with an entry for each row.

    Arguments:
        value: the number or tensor.
        x: (B, *shape), beside which it is placed.
        dtype: the type that it gets.

    Returns:
        (B,).
    """
    if torch.is_tensor(value) and (value.ndim or value.requires_grad or value.device == x.device):
        return value.to(x.device, dtype).expand(len(x))
    # A host number fills on the device; a copy from the host would wait for it.
    return x.new_full((len(x),), float(value), dtype=dtype)


class Denoiser(nn.Module, ABC):
    """The posterior mean D(x, t) = E[x_0 | x_t = x] under the SDE `self.sde`.

    A subclass writes `forward`; all the rest follows from it: with alpha, sigma at t and n^2 = alpha^2 + sigma^2,

        score = (alpha D - x) / sigma^2      eps = (x - alpha D) / sigma      v = (alpha x / n - n D) / sigma

    (Efron, 2011, Tweedie's formula; Vincent, 2011, denoising score matching.)

    Arguments:
        sde: which gives alpha and sigma.
    """

    sde: SDE
    moments: Moments | None = None  # of the data, where they are known
    grain: float | None = None  # sigma / alpha of the noise that hides the data's levels; None: there are none
    conditions: Mapping[str, Kind] = MappingProxyType({})  # what it can be told, by name
    made: Mapping[str, Kind] = MappingProxyType({})  # and what its training told it beside that, by itself
    source: Source = Source()  # the noise that it was trained with
    bound: int | None = None  # the rows that it is bound to; None: as many as there are
    exact: bool = True  # whether it is meant as a posterior mean: else it has no likelihood
    lands: Any = None  # of a model of few steps where its jumps land (`FlowMap`); None: it is no such model

    def __init__(self, sde: SDE):
        super().__init__()
        self.sde = sde

    @abstractmethod
    def forward(self, x: Tensor, t: float | Tensor, cond: Cond = None) -> Tensor:
        """E[x_0 | x_t = x], or E[x_0 | x_t = x, cond] of a model with `conditions`.

        Arguments:
            x: (B, *shape), of any floating type.
            t: a number, () or (B,).
            cond: tensors by name with B rows each, checked (`bind` does), of which any may be absent: missing in all
                rows.  It is given to a model with `conditions` alone.

        Returns:
            (B, *shape), in the type of x.
        """

    def __call__(self, x: Tensor, t: float | Tensor, cond: Cond = None) -> Tensor:
        """D(x, t), the answer of `forward`, checked.

        Arguments:
            x, t, cond: as in `forward`.

        Returns:
            (B, *shape), in the type of x.

        Raises:
            InputError: an answer that is no tensor like x, or has lost its graph to x.
        """
        return ask(super().__call__, self, x, t, cond) if cond else ask(super().__call__, self, x, t)

    def with_variance(self, x: Tensor, t: float | Tensor, cond: Cond = None) -> tuple[Tensor, Tensor | None]:
        """D(x, t) and, where it was learned, v of the variance of a step from there: see `LearnedVariance`.

        Arguments:
            x, t, cond: as in `forward`.

        Returns:
            (B, *shape), and (B, *shape) or None.
        """
        return self(x, t, cond), None

    def landing(self, x: Tensor, t: float | Tensor, s: float | Tensor, cond: Cond = None) -> Tensor:
        """D(x, t -> s), for a step of DDIM that lands at the time s: of all but a `FlowMap` D(x, t).

        Arguments:
            x, t, cond: as in `forward`.
            s: the time, a number, () or (B,), not after t.

        Returns:
            (B, *shape), in the type of x.
        """
        return self(x, t, cond)

    def log_posterior(self, x0: Tensor, x: Tensor, t: float | Tensor, cond: Cond = None) -> Tensor | None:
        """log p(x_0 | x_t = x) at little noise, of a model that knows more of it than its mean (`levels`).

        Arguments:
            x0: (B, *shape), in the model's space.
            x, t, cond: as in `forward`.

        Returns:
            (B,), in nats; None: nothing is known but N(D, (sigma/alpha)^2), the posterior where the density is smooth.
        """
        return None

    def select(self, rows: Tensor) -> "Denoiser":
        """That of the rows (b,), by number, of what it is bound to (`Conditioned`).

        Itself, where it is bound to nothing.
        """
        return self

    def beside(self, other: "Denoiser") -> "Denoiser":
        """Another model, told and counted as this one is (`Conditioned`, `Counted`).

        Arguments:
            other: the other denoiser.
        """
        return other

    def _level(self, t: float | Tensor) -> tuple[Any, Any]:
        """alpha and sigma: numbers at a time of a sampling, else tensors, which may have a graph."""
        known = isinstance(t, Marginal) and t.way.sde is self.sde
        return (t.alpha, t.sigma) if known else self.sde.marginal(t)

    def score(self, x: Tensor, t: float | Tensor, cond: Cond = None) -> Tensor:
        """grad_x log p_t(x) = (alpha D(x, t) - x) / sigma^2.

        Arguments:
            x, t, cond: as in `forward`.

        Returns:
            (B, *shape).
        """
        alpha, sigma = self._level(t)
        return weigh(-1 / sigma**2, x, alpha / sigma**2, self(x, t, cond))

    def eps(self, x: Tensor, t: float | Tensor, cond: Cond = None) -> Tensor:
        """The expected noise E[eps | x_t = x] = (x - alpha D(x, t)) / sigma.

        Arguments:
            x, t, cond: as in `forward`.

        Returns:
            (B, *shape).
        """
        alpha, sigma = self._level(t)
        return weigh(1 / sigma, x, -alpha / sigma, self(x, t, cond))

    def velocity(self, x: Tensor, t: float | Tensor, cond: Cond = None) -> Tensor:
        """dz/dphi of the probability flow in z = x / n and phi = atan(sigma / alpha):

            v = cos(phi) eps - sin(phi) x_0 = (cos(phi) z - D(x, t)) / sin(phi)

        Arguments:
            x, t, cond: as in `forward`.

        Returns:
            (B, *shape).
        """
        alpha, sigma = self._level(t)
        n = (alpha**2 + sigma**2) ** 0.5
        return weigh(alpha / (n * sigma), x, -n / sigma, self(x, t, cond))


def device_of(denoiser: nn.Module) -> torch.device:
    """Where a denoiser's parameters and buffers are; the CPU if it has none."""
    kept = itertools.chain(denoiser.parameters(), denoiser.buffers())
    return next((p.device for p in kept), torch.device("cpu"))


class Wrapped(Denoiser):
    """A denoiser of another one, `self.denoiser`, with its conditions, moments and rows; it answers as that does."""

    def __init__(self, denoiser: Denoiser):
        super().__init__(denoiser.sde)
        self.denoiser = denoiser
        self.moments, self.grain, self.conditions = denoiser.moments, denoiser.grain, dict(denoiser.conditions)
        self.bound, self.exact = denoiser.bound, denoiser.exact
        self.made, self.source, self.lands = denoiser.made, denoiser.source, denoiser.lands

    def forward(self, x, t, cond=None):
        return self.denoiser(x, t, cond)

    def landing(self, x, t, s, cond=None):
        return self.denoiser.landing(x, t, s, cond)

    def log_posterior(self, x0, x, t, cond=None):
        return self.denoiser.log_posterior(x0, x, t, cond)

    def select(self, rows):
        part = self.denoiser.select(rows)
        return self if part is self.denoiser else self.around(part)

    def beside(self, other):
        return self.denoiser.beside(other)

    def around(self, denoiser: Denoiser) -> "Wrapped":
        """The same of another denoiser, which has rows of the first."""
        own = copy.copy(self)
        own.__dict__["_modules"] = {**self._modules, "denoiser": denoiser}
        own.bound = denoiser.bound
        return own
