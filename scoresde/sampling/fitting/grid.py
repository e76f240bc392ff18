"""What a short run of the model teaches: where its flow is hard (a time grid), and how best to step (a sampler)."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ...denoiser import Denoiser, Given, Wrapped, bind, device_of, weigh
from ...errors import InputError
from ...noise import normal
from ...sde import SDE, widest
from ..adaptive.flow import ProbabilityFlow
from ..loop import Sampler, Steps, sample
from ..steps.multistep import Adams


@dataclass(frozen=True)
class FittedGrid:
    """A time grid: `share[i]` of all steps lie below the angle phi = `angles[i]`, linear in between."""

    angles: tuple[float, ...]
    share: tuple[float, ...]

    def __call__(self, sde: SDE, steps: int, start: float, end: float) -> Tensor:
        """The times of a sampling, as every grid gives them.

        Arguments:
            sde, steps, start, end: as in `grids.times`.

        Returns:
            (steps + 1,) decreasing times, float64.

        Raises:
            InputError: the grid was fitted to other noise levels.
        """
        high, low = (float(sde.angle(t)) for t in (start, end))
        from_, to = np.interp([high, low], self.angles, self.share)
        if not from_ > to:
            raise InputError(
                f"the fitted grid covers phi in {self.angles[0]:.3g}..{self.angles[-1]:.3g}, not {low:.3g}"
            )
        phi = np.interp(np.linspace(from_, to, steps + 1), self.share, self.angles)
        return sde.time(-2 * torch.log(torch.tan(torch.from_numpy(phi))))


def fit_grid(
    denoiser: Denoiser, shape: Sequence[int], order: int = 3, steps: int = 64, t_min: float | None = None, **options
) -> FittedGrid:
    """The grid that gives every step of a method of order p = `order` the same local error, from one short run.

    A step h at phi errs by about h^(p+1) |d^p v / dphi^p|, so steps are placed with a density |d^p v /
    dphi^p|^(1/(p+1)), the derivative by divided differences along the run, its mean square over samples and
    coordinates; half of all steps follow it, and half are uniform in phi, as few samples know little.

    Arguments:
        denoiser: the model.
        shape: (n, *data shape), of the samples of the run.
        order: p, 1 to 5.
        steps: those of the run, by an Adams method; 2 order + 2 at least.
        t_min: the last time; None: the SDE's.
        options: those of `sample`: seed, dtype, device, cond.

    Returns:
        A `FittedGrid`, for the `grid` of any sampler.

    Raises:
        InputError: an order or steps out of range.
    """
    if order not in range(1, 6) or steps < 2 * order + 2:
        raise InputError(f"order={order!r}, steps={steps!r}: give an order 1 to 5, and at least 2 order + 2 steps")
    sampler = Adams(steps=steps, order=3, grid="cosine_angle", t_min=t_min, last="none")
    sde, path = denoiser.sde, []

    class Watched(Wrapped):
        def forward(self, x, t, cond=None):
            x0 = self.denoiser(x, t, cond)
            at = sde.at(t)
            path.append((at.phi, weigh(at.alpha / (at.n * at.sigma), x, -at.n / at.sigma, x0).double()))
            return x0

    sample(Watched(denoiser), sampler, shape, **{"device": device_of(denoiser), "progress": False, **options})
    # Divided differences of order p, each at the middle of its nodes.
    phi, value = [p for p, _ in path], [v for _, v in path]
    for k in range(1, order + 1):
        value = [(b - a) / (phi[i + k] - phi[i]) for i, (a, b) in enumerate(itertools.pairwise(value))]
    size = np.array([float(v.square().mean()) ** 0.5 for v in value])
    middle = np.array([sum(phi[i : i + order + 1]) / (order + 1) for i in range(len(value))])
    density = (size + 1e-12 * size.max()) ** (1 / (order + 1))
    ends = [float(sde.angle(t)) for t in (sampler.times(sde)[-1], sde.t_max)]
    angles = np.linspace(*ends, 257)
    density = np.interp(angles, middle[::-1], density[::-1])
    share = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    share = 0.5 * share / share[-1] + 0.5 * np.linspace(0, 1, len(share))
    return FittedGrid(tuple(angles.tolist()), tuple(share.tolist()))


@dataclass(frozen=True)
class FittedMultistep(Sampler):
    """A linear multistep method on dz/dphi = v with weights for each step that `fit_multistep` fitted to the model:

        z_s = sum_j a_j z_j + sum_j b_j v_j      over the latest points z_j and velocities v_j on the sampler's own way

    Arguments:
        steps: the number of intervals.
        grid: the steps + 1 times.
        points, velocities: the a_j and the b_j, a row for each step, the latest first.

    Raises:
        InputError: times or rows that do not go with `steps`.
    """

    memory: ClassVar[str | None] = Adams.memory

    steps: Steps = 1
    grid: Sequence[float] = ()
    points: Sequence[Sequence[float]] = ()
    velocities: Sequence[Sequence[float]] = ()

    def __post_init__(self):
        super().__post_init__()
        sizes = {self.steps, len(self.grid) - 1, len(self.points), len(self.velocities)}
        if len(sizes) > 1:
            raise InputError(
                f"steps={self.steps}, {len(self.grid)} times, {len(self.points)} and {len(self.velocities)} rows of "
                "weights: a fitted sampler has one row of each for every step (make it with fit_multistep)"
            )

    def step(self, denoiser, x, t, s, state: Any, noise):
        i, z_past, v_past = state or (0, [], [])
        sde = denoiser.sde
        z_past = [x / sde.at(t).n, *z_past][: max(map(len, self.points))]
        v_past = [denoiser.velocity(x, t), *v_past][: max(map(len, self.velocities))]
        z = _combine([*self.points[i], *self.velocities[i]], z_past[: len(self.points[i])], v_past)
        return sde.at(s).n * z, (i + 1, z_past, v_past)


def _combine(weights: Sequence[float], points: list[Tensor], velocities: list[Tensor]) -> Tensor:
    total = torch.zeros_like(points[0])
    for w, part in zip(weights, [*points, *velocities], strict=False):
        total = total.add_(part, alpha=w)
    return total


@torch.no_grad()
def fit_multistep(
    denoiser: Denoiser,
    sampler: Sampler,
    shape: Sequence[int],
    seed: int = 0,
    velocities: int = 3,
    points: int = 3,
    reference: Sequence[Tensor] | None = None,
    cond: Given = None,
) -> FittedMultistep:
    """A multistep method with the times and the last step of `sampler`, fitted to the model on n samples of the flow.

    Step by step, the weights of the latest points and velocities of the method's own way are the least-squares solution
    of arriving at the flow's z_s, from the same x_T: what earlier steps got wrong is mended as far as it can be.  Few
    numbers and many equations (n times the dimensions), with a small ridge towards the weights of Adams-Bashforth.  One
    short run, no search.

    Arguments:
        denoiser: the model.
        sampler: which gives the times and the last step.
        shape: (n, *data shape).
        seed: of the x_T, as in `sample`.
        velocities, points: how many of each a step looks back at.
        reference: the flow's x at the times after the first (`flow_points`); None: it is computed.
        cond: the conditions of the n samples, by name.

    Returns:
        A `FittedMultistep` sampler.
    """
    denoiser, sde = bind(denoiser, cond, shape[0]), denoiser.sde
    times = sde.along(sampler.times(sde))
    reference = reference or flow_points(denoiser, times, shape, seed)
    like = reference[0]
    x = sde.prior(normal(like, torch.arange(len(like), device=like.device), seed, 0, 0))
    adams = Adams(order=velocities)
    rows_a, rows_b, z_past, v_past = [], [], [], []
    for i, (t, s) in enumerate(itertools.pairwise(times)):
        z_past = [x / t.n, *z_past][:points]
        v_past = [denoiser.velocity(x, t), *v_past][:velocities]
        nodes = np.array([[u.phi for u in times[max(0, i + 1 - velocities) : i + 1]][::-1]])
        weights = adams.weights(sde, [t], np.array([t.phi]), np.array([s.phi]), nodes)[0]
        start = [1.0, *[0.0] * (len(z_past) - 1), *weights]
        weights = _least_squares([*z_past, *v_past], reference[i] / s.n, start)
        rows_a.append(tuple(weights[: len(z_past)]))
        rows_b.append(tuple(weights[len(z_past) :]))
        x = s.n * _combine(weights, z_past, v_past)
    return FittedMultistep(
        len(times) - 1,
        tuple(map(float, times)),
        sampler.last,
        sampler.t_min,
        points=tuple(rows_a),
        velocities=tuple(rows_b),
    )


def _least_squares(basis: list[Tensor], target: Tensor, start: list[float], ridge: float = 1e-8) -> list[float]:
    columns = torch.stack([b.double().flatten() for b in basis], 1).cpu()
    nominal = torch.tensor(start, dtype=torch.float64)
    rest = target.double().flatten().cpu() - columns @ nominal
    gram = columns.T @ columns
    gram += ridge * gram.diagonal().mean() * torch.eye(len(start), dtype=torch.float64)
    return (nominal + torch.linalg.solve(gram, columns.T @ rest)).tolist()


def flow_points(
    denoiser: Denoiser,
    times: Sequence[float],
    shape: Sequence[int],
    seed: int = 0,
    tolerance: float = 1e-6,
    cond: Given = None,
) -> list[Tensor]:
    """The flow's x at the times after the first, from the x_T of `sample` with this seed, in float64."""
    out: list[Tensor] = []
    real = widest(device_of(denoiser))
    flow = ProbabilityFlow(grid=tuple(times), rtol=tolerance, atol=tolerance, last="none", steps=len(times) - 1)
    keep = lambda i, t, x, x0: out.append(x)
    sample(denoiser, flow, shape, seed, dtype=real, callback=keep, progress=False, cond=cond)
    return out
