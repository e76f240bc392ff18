"""Adams' method on what a Gaussian like the data leaves of the flow."""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ... import grids
from ...denoiser.moments import LARGEST, Moments
from ...sde import SDE
from ..loop import Placing, Sampler, Steps
from .multistep import Multistep, Order
from .polynomials import lagrange, quadrature

LAG = 2  # intervals, the latest but one and the one before it, that are integrated again when a value becomes known
FEW = 24  # evaluations up to which the first interval goes without one
EARLY = 8.0  # times the largest deviation: the noise from which on that is right
WIDE = 0.3  # power of the largest deviation that is the unit of r in phi


@dataclass(frozen=True)
class GaussianAdams(Sampler):
    """Adams-Bashforth-Moulton on the flow less that of a Gaussian with the data's mean m and covariance.

    With y = x / alpha, r = sigma / alpha and the deviation s_i in the direction i (of `Denoiser.moments`),

        z_i = (y_i - m_i) / sqrt(s_i^2 + r^2),    dz_i = -V_i s_i dr / (s_i^2 + r^2),
        V_i = (D - D_Gauss)_i sqrt(s_i^2 + r^2) / (r s_i)

    so Gaussian data take one step, exactly.  V / g is extrapolated as a polynomial through the latest `order` values,
    in phi = atan(r / c) with c = max(1, s_1, ...)^0.3, and integrated with each direction's own weights.  When a value
    becomes known, the two intervals before it are integrated again with it, at no evaluation: the method is of order
    `order` + 1.  The envelope g falls off as V does, at the start where x tells little of x_0 and at the end where it
    tells all.

    With `t_min=0` and `last="none"` it ends at the data, as V is never asked for at the last time: of 10 evaluations or
    fewer that is a better use than a Tweedie step.

    Exponential integrators: Hochbruck, Ostermann (2010), Acta Numerica 19; the Gaussian part of a diffusion model:
    Wang, Vastola (2023), arXiv 2311.10892.

    Arguments:
        steps: the number of evaluations.
        grid: as in `Sampler`.  With "information" and up to 24 evaluations there is one interval more: the first takes
            none, as D at pure noise is the mean and nothing else.  That needs the data's moments, and so do the grid
            and the envelope's start; a model that has none, or is given conditions, whose data have other moments, does
            without (a unit Gaussian, or that of all data, carries it).
        order: None: 2 up to 7 evaluations, 3 up to 13, 4 up to 39, then 5.
    """

    memory: ClassVar[str] = Multistep.memory

    _moments: ClassVar[Moments] = Moments.unit()  # of the model's data, once `informed`
    _known: ClassVar[Moments | None] = None  # the same, unless they are nobody's or those of other conditions

    steps: Steps = 20
    grid: Placing = "information"
    order: Order | None = None

    def informed(self, denoiser):
        own = copy.copy(self)
        object.__setattr__(own, "_moments", denoiser.moments or GaussianAdams._moments)
        object.__setattr__(own, "_known", denoiser.moments)
        return own

    def placing(self, sde):
        if self.grid != "information" or self._known is None:
            return self.grid
        free = self._free(sde.at(sde.t_max).phi)
        return lambda *args: grids.information(*args, self._known, free)

    def begin(self, sde, times):
        return Plan(self, sde, times)

    def step(self, denoiser, x, t, s, state: Any, noise):
        sde = denoiser.sde
        plan, i, z, base, values = state if isinstance(state, tuple) else (state, 0, None, None, [])
        if plan is None or plan.times[i : i + 2] != [t, s]:
            plan = Plan(self.informed(denoiser), sde, [*(plan.times[:i] if plan else ()), t, s])
        row = plan.row(i, x)
        if z is None:
            z = base = plan.start(x)
        if i >= plan.first:
            value = plan.residual(denoiser(x, t), z, row)
            values = [value, *values][: plan.memory]
            base = _add(base, row[3 : 3 + plan.memory], values)
            z = _add(base, row[3 + plan.memory :], values)
        return plan.back(z, row, i), (plan, i + 1, z, base, values)

    def _free(self, phi: float) -> bool:
        """Whether the first interval takes no evaluation."""
        if self.grid != "information" or self.steps > FEW or self._known is None:
            return False
        return math.tan(phi) > EARLY * self._known.reach


def _add(base: Tensor, weights: Sequence[Tensor], values: list[Tensor]) -> Tensor:
    for i, (weight, value) in enumerate(zip(weights, values, strict=False)):
        base = base.addcmul_(weight, value) if i else torch.addcmul(base, weight, value)
    return base


