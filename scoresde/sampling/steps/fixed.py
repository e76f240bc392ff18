"""Single-step samplers of the probability flow (and DDIM's stochastic family): Runge-Kutta in phi and its relatives."""

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from ...denoiser import Denoiser, weigh
from ...errors import InputError
from ...sde import SDE, Marginal
from ...settings import Fraction, Range, Scale
from ..loop import Placing, Sampler, Steps


@dataclass(frozen=True)
class DDIM(Sampler):
    """A step by x_0 and eps, deterministic or with noise, with z ~ N(0, I) and a = alpha_t / alpha_s:

        x_s = alpha_s D + sqrt(sigma_s^2 - w^2) eps + temperature w z
        w = eta sigma_s / sigma_t sqrt(sigma_t^2 - a^2 sigma_s^2)

    Song, Meng, Ermon (2021), Denoising Diffusion Implicit Models, arXiv 2010.02502; here for any alpha, sigma.

    Arguments:
        eta: 0 is deterministic (order 1), a rotation in z = x / n by the angle phi_t - phi_s; 1 samples the exact
            posterior of the forward process given x_0 = D (ancestral sampling, DDPM).
        temperature: below 1 it trades variety for likely samples.
    """

    eta: Fraction = 0.0
    temperature: Scale = 1.0

    def step(self, denoiser, x, t, s, state, noise):
        x, w = self._moved(denoiser, x, denoiser(x, t), t, s)
        if self.eta:
            x = x.add_(noise.transition(x), alpha=self.temperature * w)
        return x, None

    def _moved(self, denoiser: Denoiser, x: Tensor, x0: Tensor, t: float, s: float) -> tuple[Tensor, float]:
        """x_s without its noise, and w."""
        at, to = denoiser.sde.at(t), denoiser.sde.at(s)
        w2 = self.eta**2 * (to.sigma / at.sigma) ** 2 * (at.sigma**2 - (at.alpha / to.alpha * to.sigma) ** 2)
        kept = math.sqrt(max(to.sigma**2 - w2, 0.0)) / at.sigma
        return weigh(kept, x, to.alpha - kept * at.alpha, x0), math.sqrt(w2)


@dataclass(frozen=True)
class Heun(Sampler):
    """Heun's method (order 2, two evaluations a step) on dz/dphi = v, with z = x / n and phi = atan(sigma / alpha).

    The same for every SDE, as the flow is; an Euler step and then the mean of the velocities at both ends.  Compare
    Karras et al. (2022), arXiv 2206.00364, algorithm 1, which takes it in sigma (`EDMHeun`).
    """

    steps: Steps = 25

    def step(self, denoiser, x, t, s, state, noise):
        at, to = denoiser.sde.at(t), denoiser.sde.at(s)
        keep, h = to.n / at.n, to.n * (to.phi - at.phi)
        v_t = denoiser.velocity(x, t)
        v_s = denoiser.velocity(weigh(keep, x, h, v_t), s)
        return weigh(keep, x, h / 2, v_t).add_(v_s, alpha=h / 2), None


def at_angle(sde: SDE, phi: float) -> Marginal:
    """The marginal where the angle is phi."""
    return sde.at(float(sde.time(-2 * math.log(math.tan(phi)))))


def rk4(denoiser, x, t, s):
    """One classical Runge-Kutta step of dz/dphi = v from t to s: x_s."""
    sde = denoiser.sde
    at, to = sde.at(t), sde.at(s)
    h = to.phi - at.phi
    middle = at_angle(sde, at.phi + h / 2)
    k1 = denoiser.velocity(x, t)
    k2 = denoiser.velocity(weigh(middle.n / at.n, x, middle.n * h / 2, k1), middle)
    k3 = denoiser.velocity(weigh(middle.n / at.n, x, middle.n * h / 2, k2), middle)
    k4 = denoiser.velocity(weigh(to.n / at.n, x, to.n * h, k3), s)
    x = weigh(to.n / at.n, x, to.n * h / 6, k1).add_(k2, alpha=to.n * h / 3)
    return x.add_(k3, alpha=to.n * h / 3).add_(k4, alpha=to.n * h / 6)


