"""Fixed-step samplers of the probability flow (and DDIM's stochastic family), one or two evaluations a step."""

from dataclasses import dataclass

import torch

from ..errors import InputError
from .loop import Sampler


@dataclass(frozen=True)
class DDIM(Sampler):
    """x_s = alpha_s D + sqrt(sigma_s^2 - w^2) eps + w z, with z ~ N(0, I) and a = alpha_t / alpha_s,

        w = eta sigma_s / sigma_t sqrt(sigma_t^2 - a^2 sigma_s^2).

    eta = 0 is deterministic (order 1), a rotation in z = x / n by the angle
    phi_t - phi_s; eta = 1 samples the exact posterior of the forward process given x_0 = D (ancestral sampling).

    Song, Meng, Ermon (2021), Denoising Diffusion Implicit Models, arXiv 2010.02502; here for any alpha, sigma.
    """

    eta: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.eta <= 1:
            raise InputError(f"eta={self.eta!r}: it must lie between 0 (deterministic) and 1 (ancestral)")

    def step(self, denoiser, x, t, s, state, noise, **cond):
        (alpha_t, sigma_t), (alpha_s, sigma_s) = denoiser.sde.marginal(t), denoiser.sde.marginal(s)
        x0 = denoiser(x, t, **cond)
        w2 = self.eta**2 * (sigma_s / sigma_t) ** 2 * (sigma_t**2 - (alpha_t / alpha_s * sigma_s) ** 2)
        kept = (sigma_s**2 - w2).clamp_min(0).sqrt() / sigma_t
        x = kept * x + (alpha_s - kept * alpha_t) * x0
        return (x + w2.sqrt() * noise.transition(x) if self.eta else x), None


@dataclass(frozen=True)
class Heun(Sampler):
    """Heun's method (order 2, two evaluations a step) on dz/dphi = v, with z = x / n and phi = atan(sigma / alpha).

    The same for every SDE, as the flow is; an Euler step and then the mean of the velocities at both ends.  Compare
    Karras et al. (2022), arXiv 2206.00364, algorithm 1, which takes it in sigma.
    """

    steps: int = 25

    def step(self, denoiser, x, t, s, state, noise, **cond):
        sde = denoiser.sde
        n_t, n_s = (torch.hypot(*sde.marginal(u)) for u in (t, s))
        h = sde.angle(s) - sde.angle(t)
        v_t = denoiser.velocity(x, t, **cond)
        v_s = denoiser.velocity(n_s * (x / n_t + h * v_t), s, **cond)
        return n_s * (x / n_t + h / 2 * (v_t + v_s)), None


@dataclass(frozen=True)
class DPMpp2M(Sampler):
    """DPM-Solver++(2M), order 2 with one evaluation a step: in lambda = log(alpha / sigma), h = lambda_s - lambda_t,

        x_s = sigma_s / sigma_t x - alpha_s (exp(-h) - 1) (D + (D - D_before) h / (2 h_before)),

    the first step without the difference.

    Lu, Zhou, Bao, Chen, Li, Zhu (2022), DPM-Solver++, arXiv 2211.01095, algorithm 2.
    """

    steps: int = 20
    grid: str = "log_snr"

    def step(self, denoiser, x, t, s, state, noise, **cond):
        sde = denoiser.sde
        (_, sigma_t), (alpha_s, sigma_s) = sde.marginal(t), sde.marginal(s)
        h = (sde.log_snr(s) - sde.log_snr(t)) / 2
        x0 = denoiser(x, t, **cond)
        slope = 0.0 if state is None else h / (2 * state[1])
        ahead = x0 if state is None else x0 + slope * (x0 - state[0])
        return sigma_s / sigma_t * x - alpha_s * torch.expm1(-h) * ahead, (x0, h)
