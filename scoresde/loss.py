"""Denoising score matching: one loss, its weights, and where to draw the times."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .denoiser import Denoiser
from .errors import InputError
from .sde import SDE, expand

# Weights w(t) of |D - x_0|^2: functions (sde, t (B,)) -> (B,).


def simple(sde: SDE, t: Tensor) -> Tensor:
    """alpha^2 / sigma^2: the mean square error of eps (Ho et al., 2020, arXiv 2006.11239)."""
    return sde.log_snr(t).exp()


def likelihood(sde: SDE, t: Tensor) -> Tensor:
    """g^2 alpha^2 / sigma^4: with uniform times a bound on -2 log p up to a constant.

    Song, Durkan, Murray, Ermon (2021), Maximum Likelihood Training of Score-Based Models, arXiv 2101.09258.
    """
    _, sigma = sde.marginal(t)
    return sde.drift_diffusion(t)[1] * sde.log_snr(t).exp() / sigma**2


@dataclass(frozen=True)
class edm:
    """m / (sigma sd)^2 with m = alpha^2 sd^2 + sigma^2, sd = `sigma_data`: 1 / c_out^2 of the rule edm.

    With sd = 1 it is 1 + alpha^2 / sigma^2, the mean square error of v.  Karras et al. (2022), arXiv 2206.00364.
    """

    sigma_data: float = 0.5

    def __call__(self, sde: SDE, t: Tensor) -> Tensor:
        return sde.log_snr(t).exp() + self.sigma_data**-2


@dataclass(frozen=True)
class min_snr:
    """min(alpha^2 / sigma^2, gamma) (Hang et al., 2023, Min-SNR Weighting, arXiv 2303.09556)."""

    gamma: float = 5.0

    def __call__(self, sde: SDE, t: Tensor) -> Tensor:
        return sde.log_snr(t).exp().clamp_max(self.gamma)


# Times: functions (sde, u (B,) in (0, 1), t_min) -> t (B,).


def uniform(sde: SDE, u: Tensor, t_min: float) -> Tensor:
    """Uniform in t on [t_min, t_max]."""
    return t_min + (sde.t_max - t_min) * u


@dataclass(frozen=True)
class lognormal:
    """log(sigma / alpha) ~ N(mean, std^2), kept within [t_min, t_max] (Karras et al., 2022, arXiv 2206.00364)."""

    mean: float = -1.2
    std: float = 1.2

    def __call__(self, sde: SDE, u: Tensor, t_min: float) -> Tensor:
        c = self.mean + self.std * math.sqrt(2) * torch.erfinv((2 * u - 1).clamp(-1 + 1e-12, 1 - 1e-12))
        return sde.time(-2 * c).clamp(t_min, sde.t_max)


WEIGHTS: dict[str, Callable] = {"simple": simple, "likelihood": likelihood, "edm": edm(), "min_snr": min_snr()}
TIMES: dict[str, tuple[Callable, bool]] = {
    "uniform": (uniform, False),
    "stratified": (uniform, True),
    "lognormal": (lognormal(), True),
}


@dataclass(frozen=True)
class DenoisingLoss:
    """w(t) |D(x_t, t) - x_0|^2, the mean over the D dimensions of the data (not the sum: learning rate and gradient
    clipping then do not depend on D), for x_t = alpha_t x_0 + sigma_t eps.

    `weight` is "simple", "likelihood", "edm", "min_snr" or a function (sde, t) -> (B,).  `times` is "uniform",
    "stratified" (uniform with one number in each of B equal strata, so that a batch covers all times: Kingma et al.,
    2021, arXiv 2107.00630), "lognormal" (stratified too), or a function (sde, u, t_min) -> t of stratified u.  The
    defaults, the error of v at log(sigma/alpha) ~ N(-1, 1.5^2), ask the same of the network for every SDE.  Times
    start at `t_min`, the SDE's by default.

    Perturbation and residual are in float64 where the device has it: for sub-VP at small t they span six digits.

    Vincent (2011), A connection between score matching and denoising autoencoders; Song et al. (2021), 2011.13456.
    """

    weight: str | Callable = edm(1.0)
    times: str | Callable = lognormal(-1.0, 1.5)
    t_min: float | None = None

    def __post_init__(self):
        if isinstance(self.weight, str) and self.weight not in WEIGHTS:
            raise InputError(f"loss weight {self.weight!r} is unknown: choose one of {', '.join(WEIGHTS)}")
        if isinstance(self.times, str) and self.times not in TIMES:
            raise InputError(f"loss times {self.times!r} is unknown: choose one of {', '.join(TIMES)}")

    def sample_times(self, sde: SDE, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n times in float64 on the CPU, in the order of the strata."""
        stratified = TIMES[self.times][1] if isinstance(self.times, str) else True
        u = torch.rand(n, dtype=torch.float64, generator=generator)
        return self.place((torch.arange(n) + u) / n if stratified else u, sde)

    def place(self, u: Tensor, sde: SDE) -> Tensor:
        """The times for u in (0, 1)."""
        times = TIMES[self.times][0] if isinstance(self.times, str) else self.times
        return times(sde, u.double(), sde.t_min if self.t_min is None else self.t_min)

    def at(self, denoiser: Denoiser, x0: Tensor, t: Tensor, eps: Tensor, **cond) -> Tensor:
        """The loss of each row (B,) at the times t (B,) with the noise eps (B, *shape)."""
        real = torch.float32 if x0.device.type == "mps" else torch.float64
        t, x0 = t.to(x0.device, real), x0.to(real)
        x = denoiser.sde.perturb(x0, t, eps.to(real))
        weight = WEIGHTS[self.weight] if isinstance(self.weight, str) else self.weight
        residual = (denoiser(x, t, **cond) - x0) * expand(weight(denoiser.sde, t).sqrt(), x0)
        return residual.square().flatten(1).mean(1)

    def __call__(self, denoiser: Denoiser, x0: Tensor, **cond) -> Tensor:
        """The loss of each row (B,) of x0 (B, *shape), with times and noise from torch's global generator."""
        t = self.sample_times(denoiser.sde, len(x0))
        return self.at(denoiser, x0, t, torch.randn_like(x0), **cond)
