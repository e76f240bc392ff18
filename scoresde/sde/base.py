"""Linear stochastic differential equations, each given by two functions of time.

Every SDE here is dx = f(t) x dt + g(t) dw, with data at t = 0 and noise at t = t_max, and therefore has the marginals

    x_t | x_0 ~ N(alpha_t x_0, sigma_t^2 I).

A new one is `log_alpha(t)` and `log_sigma(t)`; drift, diffusion, log-SNR, its inverse and the prior are derived.
"""

import dataclasses
import math
from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from ..errors import InputError
from ..settings import Checked


def expand(a: Tensor, x: Tensor) -> Tensor:
    """The coefficient `a`, () or (B,), shaped and typed to multiply `x` (B, *shape).

    A 0-d coefficient stays on the CPU in float64: torch multiplies by it as by a number, without a copy to the device.
    """
    return a if a.ndim == 0 else a.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))


def as_time(t: float | Tensor) -> Tensor:
    """Times in float64 (float32 where the device has no float64)."""
    if not torch.is_tensor(t):
        return torch.tensor(float(t), dtype=torch.float64)
    return t.to(torch.float32 if t.device.type == "mps" else torch.float64)


class SDE(Checked, ABC):
    """dx = f(t) x dt + g(t) dw on [t_min, t_max], by the logarithms of its alpha_t and sigma_t.

    `log_alpha` and `log_sigma` map times of any shape to values of the same shape, by differentiable torch functions.
    log(sigma/alpha) must increase with t.  `t_min` is where training, sampling and likelihood stop by default: at
    t = 0 the score of most data sets is infinite.
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
        """log alpha_t."""

    @abstractmethod
    def log_sigma(self, t: Tensor) -> Tensor:
        """log sigma_t."""

    def marginal(self, t: float | Tensor) -> tuple[Tensor, Tensor]:
        """(alpha_t, sigma_t) of x_t | x_0 ~ N(alpha_t x_0, sigma_t^2 I), each with the shape of `t`, in float64."""
        t = as_time(t)
        return self.log_alpha(t).exp(), self.log_sigma(t).exp()

    def log_snr(self, t: float | Tensor) -> Tensor:
        """The log signal-to-noise ratio, 2 (log alpha_t - log sigma_t); it decreases with t."""
        t = as_time(t)
        return 2 * (self.log_alpha(t) - self.log_sigma(t))

    def angle(self, t: float | Tensor) -> Tensor:
        """phi_t = atan(sigma_t / alpha_t) in (0, pi/2): the time of the probability flow that all SDEs share."""
        return torch.exp(-self.log_snr(t) / 2).atan()

    def drift_diffusion(self, t: float | Tensor) -> tuple[Tensor, Tensor]:
        """(f, g^2) of dx = f(t) x dt + g(t) dw, from the marginals:

            f = (log alpha)',    g^2 = 2 sigma^2 (log sigma - log alpha)'

        by autograd in float64 (Kingma et al., 2021, Variational Diffusion Models, arXiv 2107.00630, appendix).
        """
        t = as_time(t).detach()
        with torch.enable_grad():
            u = t.requires_grad_()
            log_alpha, log_sigma = self.log_alpha(u), self.log_sigma(u)
            df = _derivative(log_alpha, u)
            dg = _derivative(log_sigma, u)
        return df, 2 * torch.exp(2 * log_sigma.detach()) * (dg - df)

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
        """x_t = alpha_t x_0 + sigma_t eps, for x0 and eps (B, *shape) and t a number or (B,)."""
        alpha, sigma = self.marginal(t)
        return expand(alpha, x0) * x0 + expand(sigma, x0) * eps

    def prior(self, eps: Tensor) -> Tensor:
        """x_T ~ N(0, sigma_T^2 I) from standard normal `eps`; sigma_T is about 1 for VP, sigma_max for VE."""
        return self.marginal(self.t_max)[1] * eps

    def prior_log_prob(self, x: Tensor) -> Tensor:
        """log N(x; 0, sigma_T^2 I) of x (B, *shape): (B,), in nats."""
        sigma = float(self.marginal(self.t_max)[1])
        x = x.flatten(1)
        return -0.5 * (x / sigma).square().sum(1) - x.shape[1] * (math.log(sigma) + 0.5 * math.log(2 * math.pi))


def _derivative(y: Tensor, t: Tensor) -> Tensor:
    # A constant (log alpha of VE) has no graph: its derivative is 0.
    if not y.requires_grad:
        return torch.zeros_like(t)
    (dy,) = torch.autograd.grad(y.sum(), t, allow_unused=True, materialize_grads=True)
    return dy
