"""Multistep samplers: one evaluation a step, a polynomial through the latest values, integrated exactly."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from ...denoiser import Denoiser
from ...sde import SDE
from ...settings import Range
from ..loop import Sampler, Steps
from .fixed import rk4
from .polynomials import integrals

Order = Annotated[int, Range(1, 5)]


@dataclass(frozen=True)
class Multistep(Sampler, ABC):
    """x_s = c_s / c_t x_t + c_s int p(u) m'(u) du, with p the polynomial through the latest `order` values.

    A value is a prediction of the denoiser (v, x_0 or eps), u the variable in which it is smooth, and c, m' come from
    the part of the flow that is linear in x.  The weights of the values are exact, whatever the grid: by quadrature on
    the host, for all steps of a sampling at once.

    Arguments:
        order: how many values the polynomial goes through; the first steps have fewer behind them.
        correct: when the value at s becomes known, x_s is computed again with it among the values, at no evaluation,
            and the method is of order `order` + 1 (a predictor-corrector; with the ramp at least 3).
        start: the first steps: "ramp", of orders 1, 2, ..., which is best for few steps but leaves a global error of
            order 2; "runge_kutta", classical Runge-Kutta steps, four more evaluations each.
    """

    memory: ClassVar[str] = "it extrapolates along one trajectory, which a corrector's noise would leave"

    points: ClassVar[int] = 24  # of the quadrature

    steps: Steps = 20
    order: Order = 3
    correct: bool = False
    start: Literal["ramp", "runge_kutta"] = "ramp"

    @abstractmethod
    def value(self, denoiser: Denoiser, x: Tensor, t: float) -> Tensor:
        """What is extrapolated, at (x, t), in units of `unit`.

        Arguments:
            denoiser: the model, its conditions bound.
            x: x_t (B, *shape).
            t: the time.

        Returns:
            (B, *shape).
        """

    def unit(self, sde: SDE, t: float) -> float:
        """A factor of the value at the time t of the SDE that costs nothing as a factor of its weight."""
        return 1.0

    @abstractmethod
    def variable(self, sde: SDE, t: float) -> float:
        """u at the time t of the SDE."""

    @abstractmethod
    def carrier(self, sde: SDE, t: float) -> float:
        """c at the time t of the SDE: without values x_s = c_s / c_t x_t."""

    @abstractmethod
    def density(self, sde: SDE, u: Tensor) -> Tensor:
        """m'(u) of the SDE at the points u, of any shape."""

    def carry(self, sde: SDE, x: Tensor, t: float, s: float, noise) -> Tensor:
        """What of x_s does not depend on the values.

        Arguments:
            sde: that of the model.
            x, t, s, noise: as in `Sampler.step`.

        Returns:
            (B, *shape).
        """
        return self.carrier(sde, s) / self.carrier(sde, t) * x

    def weights(self, sde: SDE, t: Sequence[float], a: np.ndarray, b: np.ndarray, nodes: np.ndarray) -> np.ndarray:
        """int_a^b l_i(u) m'(u) du for each node: the weight in x_s of the value at the node is c_s times that.

        Arguments:
            sde: that of the model.
            t: the times (J,) at which J steps begin.
            a, b: u (J,) at both ends of each step.
            nodes: u (J, k) of the values; one that is not a number is none.

        Returns:
            (J, k).
        """
        return integrals(nodes, a, b, lambda u: self.density(sde, u), self.points)

    def begin(self, sde, times):
        return Plan(self, sde, times), 0, [], None

    def step(self, denoiser, x, t, s, state: Any, noise):
        sde = denoiser.sde
        plan, i, past, before = state or (None, 0, [], None)
        if plan is None or plan.times[i : i + 2] != [t, s]:
            plan = None
        value = self.value(denoiser, x, t)
        past = [(t, value), *past]
        if self.correct and before is not None:
            x = self._add(sde, *before, t, past, plan and plan.correct[i - 1])
        past = past[: self.order]
        if self.start == "runge_kutta" and len(past) < self.order:
            # The corrector must not touch a step that is better than it.
            return rk4(denoiser, x, t, s), (plan, i + 1, past, None)
        base = self.carry(sde, x, t, s, noise)
        x = self._add(sde, base, t, s, past, plan and plan.predict[i])
        return x, (plan, i + 1, past, (base, t))

    def _add(self, sde: SDE, base: Tensor, t: float, s: float, past: list, weights: list[float] | None) -> Tensor:
        """base plus the weighted values; weights that no plan has are computed."""
        if weights is None:
            a, b, *nodes = ([self.variable(sde, r)] for r in (t, s, *(r for r, _ in past)))
            units = np.array([self.carrier(sde, s) * self.unit(sde, r) for r, _ in past])
            weights = units * self.weights(sde, [t], np.array(a), np.array(b), np.array(nodes).T)[0]
        x = base
        for w, (_, value) in zip(weights, past, strict=False):
            x = torch.add(x, value, alpha=w) if x is base else x.add_(value, alpha=w)
        return x


