"""Samplers of the reverse SDEs: one family, from the probability flow (eta = 0) past the reverse SDE (eta = 1).

    dx = [f x - (1 + eta^2) / 2 g^2 score] dt + eta g dw

has the marginals of the forward process for every eta, a number or a function of t, chosen after training
(Song et al., 2021, arXiv 2011.13456; Karras et al., 2022, arXiv 2206.00364, equation 6).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from ...denoiser import weigh
from ...errors import InputError
from ...settings import Scale, brief, matches
from ..loop import Placing, Sampler, Steps
from .exponential import DPMpp
from .multistep import Order
from .polynomials import integrals

Eta = Scale | Callable[[float], float]


@dataclass(frozen=True)
class Within:
    """eta as a function of t: `eta` for low <= t <= high and 0 elsewhere.

    Arguments:
        low, high: times.
        eta: a number from 0 on.
    """

    low: float
    high: float
    eta: float = 1.0

    def __call__(self, t: float) -> float:
        """eta at the time t."""
        return self.eta if self.low <= t <= self.high else 0.0


def eta_at(eta: Eta, t: float) -> float:
    """eta at the time t.  Raises `InputError` if it is negative or not finite."""
    value = eta(t) if callable(eta) else eta
    value = value.item() if torch.is_tensor(value) and value.numel() == 1 else value
    if not matches(value, Scale):
        raise InputError(
            f"eta={brief(value)} at t={t:.4g}: give a number from 0 on, or a function of t with such values"
        )
    return float(value)


@dataclass(frozen=True)
class EulerMaruyama(Sampler):
    """x_s = x_t - [f x_t - (1 + eta^2) / 2 g^2 score] (t - s) + temperature eta g sqrt(t - s) z, f and g at t.

    In t alone, so it needs a grid with small steps where f or g is large.  Weak order 1.

    The reverse SDE of Anderson (1982) for eta = 1; Song et al. (2021), arXiv 2011.13456, section 4.1.

    Arguments:
        eta: the noise of the way, a number or a function of t, from 0 on; 0 is the probability flow, 1 the reverse SDE.
        temperature: a factor of the noise.
    """

    steps: Steps = 200
    grid: Placing = "uniform_angle"
    eta: Eta = 1.0
    temperature: Scale = 1.0

    def step(self, denoiser, x, t, s, state, noise):
        f, g2 = denoiser.sde.at(t).rates
        h, eta = t - s, eta_at(self.eta, t)
        x = weigh(1 - h * f, x, h * (1 + eta**2) / 2 * g2, denoiser.score(x, t))
        return x.add_(noise.transition(x), alpha=self.temperature * eta * math.sqrt(g2 * h)), None


@dataclass(frozen=True)
class ReverseDiffusion(Sampler):
    """The forward step from s to t, x_t = a x_s + G z, discretised in reverse:

        x_s = (2 - a) x_t + G^2 score(x_t, t) + temperature G z

    with a = alpha_t / alpha_s and G^2 = sigma_t^2 - a^2 sigma_s^2.  Weak order 1.

    Song et al. (2021), arXiv 2011.13456, appendix E, where a = sqrt(1 - beta_i) for VP and 1 for VE.

    Arguments:
        temperature: a factor of the noise.
    """

    steps: Steps = 200
    grid: Placing = "uniform_angle"
    temperature: Scale = 1.0

    def step(self, denoiser, x, t, s, state, noise):
        at, to = denoiser.sde.at(t), denoiser.sde.at(s)
        a = at.alpha / to.alpha
        g2 = max(at.sigma**2 - (a * to.sigma) ** 2, 0.0)
        x = weigh(2 - a, x, g2, denoiser.score(x, t))
        return x.add_(noise.transition(x), alpha=self.temperature * math.sqrt(g2)), None


@dataclass(frozen=True)
class ExponentialEuler(Sampler):
    """The linear part and the noise exactly, eps held over the step: in y = x / alpha and rho = sigma / alpha:

        y_s = y_t - (1 + eta^2) (rho_t - rho_s) eps + s_noise eta sqrt(rho_t^2 - rho_s^2) z

    Weak order 1 (order 1 for eta = 0, where it is DDIM).

    Zhang, Chen (2023), arXiv 2204.13902; Gonzalez et al. (2023), SEEDS, arXiv 2305.14267.

    Arguments:
        eta: as in `EulerMaruyama`.
        s_noise: a factor of the noise.
    """

    steps: Steps = 100
    eta: Eta = 1.0
    s_noise: Scale = 1.0

    def step(self, denoiser, x, t, s, state, noise):
        at, to = denoiser.sde.at(t), denoiser.sde.at(s)
        eta, rho_t, rho_s = eta_at(self.eta, t), at.sigma / at.alpha, to.sigma / to.alpha
        move = to.alpha * (1 + eta**2) * (rho_t - rho_s)
        x = weigh(to.alpha / at.alpha, x, -move, denoiser.eps(x, t))
        if eta > 0:
            x = x.add_(noise.transition(x), alpha=to.alpha * self.s_noise * eta * math.sqrt(rho_t**2 - rho_s**2))
        return x, None


@dataclass(frozen=True)
class DPMpp2M(Sampler):
    """DPM-Solver++(2M) and its SDE form, order 2 with one evaluation a step: in lambda = log(alpha / sigma):

        x_s = sigma_s / sigma_t e^(-eta^2 h) x - alpha_s (e^(-k h) - 1) (D + (D - D_before) h / (2 h_before))
              + s_noise sigma_s sqrt(1 - e^(-2 eta^2 h)) z,

    with h = lambda_s - lambda_t and k = 1 + eta^2, the first step without the difference.

    Lu, Zhou, Bao, Chen, Li, Zhu (2022), DPM-Solver++, arXiv 2211.01095, algorithm 2 and section 5.

    Arguments:
        eta: as in `EulerMaruyama`; `DPMpp2MSDE` has 1.
        s_noise: a factor of the noise.
    """

    steps: Steps = 20
    grid: Placing = "log_snr"
    eta: Eta = 0.0
    s_noise: Scale = 1.0

    def step(self, denoiser, x, t, s, state, noise):
        at, to, eta2 = denoiser.sde.at(t), denoiser.sde.at(s), eta_at(self.eta, t) ** 2
        h = (to.log_snr - at.log_snr) / 2
        x0 = denoiser(x, t)
        slope = 0.0 if state is None else h / (2 * state[1])
        gain = -to.alpha * math.expm1(-(1 + eta2) * h)
        x = weigh(to.sigma / at.sigma * math.exp(-eta2 * h), x, gain * (1 + slope), x0)
        if state is not None:
            x = x.add_(state[0], alpha=-gain * slope)
        if eta2 > 0:
            x = x.add_(noise.transition(x), alpha=self.s_noise * to.sigma * math.sqrt(-math.expm1(-2 * eta2 * h)))
        return x, (x0, h)


@dataclass(frozen=True)
class DPMpp2MSDE(DPMpp2M):
    """DPM-Solver++(2M) of the reverse SDE: `DPMpp2M` with eta = 1."""

    steps: Steps = 50
    eta: Eta = 1.0


@dataclass(frozen=True)
class SASolver(DPMpp):
    """Stochastic Adams: x_0 as a polynomial p in lambda = log(alpha / sigma), h = lambda_s - lambda_t, eta that of t:

        x_s = sigma_s / sigma_t e^(-eta^2 h) x + s_noise sigma_s sqrt(1 - e^(-2 eta^2 h)) z
              + sigma_s int (1 + eta^2) e^(lambda - eta^2 (lambda_s - lambda)) p(lambda) dlambda

    with the polynomial through the latest `order` denoised estimates, and through that at s as well when `correct` (the
    same z).  Order 1 is the exponential Euler step in x_0; eta = 0 is `DPMpp` or, corrected, `UniPC`.

    Xue, Yi, Luo, Zhang, Sun, Li, Ma (2023), SA-Solver, arXiv 2309.05019, where eta is tau.

    Arguments:
        eta: as in `EulerMaruyama`.
        s_noise: a factor of the noise.
    """

    memory: ClassVar[str | None] = DPMpp.memory

    steps: Steps = 50
    order: Order = 2
    correct: bool = True
    start: Literal["ramp"] = "ramp"
    eta: Eta = 1.0
    s_noise: Scale = 1.0

    def carry(self, sde, x, t, s, noise):
        eta2 = eta_at(self.eta, t) ** 2
        h = self.variable(sde, s) - self.variable(sde, t)
        x = self.carrier(sde, s) / self.carrier(sde, t) * math.exp(-eta2 * h) * x
        if eta2 > 0:
            spread = self.s_noise * self.carrier(sde, s) * math.sqrt(-math.expm1(-2 * eta2 * h))
            x = x.add_(noise.transition(x), alpha=spread)
        return x

    def weights(self, sde, t, a, b, nodes):
        eta2, end = torch.tensor([[eta_at(self.eta, r) ** 2] for r in t], dtype=torch.float64), torch.from_numpy(b)
        return integrals(nodes, a, b, lambda u: (1 + eta2) * torch.exp(u - eta2 * (end[:, None] - u)))
