"""Single-step samplers of the probability flow (and DDIM's stochastic family): Runge-Kutta in phi and its relatives."""

import math
from dataclasses import dataclass
from typing import Annotated

import torch

from ..errors import InputError
from ..settings import Fraction, Range, Scale
from .loop import Placing, Sampler, Steps


@dataclass(frozen=True)
class DDIM(Sampler):
    """x_s = alpha_s D + sqrt(sigma_s^2 - w^2) eps + temperature w z, with z ~ N(0, I) and a = alpha_t / alpha_s,

        w = eta sigma_s / sigma_t sqrt(sigma_t^2 - a^2 sigma_s^2).

    eta = 0 is deterministic (order 1), a rotation in z = x / n by the angle
    phi_t - phi_s; eta = 1 samples the exact posterior of the forward process given x_0 = D (ancestral sampling, DDPM).
    A `temperature` below 1 trades variety for likely samples.

    Song, Meng, Ermon (2021), Denoising Diffusion Implicit Models, arXiv 2010.02502; here for any alpha, sigma.
    """

    eta: Fraction = 0.0
    temperature: Scale = 1.0

    def step(self, denoiser, x, t, s, state, noise, **cond):
        (alpha_t, sigma_t), (alpha_s, sigma_s) = denoiser.sde.marginal(t), denoiser.sde.marginal(s)
        x0 = denoiser(x, t, **cond)
        w2 = self.eta**2 * (sigma_s / sigma_t) ** 2 * (sigma_t**2 - (alpha_t / alpha_s * sigma_s) ** 2)
        kept = (sigma_s**2 - w2).clamp_min(0).sqrt() / sigma_t
        x = kept * x + (alpha_s - kept * alpha_t) * x0
        return (x + self.temperature * w2.sqrt() * noise.transition(x) if self.eta else x), None


def _ends(sde, t, s):
    """n at t and s, and the step in phi."""
    n_t, n_s = (torch.hypot(*sde.marginal(u)) for u in (t, s))
    return n_t, n_s, sde.angle(s) - sde.angle(t)


@dataclass(frozen=True)
class Heun(Sampler):
    """Heun's method (order 2, two evaluations a step) on dz/dphi = v, with z = x / n and phi = atan(sigma / alpha).

    The same for every SDE, as the flow is; an Euler step and then the mean of the velocities at both ends.  Compare
    Karras et al. (2022), arXiv 2206.00364, algorithm 1, which takes it in sigma (`EDMHeun`).
    """

    steps: Steps = 25

    def step(self, denoiser, x, t, s, state, noise, **cond):
        n_t, n_s, h = _ends(denoiser.sde, t, s)
        v_t = denoiser.velocity(x, t, **cond)
        v_s = denoiser.velocity(n_s * (x / n_t + h * v_t), s, **cond)
        return n_s * (x / n_t + h / 2 * (v_t + v_s)), None


def rk4(denoiser, x, t, s, **cond):
    """One classical Runge-Kutta step of dz/dphi = v from t to s: x_s."""
    sde = denoiser.sde
    n_t, n_s, h = _ends(sde, t, s)
    middle = float(sde.time(-2 * torch.log(torch.tan(sde.angle(t) + h / 2))))
    n_m = torch.hypot(*sde.marginal(middle))
    z = x / n_t
    k1 = denoiser.velocity(x, t, **cond)
    k2 = denoiser.velocity(n_m * (z + h / 2 * k1), middle, **cond)
    k3 = denoiser.velocity(n_m * (z + h / 2 * k2), middle, **cond)
    k4 = denoiser.velocity(n_s * (z + h * k3), s, **cond)
    return n_s * (z + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4))


@dataclass(frozen=True)
class RK4(Sampler):
    """The classical Runge-Kutta method (order 4, four evaluations a step) on dz/dphi = v.

    Kutta (1901), Beitrag zur naeherungsweisen Integration totaler Differentialgleichungen.
    """

    steps: Steps = 10

    def step(self, denoiser, x, t, s, state, noise, **cond):
        return rk4(denoiser, x, t, s, **cond), None