class Plan:
    """The weights in x_s of each step on the way through `times`, the latest value's first: `predict`, and `correct`,
    with the value at s as well."""

    def __init__(self, sampler: Multistep, sde: SDE, times: Sequence[float]):
        u, carrier = (np.array([f(sde, t) for t in times]) for f in (sampler.variable, sampler.carrier))
        unit = np.array([*(sampler.unit(sde, t) for t in times[:-1]), 1.0])  # no value is taken at the last time
        step = np.arange(len(times) - 1)[:, None]

        def weights(latest: int, values: int) -> list[list[float]]:
            place = step + latest - np.arange(values)
            some = place.clip(0)
            found = sampler.weights(sde, times[:-1], u[:-1], u[1:], np.where(place < 0, np.nan, u[some]))
            return (carrier[1:, None] * unit[some] * found).tolist()

        self.times, self.predict = list(times), weights(0, sampler.order)
        self.correct = weights(1, sampler.order + 1) if sampler.correct else []


@dataclass(frozen=True)
class Adams(Multistep):
    """Adams-Bashforth on the flow that all SDEs share, dz/dphi = v with z = x / n and phi = atan(sigma / alpha):

        z_s = z_t + int p(phi) dphi,    p through the latest `order` velocities

    v is bounded and close to a straight line in phi, so large steps stay accurate.  Corrected, as by default, it is
    Adams-Bashforth-Moulton with one evaluation a step (PEC); `correct=False, order=1` is Euler's method in phi.

    Bashforth, Adams (1883); Hairer, Norsett, Wanner (1993), Solving Ordinary Differential Equations I, III.
    """

    points: ClassVar[int] = 3  # exact for the polynomial alone

    order: Order = 2
    correct: bool = True

    def value(self, denoiser, x, t):
        at = denoiser.sde.at(t)  # v = (alpha x / n - n D) / sigma, over -n / sigma
        return torch.add(denoiser(x, t), x, alpha=-at.alpha / at.n**2)

    def unit(self, sde, t):
        at = sde.at(t)
        return -at.n / at.sigma

    def variable(self, sde, t):
        return sde.at(t).phi

    def carrier(self, sde, t):
        return sde.at(t).n

    def density(self, sde, u):
        return torch.ones_like(u)


@dataclass(frozen=True)
class RectifiedAdams(Multistep):
    """Adams-Bashforth on the flow in rectified coordinates, y = x / (alpha + sigma) and u = sigma / (alpha + sigma):

        y_s = y_t + int p(u) du,    p through the latest `order` values of eps - x_0 = dy/du

    Corrected as `Adams` is.  It cuts corners where phi does not, and the other way round; `tune` tries both.

    Liu, Gong, Liu (2023), Flow Straight and Fast, arXiv 2209.03003; Lipman et al. (2023), arXiv 2210.02747.
    """

    points: ClassVar[int] = 3  # exact for the polynomial alone

    order: Order = 2
    correct: bool = True

    def value(self, denoiser, x, t):
        at = denoiser.sde.at(t)  # eps - x_0 = (x - (alpha + sigma) D) / sigma, over -(alpha + sigma) / sigma
        return torch.add(denoiser(x, t), x, alpha=-1 / (at.alpha + at.sigma))

    def unit(self, sde, t):
        at = sde.at(t)
        return -(at.alpha + at.sigma) / at.sigma

    def variable(self, sde, t):
        at = sde.at(t)
        return at.sigma / (at.alpha + at.sigma)

    def carrier(self, sde, t):
        at = sde.at(t)
        return at.alpha + at.sigma

    def density(self, sde, u):
        return torch.ones_like(u)
