"""Multistep samplers: one evaluation a step, a polynomial through the latest values, integrated exactly."""

import functools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from ..denoiser import Denoiser
from ..sde import SDE
from ..settings import Range
from .fixed import rk4
from .loop import Placing, Sampler, Steps

Order = Annotated[int, Range(1, 5)]
_gauss = functools.cache(lambda: np.polynomial.legendre.leggauss(24))  # at its first use: numpy loads it only then


def quadrature(a: float, b: float) -> tuple[Tensor, Tensor]:
    """24 Gauss-Legendre points between a and b and their weights, which sum to b - a."""
    middle, half = (a + b) / 2, (b - a) / 2
    nodes, weights = _gauss()
    return torch.from_numpy(middle + half * nodes), torch.from_numpy(half * weights)


def lagrange(nodes: Sequence[float], u: Tensor) -> Tensor:
    """The Lagrange polynomials of the nodes at u (m,): (nodes, m)."""
    rows = []
    for j, node in enumerate(nodes):
        others = [v for i, v in enumerate(nodes) if i != j]
        rows.append(torch.stack([(u - v) / (node - v) for v in others]).prod(0) if others else torch.ones_like(u))
    return torch.stack(rows)


@dataclass(frozen=True)
class Multistep(Sampler, ABC):
    """x_s = c_s / c_t x_t + c_s int p(u) m'(u) du, with p the polynomial through the latest `order` values.

    A value is a prediction of the denoiser (v, x_0 or eps), u the variable in which it is smooth, and c, m' come from
    the part of the flow that is linear in x.  The weights of the values are exact, whatever the grid (quadrature on the
    host).  The first steps have fewer values behind them: orders 1, 2, ... (`start="ramp"`), which is best for few
    steps but leaves a global error of order 2; `start="runge_kutta"` takes them by classical Runge-Kutta steps, four
    more evaluations each.  `correct`: when the value at s becomes known, x_s is computed again with it among the
    values, at no evaluation, and the method is of order `order` + 1 (a predictor-corrector; with the ramp at least 3).
    """

    memory: ClassVar[str] = "it extrapolates along one trajectory, which a corrector's noise would leave"

    steps: Steps = 20
    order: Order = 3
    correct: bool = False
    start: Literal["ramp", "runge_kutta"] = "ramp"

    @abstractmethod
    def value(self, denoiser: Denoiser, x: Tensor, t: float, cond: dict) -> Tensor:
        """What is extrapolated, at (x, t)."""

    @abstractmethod
    def variable(self, sde: SDE, t: float) -> float:
        """u at the time t."""

    @abstractmethod
    def carrier(self, sde: SDE, t: float) -> float:
        """c at the time t: without values x_s = c_s / c_t x_t."""

    @abstractmethod
    def density(self, sde: SDE, u: Tensor) -> Tensor:
        """m'(u) at the points u."""

    def carry(self, sde: SDE, x: Tensor, t: float, s: float, noise) -> Tensor:
        """What of x_s does not depend on the values."""
        return self.carrier(sde, s) / self.carrier(sde, t) * x

    def weights(self, sde: SDE, t: float, s: float, nodes: Sequence[float]) -> list[float]:
        """The weight in x_s of the value at each node."""
        u, w = quadrature(self.variable(sde, t), self.variable(sde, s))
        return (self.carrier(sde, s) * lagrange(nodes, u) @ (w * self.density(sde, u))).tolist()

    def _add(self, sde: SDE, base: Tensor, t: float, s: float, past: list[tuple[float, Tensor]]) -> Tensor:
        weights = self.weights(sde, t, s, [u for u, _ in past])
        for w, (_, value) in zip(weights, past, strict=True):
            base = torch.add(base, value, alpha=w)
        return base

    def step(self, denoiser, x, t, s, state: Any, noise, **cond):
        sde = denoiser.sde
        past, before = state or ([], None)
        value = self.value(denoiser, x, t, cond)
        past = [(self.variable(sde, t), value), *past]
        if self.correct and before is not None:
            x = self._add(sde, before[0], before[1], t, past)
        past = past[: self.order]
        if self.start == "runge_kutta" and len(past) < self.order:
            # The corrector must not touch a step that is better than it.
            return rk4(denoiser, x, t, s, **cond), (past, None)
        base = self.carry(sde, x, t, s, noise)
        return self._add(sde, base, t, s, past), (past, (base, t))


