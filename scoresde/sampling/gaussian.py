"""Adams' method on what a Gaussian like the data leaves of the flow."""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from .. import grids
from ..moments import Moments
from ..sde import SDE
from .loop import Placing, Sampler, Steps
from .multistep import Multistep, Order, lagrange, quadrature

LAG = 2  # intervals, the latest but one and the one before it, that are integrated again when a value becomes known
FEW = 24  # evaluations up to which the first interval goes without one
EARLY = 20.0  # of the largest deviation: the noise from which on that is right


@dataclass(frozen=True)
class GaussianAdams(Sampler):
    r"""Adams-Bashforth-Moulton on the flow less that of a Gaussian with the data's mean m and covariance.

    With y = x / alpha, r = sigma / alpha and the deviation s_i in the direction i (of `Denoiser.moments`),

        z_i = (y_i - m_i) / sqrt(s_i^2 + r^2),    dz_i = -V_i s_i dr / (s_i^2 + r^2),
        V_i = (D - D_Gauss)_i sqrt(s_i^2 + r^2) / (r s_i)

    so Gaussian data take one step, exactly.  V / g is extrapolated as a polynomial in phi = atan r through the latest
    `order` values, integrated with each direction's own weights.  When a value becomes known, the two intervals before
    it are integrated again with it, at no evaluation: the method is of order `order` + 1.  The envelope g falls off as
    V does, at the start where x tells little of x_0 and at the end where it tells all.

    `steps` evaluations.  With `grid="information"` and up to 24 of them there is one interval more: the first takes no
    evaluation, as D at pure noise is the mean and nothing else.  That needs the data's moments, and so do the grid and
    the envelope's start; a model that has none, or is given conditions, whose data have other moments, does without
    (a unit Gaussian, or that of all data, carries it).  `order` by default: 2 up to 7 evaluations, 3 up to
    13, 4 up to 39, then 5.

    Exponential integrators: Hochbruck, Ostermann (2010), Acta Numerica 19; the Gaussian part of a diffusion model:
    Wang, Vastola (2023), arXiv 2311.10892.
    """

    memory: ClassVar[str] = Multistep.memory

    _moments: ClassVar[Moments] = Moments.unit()  # of the model's data, once `informed`
    _known: ClassVar[Moments | None] = None  # the same, unless they are nobody's or those of other conditions

    steps: Steps = 20
    grid: Placing = "information"
    order: Order | None = None

    def informed(self, denoiser, cond):
        own = copy.copy(self)
        object.__setattr__(own, "_moments", denoiser.moments or Moments.unit())
        object.__setattr__(own, "_known", None if cond else denoiser.moments)
        return own

    def placing(self, sde):
        if self.grid != "information" or self._known is None:
            return self.grid
        free = self._free(sde.at(sde.t_max).phi)
        return lambda *args: grids.information(*args, self._known, free)

    def begin(self, sde, times):
        return Plan(self, sde, times)

    def step(self, denoiser, x, t, s, state: Any, noise, **cond):
        sde = denoiser.sde
        plan, i, z, base, values = state if isinstance(state, tuple) else (state, 0, None, None, [])
        if plan is None or plan.times[i : i + 2] != [t, s]:
            plan = Plan(self.informed(denoiser, cond), sde, [*(plan.times[:i] if plan else ()), t, s])
        plan.to(x)
        row = plan.row(i)
        if z is None:
            z = base = plan.start(x)
        if i >= plan.first:
            value = plan.turn(denoiser(x, t, **cond))
            value = torch.addcmul(torch.addcmul(row[0], row[1], value), row[2], z)
            values = [value, *values][: plan.memory]
            base = _add(base, row[5 : 5 + plan.memory], values)
            z = _add(base, row[5 + plan.memory :], values)
        x = plan.back(torch.addcmul(row[3], row[4], z))
        return x, (plan, i + 1, z, base, values)

    def _free(self, phi: float) -> bool:
        """Whether the first interval takes no evaluation."""
        if self.grid != "information" or self.steps > FEW or self._known is None:
            return False
        return math.tan(phi) > EARLY * float(self._known.deviations.max())


def _add(base: Tensor, weights: Sequence[Tensor], values: list[Tensor]) -> Tensor:
    for i, (weight, value) in enumerate(zip(weights, values, strict=False)):
        base = base.addcmul_(weight, value) if i else torch.addcmul(base, weight, value)
    return base


