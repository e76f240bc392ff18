"""Linear stochastic differential equations, each given by two functions of time.

Every SDE here is dx = f(t) x dt + g(t) dw, with data at t = 0 and noise at t = t_max, and therefore has the marginals

    x_t | x_0 ~ N(alpha_t x_0, sigma_t^2 I).

A new one is `log_alpha(t)` and `log_sigma(t)`; drift, diffusion, log-SNR, its inverse and the prior are derived.
"""

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..answers import answered, ask
from ..errors import InputError
from ..settings import Checked


def expand(a: float | Tensor, x: Tensor) -> float | Tensor:
    """The coefficient `a`, a number, () or (B,), shaped and typed to multiply `x` (B, *shape).

    A 0-d coefficient stays on the CPU in float64: torch multiplies by it as by a number, without a copy to the device.
    """
    return a if not torch.is_tensor(a) or a.ndim == 0 else a.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))


def widest(device: torch.device | str) -> torch.dtype:
    """float64, or float32 on a device that has no more: the type of times, solvers' states and log-densities."""
    return torch.float32 if torch.device(device).type == "mps" else torch.float64


def as_time(t: float | Tensor) -> Tensor:
    """Times t, a number or a tensor of any shape, as a tensor of the `widest` type."""
    return t.to(widest(t.device)) if torch.is_tensor(t) else torch.tensor(float(t), dtype=torch.float64)


class Marginal(float):
    """A time that knows its marginal under one SDE: a float with plain numbers beside it.

    They are `alpha`, `sigma`, `n` = sqrt(alpha^2 + sigma^2), `phi` = atan(sigma / alpha) and `log_snr`.  `SDE.at` makes
    one, `SDE.along` those of a whole way at once.

    A coefficient of a sampling loop is a number: it costs no tensor, and no device is waited for.
    """

    __slots__ = ("alpha", "log_snr", "n", "phi", "place", "sigma", "way")

    alpha: float
    log_snr: float
    n: float
    phi: float
    place: int
    sigma: float
    way: "Way"

    @property
    def rates(self) -> tuple[float, ...]:
        """(f, g^2) of `SDE.drift_diffusion`."""
        return self.known("rates", lambda way: way.sde.drift_diffusion(way.t))

    def known(self, key: Any, compute: Callable[["Way"], tuple[Tensor, ...]]) -> tuple[float, ...]:
        """Numbers that `compute(way)` gives as tensors (N,) for all N times of the way: once, and then kept there.

        `key` says which, by identity.
        """
        kept = self.way.kept.get(id(key))
        if kept is None:
            columns = [torch.as_tensor(a, dtype=torch.float64).expand(len(self.way.t)) for a in compute(self.way)]
            kept = self.way.kept[id(key)] = key, list(zip(*(c.tolist() for c in columns), strict=True))
        return kept[1][self.place]


class Way:
    """The times `t` of one sampling with `alpha` and `sigma`, (N,) in float64 on the host, and what is `kept` there."""

    def __init__(self, sde: "SDE", times: Sequence[float]):
        self.sde, self.t = sde, torch.tensor(times, dtype=torch.float64)
        self.log_alpha, self.log_sigma = sde.logs(self.t)
        self.alpha, self.sigma = self.log_alpha.exp(), self.log_sigma.exp()
        self.kept: dict[int, tuple[Any, list[tuple[float, ...]]]] = {}

    def marginals(self) -> list[Marginal]:
        """That of each time."""
        log_nsr = self.log_sigma - self.log_alpha
        log_snr, n, phi = -2 * log_nsr, torch.hypot(self.alpha, self.sigma), log_nsr.exp().atan()
        columns = (c.tolist() for c in (self.t, self.alpha, self.sigma, n, phi, log_snr))
        found = []
        for place, (t, alpha, sigma, n, phi, log_snr) in enumerate(zip(*columns, strict=True)):
            found.append(m := Marginal(t))
            m.way, m.place, m.alpha, m.sigma, m.n, m.phi, m.log_snr = self, place, alpha, sigma, n, phi, log_snr
        return found