@dataclass(frozen=True)
class Adams(Multistep):
    """Adams-Bashforth on the flow that all SDEs share, dz/dphi = v with z = x / n and phi = atan(sigma / alpha):

        z_s = z_t + int p(phi) dphi,    p through the latest `order` velocities

    v is bounded and close to a straight line in phi, so large steps stay accurate.  Corrected, as by default, it is
    Adams-Bashforth-Moulton with one evaluation a step (PEC); `correct=False, order=1` is Euler's method in phi.

    Bashforth, Adams (1883); Hairer, Norsett, Wanner (1993), Solving Ordinary Differential Equations I, III.
    """

    order: Order = 2
    correct: bool = True

    def value(self, denoiser, x, t, cond):
        return denoiser.velocity(x, t, **cond)

    def variable(self, sde, t):
        return float(sde.angle(t))

    def carrier(self, sde, t):
        return float(torch.hypot(*sde.marginal(t)))

    def density(self, sde, u):
        return torch.ones_like(u)


@dataclass(frozen=True)
class RectifiedAdams(Multistep):
    """Adams-Bashforth on the flow in rectified coordinates, y = x / (alpha + sigma) and u = sigma / (alpha + sigma):

        y_s = y_t + int p(u) du,    p through the latest `order` values of eps - x_0 = dy/du

    Corrected as `Adams` is.  It cuts corners where phi does not, and the other way round; `tune` tries both.

    Liu, Gong, Liu (2023), Flow Straight and Fast, arXiv 2209.03003; Lipman et al. (2023), arXiv 2210.02747.
    """

    order: Order = 2
    correct: bool = True

    def value(self, denoiser, x, t, cond):
        alpha, sigma = denoiser.sde.marginal(t)
        return x / sigma - (1 + alpha / sigma) * denoiser(x, t, **cond)

    def variable(self, sde, t):
        return float(torch.sigmoid(-sde.log_snr(t) / 2))

    def carrier(self, sde, t):
        return float(sum(sde.marginal(t)))

    def density(self, sde, u):
        return torch.ones_like(u)


@dataclass(frozen=True)
class DPMpp(Multistep):
    """DPM-Solver++ multistep of any order: x_0 as a polynomial in lambda = log(alpha / sigma),

        x_s = sigma_s / sigma_t x_t + sigma_s int p(lambda) e^lambda dlambda

    order 3 is DPM-Solver++(3M).  The widely used code of 3M gives the second difference half of its weight, and
    converges at order 2; here the weights are those of the polynomial.

    Lu, Zhou, Bao, Chen, Li, Zhu (2022), DPM-Solver++, arXiv 2211.01095, section 4.
    """

    grid: Placing = "log_snr"

    def value(self, denoiser, x, t, cond):
        return denoiser(x, t, **cond)

    def variable(self, sde, t):
        return float(sde.log_snr(t)) / 2

    def carrier(self, sde, t):
        return float(sde.marginal(t)[1])

    def density(self, sde, u):
        return u.exp()


@dataclass(frozen=True)
class UniPC(DPMpp):
    """UniPC: DPM-Solver++ multistep of order `order` as predictor, and a corrector of the next order at no evaluation.

    Zhao, Bai, Rao, Zhou, Lu (2023), UniPC, arXiv 2302.04867, with the exact weights of the polynomial, which
    make its B(h) drop out.
    """

    correct: bool = True


@dataclass(frozen=True)
class DEIS(Multistep):
    """tAB-DEIS: eps as a polynomial in t, with rho = sigma / alpha,

        x_s = alpha_s / alpha_t x_t + alpha_s int p(t) rho'(t) dt

    Zhang, Chen (2023), Fast Sampling of Diffusion Models with Exponential Integrator, arXiv 2204.13902.
    """

    def value(self, denoiser, x, t, cond):
        return denoiser.eps(x, t, **cond)

    def variable(self, sde, t):
        return t

    def carrier(self, sde, t):
        return float(sde.marginal(t)[0])

    def density(self, sde, u):
        # rho' = rho (log rho)' = rho g^2 / (2 sigma^2)
        alpha, sigma = sde.marginal(u)
        return sde.drift_diffusion(u)[1] / (2 * alpha * sigma)