class Plan:
    """The numbers of each step on the way through `times`, once for each deviation that there is."""

    def __init__(self, sampler: GaussianAdams, sde: SDE, times: Sequence[float]):
        self.times, self.moments, self.at = list(times), sampler._moments, [sde.at(t) for t in times]
        phi, n = (np.array([getattr(a, k) for a in self.at])[:, None] for k in ("phi", "n"))
        s, self.places = np.unique(self.moments.deviations.numpy(), return_inverse=True)
        size = np.hypot(s * np.cos(phi), np.sin(phi))
        given = not isinstance(sampler.grid, str) and not callable(sampler.grid)
        evaluations = len(sampler.grid) - 1 if given else sampler.steps
        order = sampler.order or 2 + (evaluations > 7) + (evaluations > 13) + (evaluations > 39)
        self.first, self.memory = int(sampler._free(phi[0, 0])), order + 1
        floor = 1.0 if sampler._known is None else min(1.0, evaluations / 200)
        base, ahead = _weights(tuple(np.tan(phi[:, 0])), self.moments, order, self.first, floor)
        # V = a (D - m) + b z and x = n size z + alpha m
        numbers = np.stack([size[:-1] / np.sin(phi[:-1]) / s, -s / np.tan(phi[:-1]), n[1:] * size[1:]], 1)
        self.table = np.concatenate([numbers, base, ahead], 1)
        self.table = np.concatenate([self.table, np.zeros_like(self.table[:1])])
        self.table[-1, 0] = 1 / (n[0] * size[0])  # of z at the first time
        self.kept: tuple[torch.device, torch.dtype] | None = None

    def row(self, i: int, x: Tensor) -> Sequence[Tensor]:
        """Of step i, by direction, beside x: the factors of D - m and of z in V, that of z in x_s, and the weights of
        the latest values in what is settled, and in what is ahead of it."""
        if self.kept != (x.device, x.dtype):
            self.kept = x.device, x.dtype
            to = lambda v: v.to(x.dtype).to(x.device, non_blocking=True)
            self.numbers, self.basis = to(torch.from_numpy(self.table)), tuple(map(to, self.moments.basis))
            self.centre = self.moments.turn(to(self.moments.mean)[None], self.basis)
            self.index = torch.from_numpy(self.places.reshape(-1)).to(x.device)
            few = len(self.index) <= LARGEST
            self.rows = self._spread(self.numbers).flatten(0, 1).unbind() if few else None
        width = self.table.shape[1]
        return self.rows[i * width : (i + 1) * width] if self.rows else self._spread(self.numbers[i]).unbind()

    def _spread(self, numbers: Tensor) -> Tensor:
        return numbers[..., self.index].reshape(*numbers.shape[:-1], *self.moments.deviations.shape)

    def start(self, x: Tensor) -> Tensor:
        """z of x at the first time."""
        return (
            torch.add(self.moments.turn(x, self.basis), self.centre, alpha=-self.at[0].alpha)
            * self.row(len(self.times) - 1, x)[0]
        )

    def residual(self, x0: Tensor, z: Tensor, row: Sequence[Tensor]) -> Tensor:
        """V where the denoiser gives x0."""
        return torch.addcmul(row[1] * z, row[0], self.moments.turn(x0, self.basis) - self.centre)

    def back(self, z: Tensor, row: Sequence[Tensor], i: int) -> Tensor:
        """x_s of z at the end of step i."""
        return self.moments.back(torch.add(row[2] * z, self.centre, alpha=self.at[i + 1].alpha), self.basis)


def _envelope(r: np.ndarray, moments: Moments, floor: float, end: float = 0.15, nats: float = 2.0) -> np.ndarray:
    """g at the noise level r: r / sqrt(r^2 + end^2) at the end, and 1 - exp(-I / nats), or `floor`, at the start."""
    start = 1.0 if floor == 1 else floor + (1 - floor) * -np.expm1(-moments.information(r) / nats)
    return start * r / np.hypot(r, end)


@lru_cache(maxsize=8)
def _weights(
    noise: tuple[float, ...], moments: Moments, order: int, first: int, floor: float
) -> tuple[np.ndarray, np.ndarray]:
    """-int V s dr / (s^2 + r^2) by the values V at the N + 1 levels of noise r, the latest first: (N, order + 1, S) of
    the interval that becomes settled with the latest value, and of all that are ahead of it, for S deviations s.

    By Gauss-Legendre in asinh(r / least s), in which the integrands are smooth from r = 0 on.
    """
    r, s, scale = np.array(noise), np.unique(moments.deviations.numpy()), moments.reach**WIDE
    envelope = lambda r: _envelope(r, moments, floor)
    steps, memory, least = len(r) - 1, order + 1, s.min()
    phi = np.arctan(r / scale)
    ends = np.arcsinh(r / least)
    u, h = (v.numpy() for v in quadrature(ends[:-1, None], ends[1:, None]))
    at = least * np.sinh(u)  # (N, points)
    h = -h * least * np.cosh(u) * envelope(at)
    step = np.arange(steps)[:, None]

    def integrals(back: int, values: int) -> np.ndarray:
        """Those over the interval `back` before the one that begins with the latest value, for each step."""
        place = step - np.arange(values)
        nodes = np.where(place < first, np.nan, phi[place.clip(0)])
        where = (step[:, 0] - back).clip(0)
        basis = lagrange(nodes.T, torch.from_numpy(np.arctan(at / scale))[where]).numpy()  # (values, N, points)
        basis = basis * h[where] * (step[:, 0] >= back)[:, None]
        basis = np.moveaxis(basis, 0, 1) / np.where(place < first, 1.0, envelope(r[place.clip(0)]))[..., None]
        out = np.zeros((steps, memory, len(s)))
        for part in range(0, len(s), 1024):
            density = s[part : part + 1024] / (s[part : part + 1024] ** 2 + at[where][..., None] ** 2)
            out[:, :values, part : part + 1024] = basis @ density
        return out

    return integrals(LAG, memory), integrals(0, order) + sum(integrals(b, memory) for b in range(1, LAG))