@dataclass(frozen=True)
class Rosenbrock(Sampler):
    """The exponential Rosenbrock-Euler method (order 2, two evaluations a step) on dz/dphi = v, h = phi_s - phi_t:

        z_s = z_t + h [phi_1(h a) v + h phi_2(h a) (v' - a v)],    a = <v, v'> / <v, v> for each sample,

    phi_1(y) = (e^y - 1) / y, phi_2(y) = (phi_1(y) - 1) / y.  v' is the derivative of v along the flow, by a difference
    over a small step; a is the Jacobian within the Krylov space of v, one dimension and Saad's correction, so a flow
    that only stretches v is solved exactly.  |h a| is kept to 1, as v may vanish; the order holds for any a.

    Hochbruck, Ostermann, Schweitzer (2009), Exponential Rosenbrock-type methods; Saad (1992); compare DPM-Solver-v3,
    Zheng et al. (2023), arXiv 2310.13268, whose linear coefficients are fitted beforehand.
    """

    steps: Steps = 25

    def step(self, denoiser, x, t, s, state, noise, **cond):
        sde = denoiser.sde
        n_t, n_s, h = _ends(sde, t, s)
        small = h * torch.finfo(x.dtype).eps ** 0.5
        near = float(sde.time(-2 * torch.log(torch.tan(sde.angle(t) + small))))
        small = sde.angle(near) - sde.angle(t)
        z, v = x / n_t, denoiser.velocity(x, t, **cond)
        slope = (denoiser.velocity(torch.hypot(*sde.marginal(near)) * (z + small * v), near, **cond) - v) / small
        flat, shape = v.flatten(1), (-1, *[1] * (x.ndim - 1))
        norm2 = flat.square().sum(1).clamp_min(torch.finfo(x.dtype).tiny)
        y = (h * ((flat * slope.flatten(1)).sum(1) / norm2).reshape(shape)).clamp(-1, 1)
        a = y / h
        flat_y = y.abs() < 1e-4
        safe = torch.where(flat_y, torch.ones_like(y), y)
        phi1 = torch.where(flat_y, 1 + y / 2, torch.expm1(safe) / safe)
        phi2 = torch.where(flat_y, 0.5 + y / 6, (phi1 - 1) / safe)
        return n_s * (z + h * (phi1 * v + h * phi2 * (slope - a * v))), None


@dataclass(frozen=True)
class EDMHeun(Sampler):
    """Heun's method on y = x / alpha in the noise level r = sigma / alpha, dy/dr = (y - D) / r, with churn:

        r_hat = r (1 + gamma),  y += s_noise sqrt(r_hat^2 - r^2) z   while s_tmin <= r <= s_tmax,

    gamma = min(s_churn / steps, sqrt(2) - 1), and a step from r_hat to the next level; two evaluations a step, order 2
    without churn.  r_hat goes no further than the noise level at t_max.  The paper's grid is "karras", and its last
    step, Euler's to r = 0, is `last="tweedie"`.

    Karras, Aittala, Aila, Laine (2022), arXiv 2206.00364, algorithms 1 and 2, here for any SDE.
    """

    steps: Steps = 18
    grid: Placing = "karras"
    s_churn: Scale = 0.0
    s_tmin: Scale = 0.0
    s_tmax: Annotated[float, Range(0, math.inf)] = math.inf
    s_noise: Scale = 1.0

    def __post_init__(self):
        super().__post_init__()
        if self.s_tmin > self.s_tmax:
            raise InputError(
                f"s_tmin={self.s_tmin!r} is above s_tmax={self.s_tmax!r}: give the lower level first", "s_tmin"
            )

    def step(self, denoiser, x, t, s, state, noise, **cond):
        sde = denoiser.sde
        r_t, r_s = (float(torch.exp(-sde.log_snr(u) / 2)) for u in (t, s))
        y = x / sde.marginal(t)[0]
        gamma = min(self.s_churn / self.steps, math.sqrt(2) - 1) if self.s_tmin <= r_t <= self.s_tmax else 0.0
        if gamma > 0 and t < sde.t_max:
            t = float(sde.time(-2 * math.log(r_t * (1 + gamma))))
            r_hat = float(torch.exp(-sde.log_snr(t) / 2))
            y = y + self.s_noise * math.sqrt(max(r_hat**2 - r_t**2, 0.0)) * noise.transition(x)
            r_t = r_hat
        h = r_s - r_t
        d_t = (y - denoiser(sde.marginal(t)[0] * y, t, **cond)) / r_t
        alpha_s = sde.marginal(s)[0]
        d_s = (y + h * d_t - denoiser(alpha_s * (y + h * d_t), s, **cond)) / r_s
        return alpha_s * (y + h / 2 * (d_t + d_s)), None