class Plan:
    """The numbers of each step on the way through `times`, by direction: see `row`."""

    def __init__(self, sampler: GaussianAdams, sde: SDE, times: Sequence[float]):
        self.times, self.moments = list(times), sampler._moments
        at = [sde.at(t) for t in times]
        phi, n, alpha = (np.array([getattr(a, k) for a in at])[:, None] for k in ("phi", "n", "alpha"))
        centre = self.moments.turn(self.moments.mean[None], self.moments.basis)[0]
        s, centre = (v.numpy() for v in torch.broadcast_tensors(self.moments.deviations, centre))
        self.shape, s, centre = s.shape, s.reshape(-1), centre.reshape(-1)
        size = np.hypot(s * np.cos(phi), np.sin(phi))
        given = not isinstance(sampler.grid, str) and not callable(sampler.grid)
        evaluations = len(sampler.grid) - 1 if given else sampler.steps
        order = sampler.order or 2 + (evaluations > 7) + (evaluations > 13) + (evaluations > 39)
        self.first, self.memory = int(sampler._free(at[0].phi)), order + 1
        envelope = lambda u: _envelope(np.tan(u), sampler._known, min(1.0, evaluations / 200))
        base, ahead = _weights(phi[:, 0], s, order, self.first, envelope)
        # V = a D + b z, less what of it is the mean's; x = n size z + alpha centre
        end, start = size[1:], size[:-1] / np.sin(phi[:-1])
        numbers = [-start / s * centre, start / s, -s / np.tan(phi[:-1]), alpha[1:] * centre, n[1:] * end]
        table = np.concatenate([np.stack(np.broadcast_arrays(*numbers), 1), base, ahead], 1)
        first = np.stack([-alpha[0] / n[0] * centre / size[0], 1 / (n[0] * size[0])])
        self.width, self.table = table.shape[1], np.concatenate([first, table.reshape(-1, len(s))])
        self.rows: tuple[Tensor, ...] = ()

    def to(self, x: Tensor) -> None:
        """Puts it all on the device of x, in its type."""
        if not self.rows or self.rows[0].device != x.device or self.rows[0].dtype != x.dtype:
            table = torch.from_numpy(self.table).to(x.dtype).to(x.device, non_blocking=True)
            self.rows = table.reshape(-1, *self.shape).unbind()
            self.basis = tuple(b.to(x.device, x.dtype) for b in self.moments.basis)

    def row(self, i: int) -> tuple[Tensor, ...]:
        """Of step i: the constant and the factors of D and z in V; the constant and the factor of z in x_s; the
        weights of the latest values in what is settled, and in what is ahead of it."""
        return self.rows[2 + i * self.width : 2 + (i + 1) * self.width]

    def start(self, x: Tensor) -> Tensor:
        """z of x at the first time."""
        return torch.addcmul(self.rows[0], self.rows[1], self.turn(x))

    def turn(self, x: Tensor) -> Tensor:
        return self.moments.turn(x, self.basis)

    def back(self, c: Tensor) -> Tensor:
        return self.moments.back(c, self.basis)


def _envelope(r: np.ndarray, known: Moments | None, floor: float, end: float = 0.15, nats: float = 2.0) -> np.ndarray:
    """g at the noise level r: r / sqrt(r^2 + end^2) at the end, and at the start 1 - exp(-I / nats), or `floor`."""
    start = 1.0 if known is None else floor + (1 - floor) * -np.expm1(-known.information(r) / nats)
    return start * r / np.hypot(r, end)


def _weights(phi: np.ndarray, s: np.ndarray, order: int, first: int, envelope) -> tuple[np.ndarray, np.ndarray]:
    """-int V s dr / (s^2 + r^2), by the values V at the angles phi, the latest first, in N steps: (N, order + 1, D) of
    the interval that becomes settled with the latest value, and of all that are ahead of it.

    By Gauss-Legendre in asinh(r / least s), in which the integrands are smooth from r = 0 on.
    """
    steps, memory = len(phi) - 1, order + 1
    r, least = np.tan(phi), s.min()
    ends = np.arcsinh(r / least)
    u, h = (v.numpy() for v in quadrature(ends[:-1, None], ends[1:, None]))
    at = least * np.sinh(u)  # (N, points)
    h = -h * least * np.cosh(u) * envelope(np.arctan(at))
    step = np.arange(steps)[:, None]

    def integrals(back: int, values: int) -> np.ndarray:
        """Those over the interval `back` before the one that begins with the latest value, for each step."""
        place = step - np.arange(values)
        nodes = np.where(place < first, np.nan, phi[place.clip(0)])
        where = (step[:, 0] - back).clip(0)
        basis = lagrange(nodes.T, torch.from_numpy(np.arctan(at))[where]).numpy()  # (values, N, points)
        basis = basis * h[where] * (step[:, 0] >= back)[:, None]
        basis = np.moveaxis(basis, 0, 1) / np.where(place < first, 1.0, envelope(phi[place.clip(0)]))[..., None]
        out = np.zeros((steps, memory, len(s)))
        for part in range(0, len(s), 1024):
            density = s[part : part + 1024] / (s[part : part + 1024] ** 2 + at[where][..., None] ** 2)
            out[:, :values, part : part + 1024] = basis @ density
        return out

    return integrals(LAG, memory), integrals(0, order) + sum(integrals(b, memory) for b in range(1, LAG))