@dataclass(frozen=True)
class RK4(Sampler):
    """The classical Runge-Kutta method (order 4, four evaluations a step) on dz/dphi = v.

    Kutta (1901), Beitrag zur naeherungsweisen Integration totaler Differentialgleichungen.
    """

    steps: Steps = 10

    def step(self, denoiser, x, t, s, state, noise):
        return rk4(denoiser, x, t, s), None


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

    def step(self, denoiser, x, t, s, state, noise):
        at, to = denoiser.sde.at(t), denoiser.sde.at(s)
        h = to.phi - at.phi
        near = at_angle(denoiser.sde, at.phi + h * torch.finfo(x.dtype).eps ** 0.5)
        small = near.phi - at.phi
        v = denoiser.velocity(x, t)
        slope = (denoiser.velocity(weigh(near.n / at.n, x, near.n * small, v), near) - v) / small
        flat, shape = v.flatten(1), (-1, *[1] * (x.ndim - 1))
        norm2 = flat.square().sum(1).clamp_min(torch.finfo(x.dtype).tiny)
        y = (h * ((flat * slope.flatten(1)).sum(1) / norm2).reshape(shape)).clamp(-1, 1)
        a = y / h
        flat_y = y.abs() < 1e-4
        safe = torch.where(flat_y, torch.ones_like(y), y)
        phi1 = torch.where(flat_y, 1 + y / 2, torch.expm1(safe) / safe)
        phi2 = torch.where(flat_y, 0.5 + y / 6, (phi1 - 1) / safe)
        return weigh(to.n / at.n, x, to.n * h, phi1 * v + h * phi2 * (slope - a * v)), None


@dataclass(frozen=True)
class EDMHeun(Sampler):
    """Heun's method on y = x / alpha in the noise level r = sigma / alpha, dy/dr = (y - D) / r, with churn:

        r_hat = r (1 + gamma),  y += s_noise sqrt(r_hat^2 - r^2) z   while s_tmin <= r <= s_tmax,

    gamma = min(s_churn / steps, sqrt(2) - 1), and a step from r_hat to the next level; two evaluations a step, order 2
    without churn.  r_hat goes no further than the noise level at t_max.  The paper's grid is "karras", and its last
    step, Euler's to r = 0, is `last="tweedie"`.

    Karras, Aittala, Aila, Laine (2022), arXiv 2206.00364, algorithms 1 and 2, here for any SDE.

    Arguments:
        s_churn: how much noise is added over all steps; 0: none.
        s_tmin, s_tmax: the levels sigma / alpha between which it is.
        s_noise: a factor of its standard deviation.

    Raises:
        InputError: s_tmin > s_tmax; settings out of range.
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

    def step(self, denoiser, x, t, s, state, noise):
        sde = denoiser.sde
        at, to = sde.at(t), sde.at(s)
        r_t, r_s = at.sigma / at.alpha, to.sigma / to.alpha
        y = x / at.alpha
        gamma = min(self.s_churn / self.steps, math.sqrt(2) - 1) if self.s_tmin <= r_t <= self.s_tmax else 0.0
        if gamma > 0 and t < sde.t_max:
            at = sde.at(float(sde.time(-2 * math.log(r_t * (1 + gamma)))))
            r_hat = at.sigma / at.alpha
            y = y.add_(noise.transition(x), alpha=self.s_noise * math.sqrt(max(r_hat**2 - r_t**2, 0.0)))
            r_t = r_hat
        h = r_s - r_t
        d_t = (y - denoiser(at.alpha * y, at)) / r_t
        ahead = torch.add(y, d_t, alpha=h)
        d_s = (ahead - denoiser(to.alpha * ahead, s)) / r_s
        return to.alpha * torch.add(y, d_t + d_s, alpha=h / 2), None