class SDE(Checked, ABC):
    """dx = f(t) x dt + g(t) dw on [t_min, t_max], by the logarithms of its alpha_t and sigma_t.

    `log_alpha` and `log_sigma` map times of any shape to values of the same shape, by differentiable torch functions.
    log(sigma/alpha) must increase with t.  A dataclass of its own names the ends, `t_min` and `t_max`, and what else it
    takes.

    Arguments:
        t_min: where training, sampling and likelihood stop by default: at t = 0 the score of most data sets is
            infinite.
        t_max: where noise is, and sampling starts.

    Raises:
        InputError: not 0 <= t_min < t_max, or a t_max at which alpha is 0.
    """

    t_min: float = 1e-3
    t_max: float = 1.0
    grid: ClassVar[str] = "uniform"  # the paper's time grid, a name in `scoresde.grids`
    alpha_ends: ClassVar[float] = math.inf  # the time, if any, at which alpha is 0: t_max must lie before it

    def __post_init__(self):
        if dataclasses.is_dataclass(self):
            super().__post_init__()
        if not 0 <= self.t_min < self.t_max:
            raise InputError(f"t_min={self.t_min!r}, t_max={self.t_max!r}: need 0 <= t_min < t_max", "t_min")
        if self.t_max >= self.alpha_ends:
            words = f"the log-SNR is infinite at {self.alpha_ends}; give 0.999, say"
            raise InputError(f"t_max={self.t_max!r}: {words}", "t_max")

    @abstractmethod
    def log_alpha(self, t: Tensor) -> Tensor:
        """log alpha_t at times t of any shape, in their shape."""

    @abstractmethod
    def log_sigma(self, t: Tensor) -> Tensor:
        """log sigma_t at times t of any shape, in their shape."""

    def logs(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """`log_alpha` and `log_sigma` at t, both of its shape.  Raises `InputError` for any other answer."""
        name = type(self).__name__
        log_alpha = answered(self.log_alpha(t), t.shape, f"{name}.log_alpha")
        return log_alpha, answered(self.log_sigma(t), t.shape, f"{name}.log_sigma")

    def marginal(self, t: float | Tensor) -> tuple[Tensor, Tensor]:
        """(alpha_t, sigma_t) of x_t | x_0 ~ N(alpha_t x_0, sigma_t^2 I), each with the shape of `t`, in float64."""
        log_alpha, log_sigma = self.logs(as_time(t))
        return log_alpha.exp(), log_sigma.exp()

    def log_snr(self, t: float | Tensor) -> Tensor:
        """The log signal-to-noise ratio at t, 2 (log alpha_t - log sigma_t), in the shape of t; it decreases with t."""
        log_alpha, log_sigma = self.logs(as_time(t))
        return 2 * (log_alpha - log_sigma)

    def angle(self, t: float | Tensor) -> Tensor:
        """phi_t = atan(sigma_t / alpha_t) in (0, pi/2) at t: the time of the probability flow that all SDEs share."""
        log_alpha, log_sigma = self.logs(as_time(t))
        return (log_sigma - log_alpha).exp().atan()

    def at(self, t: float) -> Marginal:
        """The marginal at a time t, as numbers."""
        return t if isinstance(t, Marginal) and t.way.sde is self else self.along([t])[0]

    @torch.no_grad()
    def along(self, times: Sequence[float]) -> list[Marginal]:
        """The marginals at all of these times, from one evaluation of `log_alpha` and `log_sigma`."""
        return Way(self, times).marginals()

    def drift_diffusion(self, t: float | Tensor) -> tuple[Tensor, Tensor]:
        """(f, g^2) of dx = f(t) x dt + g(t) dw at times t, each in their shape, from the marginals:

            f = (log alpha)',    g^2 = 2 sigma^2 (log sigma - log alpha)'

        by autograd in float64 (Kingma et al., 2021, Variational Diffusion Models, arXiv 2107.00630, appendix).
        """
        t = as_time(t).detach()
        (_, df), (log_sigma, dg) = (_derivative(f, t, self) for f in (self.log_alpha, self.log_sigma))
        return df, 2 * torch.exp(2 * log_sigma) * (dg - df)

    def time(self, log_snr: float | Tensor) -> Tensor:
        """The t in [t_min, t_max] with `log_snr(t)` equal to the given value, elementwise, in float64.

        By search in 64 parts, eleven times.  Values beyond the ends give the nearest end.  SDEs with a closed form
        override this.
        """
        target = as_time(log_snr)
        parts = torch.arange(1, 64, dtype=target.dtype, device=target.device) / 64
        low, width = torch.full_like(target, self.t_min), self.t_max - self.t_min
        for _ in range(11):
            noisier = self.log_snr(low[..., None] + width * parts) > target[..., None]
            low, width = low + width / 64 * noisier.sum(-1, dtype=low.dtype), width / 64
        return low + width / 2

    def perturb(self, x0: Tensor, t: float | Tensor, eps: Tensor) -> Tensor:
        """x_t = alpha_t x_0 + sigma_t eps.

        Arguments:
            x0: x_0 (B, *shape).
            t: the times, a number or (B,).
            eps: standard normal numbers (B, *shape).

        Returns:
            x_t (B, *shape), in the type of x0 and eps.
        """
        alpha, sigma = self.marginal(t)
        return expand(alpha, x0) * x0 + expand(sigma, x0) * eps

    def prior(self, eps: Tensor) -> Tensor:
        """x_T ~ N(0, sigma_T^2 I) from standard normal `eps`; sigma_T is about 1 for VP, sigma_max for VE."""
        return self.log_sigma(as_time(self.t_max)).exp() * eps

    def prior_log_prob(self, x: Tensor) -> Tensor:
        """log N(x; 0, sigma_T^2 I) of x (B, *shape): (B,), in nats."""
        sigma = float(self.log_sigma(as_time(self.t_max)).exp())
        x = x.flatten(1)
        return -0.5 * (x / sigma).square().sum(1) - x.shape[1] * (math.log(sigma) + 0.5 * math.log(2 * math.pi))


def _derivative(function: Callable[[Tensor], Tensor], t: Tensor, sde: Any) -> tuple[Tensor, Tensor]:
    """function(t) and its derivative, 0 for a constant (log alpha of VE), which has no graph."""
    with torch.inference_mode(False), torch.enable_grad():
        u = t.clone().requires_grad_()
        y = ask(function, f"{type(sde).__name__}.{function.__name__}", u)
        if not y.requires_grad:
            return y, torch.zeros_like(t)
        (dy,) = torch.autograd.grad(y.sum(), u, allow_unused=True, materialize_grads=True)
    return y.detach(), dy
