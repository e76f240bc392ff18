"""The SDEs of the papers."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..errors import InputError
from ..settings import Positive, Scale
from .base import SDE, as_time


@dataclass(frozen=True)
class VP(SDE):
    """Variance preserving: dx = -beta(t)/2 x dt + sqrt(beta(t)) dw, beta linear from beta_min to beta_max.

    With B(t) = beta_min t + (beta_max - beta_min) t^2 / 2: alpha^2 = exp(-B), sigma^2 = 1 - exp(-B).

    Song, Sohl-Dickstein, Kingma, Kumar, Ermon, Poole (2021), Score-Based Generative Modeling through Stochastic
    Differential Equations, arXiv 2011.13456; Ho, Jain, Abbeel (2020), arXiv 2006.11239 in discrete time.

    Arguments:
        beta_min, beta_max: beta at t = 0 and at t = 1.
        t_min, t_max: the ends of time, t_max any above t_min.

    Raises:
        InputError: beta_max < beta_min; whatever `SDE` raises.
    """

    beta_min: Positive = 0.1
    beta_max: Positive = 20.0
    t_min: Scale = 1e-5
    t_max: Positive = 1.0

    def __post_init__(self):
        super().__post_init__()
        if self.beta_max < self.beta_min:
            raise InputError(f"beta_max={self.beta_max!r}: give at least beta_min={self.beta_min!r}", "beta_max")

    def integral(self, t: Tensor) -> Tensor:
        """B(t), the integral of beta from 0 to t."""
        return torch.addcmul(self.beta_min * t, t, t, value=(self.beta_max - self.beta_min) / 2)

    def _inverse(self, integral: Tensor) -> Tensor:
        slope = 2 * (self.beta_max - self.beta_min)
        return 2 * integral / (self.beta_min + (self.beta_min**2 + slope * integral).sqrt())

    def log_alpha(self, t):
        return -0.5 * self.integral(t)

    def log_sigma(self, t):
        return 0.5 * torch.log(-torch.expm1(-self.integral(t)))

    def time(self, log_snr):
        # snr = 1 / (exp(B) - 1)
        integral = torch.nn.functional.softplus(-as_time(log_snr), threshold=40.0)
        return self._inverse(integral).clamp(self.t_min, self.t_max)


@dataclass(frozen=True)
class SubVP(VP):
    """Sub-variance preserving: the drift of VP, with sigma = 1 - exp(-B(t)) and g^2 = beta (1 - exp(-2 B(t))).

    sigma is linear in t near 0 (VP's goes with sqrt(t)), so t_min is larger than VP's.

    Song et al. (2021), arXiv 2011.13456.
    """

    t_min: Scale = 1e-3

    def log_sigma(self, t):
        return torch.log(-torch.expm1(-self.integral(t)))

    def time(self, log_snr):
        # sigma / alpha = 2 sinh(B / 2)
        integral = 2 * torch.asinh(torch.exp((-as_time(log_snr) / 2).clamp(max=300)) / 2)
        return self._inverse(integral).clamp(self.t_min, self.t_max)


@dataclass(frozen=True)
class VE(SDE):
    """Variance exploding: alpha = 1, sigma = sigma_min (sigma_max / sigma_min)^t.

    Song et al. (2021), arXiv 2011.13456.

    Arguments:
        sigma_min: the standard deviation of the kernel at t = 0: it is not 0 there.
        sigma_max: that at t = 1; at least half of the largest distance between two data points (Song, Ermon, 2020,
            arXiv 2006.09011).
        t_min, t_max: the ends of time.

    Raises:
        InputError: sigma_max <= sigma_min; whatever `SDE` raises.
    """

    sigma_min: Positive = 0.01
    sigma_max: Positive = 50.0
    t_min: Scale = 0.0
    t_max: Positive = 1.0

    def __post_init__(self):
        super().__post_init__()
        if self.sigma_max <= self.sigma_min:
            raise InputError(f"sigma_max={self.sigma_max!r}: give more than sigma_min={self.sigma_min!r}", "sigma_max")

    def log_alpha(self, t):
        return torch.zeros_like(t)

    def log_sigma(self, t):
        return math.log(self.sigma_min) + t * math.log(self.sigma_max / self.sigma_min)

    def time(self, log_snr):
        t = (-as_time(log_snr) / 2 - math.log(self.sigma_min)) / math.log(self.sigma_max / self.sigma_min)
        return t.clamp(self.t_min, self.t_max)


@dataclass(frozen=True)
class Cosine(SDE):
    """alpha = cos(pi t / 2), sigma = sin(pi t / 2): variance preserving, with t proportional to the angle phi.

    Nichol, Dhariwal (2021), Improved Denoising Diffusion Probabilistic Models, arXiv 2102.09672, without its offset.
    """

    t_min: Scale = 1e-3
    t_max: Positive = 0.999
    alpha_ends: ClassVar[float] = 1.0

    def log_alpha(self, t):
        return torch.log(torch.cos(math.pi / 2 * t))

    def log_sigma(self, t):
        return torch.log(torch.sin(math.pi / 2 * t))

    def time(self, log_snr):
        return (torch.exp(-as_time(log_snr) / 2).atan() * 2 / math.pi).clamp(self.t_min, self.t_max)


@dataclass(frozen=True)
class Linear(SDE):
    """alpha = 1 - t, sigma = t: the interpolation of rectified flow and flow matching, as an SDE.

    Liu, Gong, Liu (2023), Flow Straight and Fast, arXiv 2209.03003; Lipman et al. (2023), arXiv 2210.02747.
    """

    t_min: Scale = 1e-3
    t_max: Positive = 0.999
    alpha_ends: ClassVar[float] = 1.0

    def log_alpha(self, t):
        return torch.log1p(-t)

    def log_sigma(self, t):
        return torch.log(t)

    def time(self, log_snr):
        return torch.sigmoid(-as_time(log_snr) / 2).clamp(self.t_min, self.t_max)


@dataclass(frozen=True)
class EDM(SDE):
    """alpha = 1, sigma = t: time is the noise level, from t_min = sigma_min to t_max = sigma_max.

    Karras, Aittala, Aila, Laine (2022), Elucidating the Design Space of Diffusion-Based Generative Models,
    arXiv 2206.00364.
    """

    grid: ClassVar[str] = "karras"

    t_min: Scale = 2e-3
    t_max: Positive = 80.0

    def log_alpha(self, t):
        return torch.zeros_like(t)

    def log_sigma(self, t):
        return torch.log(t)

    def time(self, log_snr):
        return torch.exp(-as_time(log_snr) / 2).clamp(self.t_min, self.t_max)
