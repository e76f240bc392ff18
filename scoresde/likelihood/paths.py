"""The flow and the integral of its divergence from t_min to t_max: by adaptive steps, or on a fixed grid."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from .. import grids, ode
from ..denoiser import Denoiser
from ..errors import InputError
from ..sde import SDE
from ..settings import Checked, OneOf, Positive, Range, brief, nearest
from .brief import Result
from .control import Control
from .divergence import Divergence
from .nodes import Checkpoint, predictors, quadrature
from .velocity import flow_velocity

FixedSteps = Annotated[int, Range(2, 10**6)]


@dataclass(frozen=True)
class Problem:
    """Rows z (b, *shape) = x / n at t_min with their sample numbers `index`, probes' seed."""

    denoiser: Denoiser
    z: Tensor
    index: Tensor
    seed: int
    t_min: float

    def rows(self, rows: Tensor) -> "Problem":
        return Problem(self.denoiser.select(rows), self.z[rows], self.index[rows], self.seed, self.t_min)


@dataclass(frozen=True, repr=False)
class Solution(Result):
    """z at t_max (b, *shape); the mean integral of the divergence and its estimated variance (b,); evaluations (b,)."""

    z: Tensor
    integral: Tensor
    variance: Tensor
    nfe: Tensor


@dataclass(frozen=True)
class AdaptivePath(Checked):
    """Steps of its own for each row, by `ode.integrate`; probes stay along each trajectory.

    The tolerances are `atol` and `rtol` / sqrt(D): the integral of the divergence grows with D, and what is allowed of
    it would in nats.  At 64 dimensions that is a fifth more evaluations for 3 to 12 times less error.

    Arguments:
        rtol, atol: the tolerance, relative and absolute.
        method: a name in `scoresde.ode.METHODS`, or a `scoresde.ode.Method`.
    """

    rtol: Positive = 1e-5
    atol: Positive = 1e-5
    method: Annotated[str, OneOf(ode.METHODS)] | ode.Method = "adams"

    fresh: ClassVar[bool] = False  # whether probes are others in each step

    def __call__(self, problem: Problem, divergence: Divergence, control: Control | None, first: int = 0) -> Solution:
        """The flow from t_min to t_max, and the integral of its divergence.

        Arguments:
            problem: the rows at t_min, their numbers and the denoiser.
            divergence: the estimator.
            control: takes a known share out of the probes' errors; None: nothing.
            first: the number of the first probe.

        Returns:
            z at t_max (B, *shape); the mean integral and its variance (B,); evaluations (B,).

        Raises:
            InputError: a control of another dimension.
            FloatingPointError: the model is not finite.
        """
        z, sde = problem.z, problem.denoiser.sde
        probes = divergence.probes(z, problem.index, problem.seed, first)
        ends = sde.angle(torch.tensor([problem.t_min, sde.t_max], dtype=torch.float64)).tolist()

        def flow(phi: Tensor, state: tuple[Tensor, Tensor], rows: Tensor) -> tuple[Tensor, Tensor]:
            model = problem.denoiser.select(rows)
            chosen = None if probes is None else probes[rows]
            return divergence(lambda y: flow_velocity(model, y, phi), state[0], chosen)

        state = (z, z.new_zeros(len(z), divergence.estimates))
        start, end = (z.new_full((len(z),), phi) for phi in ends)
        rtol = self.rtol / math.sqrt(z[0].numel())
        (z, integral), nfe = ode.integrate(flow, state, start, end, rtol, self.atol, self.method)
        if control is not None:
            integral = integral - control.error(control.integral(*ends), probes)
        return Solution(z, integral.mean(1), divergence.variance(integral), nfe)


@dataclass(frozen=True)
class FixedPath(Checked):
    """`steps` steps of Adams's method on a grid of times, one evaluation a step and one more at the end, at t_max.

    With nodes phi_0 < .. < phi_N, v_j = v(z*_j, phi_j) and d_j the divergence there,

        z*_{j+1} = z_j + int P dphi      z_{j+1} = z_j + int Q dphi      integral = sum_j w_j d_j

    P is the polynomial through the latest `order` velocities, Q through one more, the new one; w integrates the
    polynomials through the `order` + 1 nodes about each step.  Probes are fresh at each node: errors of d_j are
    independent, that of the integral has the variance sum_j w_j^2 Var d_j, and each Var d_j is estimated from the
    spread of the probes at its node.  A single probe is compared with the line through its two neighbours, which counts
    what the divergence bends between three nodes as noise: too large an error rather than too small a one.

    Bashforth, Adams (1883); Gasser, Sroka, Jennen-Steinmetz (1986), Residual variance and residual pattern in nonlinear
    regression.

    Arguments:
        steps: N, from 2 up.
        grid: a name in `scoresde.grids.GRIDS`, a function, or the decreasing times from t_max to t_min.
        order: of the polynomials, 1 to 8.
        differentiable: the result has a graph, which keeps a state for each step and computes activations again.
    """

    steps: FixedSteps
    grid: Annotated[str, OneOf(grids.GRIDS)] | grids.Grid | Sequence[float] = "angle"
    order: Annotated[int, Range(1, 8)] = 3
    differentiable: bool = False

    fresh: ClassVar[bool] = True

    def __call__(self, problem: Problem, divergence: Divergence, control: Control | None, first: int = 0) -> Solution:
        """The flow from t_min to t_max, and the integral of its divergence.

        Arguments:
            problem, divergence, control, first: as in `AdaptivePath.__call__`.

        Returns:
            What `AdaptivePath.__call__` returns.

        Raises:
            InputError: a grid that does not run from t_max to t_min.
        """
        sde, z = problem.denoiser.sde, problem.z
        times = grids.times(self.grid, sde, self.steps, sde.t_max, problem.t_min)[::-1]
        if (times[0], times[-1]) != (problem.t_min, sde.t_max):
            raise InputError(f"grid from {times[-1]} to {times[0]}: it must run from {sde.t_max} to {problem.t_min}")
        angles = sde.angle(torch.tensor(times, dtype=torch.float64))
        past, found = [], []
        steps = list(predictors(angles, self.order))
        for j, t in enumerate(times):
            ahead = z if j == 0 else _combine(z, steps[j - 1][0], past)
            probes = divergence.probes(z, problem.index, problem.seed, first, 1 + j)
            v, d = self._evaluate(problem, divergence, ahead, probes, t)
            past = [v, *past][: self.order + 1]
            if j:
                z = _combine(z, steps[j - 1][1], past)
            if control is not None:
                d = d - control.error(control.jacobian(float(angles[j])), probes)
            found.append(d)
        estimates, weights = torch.stack(found, 1), quadrature(angles, self.order + 1).to(z)
        integral = torch.einsum("j,bjk->b", weights, estimates) / divergence.estimates
        variance = self._variance(estimates.detach(), weights, angles.to(z), divergence)
        return Solution(z, integral, variance, torch.full_like(problem.index, len(times)))

    def _evaluate(self, problem: Problem, divergence: Divergence, z, probes, t: float) -> tuple[Tensor, Tensor]:
        denoiser = problem.denoiser
        n = float(torch.hypot(*denoiser.sde.marginal(t)))

        def evaluate(z: Tensor) -> tuple[Tensor, Tensor]:
            return divergence(lambda y: denoiser.velocity(n * y, t), z, probes)

        if not self.differentiable:
            return evaluate(z)
        weights = [p for p in denoiser.parameters() if p.requires_grad]
        return Checkpoint.apply(evaluate, z, *weights)

    @staticmethod
    def _variance(estimates: Tensor, weights: Tensor, angles: Tensor, divergence: Divergence) -> Tensor:
        """sum_j w_j^2 Var d_j of estimates (b, N + 1, k), each Var d_j as estimated."""
        if divergence.estimates > 1 or not divergence.random:
            return divergence.variance(estimates) @ weights.square()
        d, h = estimates[..., 0], angles.diff()
        share = h[1:] / (h[1:] + h[:-1])
        gap = d[:, 1:-1] - share * d[:, :-2] - (1 - share) * d[:, 2:]
        variance = gap.square() / (1 + share.square() + (1 - share).square())
        variance = torch.cat([variance[:, :1], variance, variance[:, -1:]], 1)
        return variance @ weights.square()


def _combine(z: Tensor, weights: Sequence[float], values: Sequence[Tensor]) -> Tensor:
    for w, value in zip(weights, values, strict=False):
        z = torch.add(z, value, alpha=w)
    return z


def start_time(sde: SDE, t_min: float | None) -> float:
    """t_min, or that of the SDE for None.  Raises `InputError` where the SDE is not defined at it."""
    if t_min is not None and not sde.t_min <= t_min < sde.t_max:
        raise InputError(f"t_min={t_min!r}: give a time in [{sde.t_min}, {sde.t_max}), where {sde} is defined")
    return sde.t_min if t_min is None else float(t_min)


SHORT = {"rtol": AdaptivePath, "atol": AdaptivePath, "method": AdaptivePath}
SHORT |= {"steps": FixedPath, "grid": FixedPath, "order": FixedPath, "differentiable": FixedPath}


def path_of(path: "AdaptivePath | FixedPath | None", short: dict[str, Any]) -> "AdaptivePath | FixedPath":
    """The path that is given, or that its fields are short for: `steps` for a fixed one, `rtol`, ... for an adaptive.

    Raises `InputError` for a path and fields beside it, fields of both, and names that are of neither.
    """
    short = {name: value for name, value in short.items() if not (name == "steps" and value is None)}
    if unknown := [name for name in short if name not in SHORT]:
        raise InputError(f"{unknown[0]}={brief(short[unknown[0]])} is unknown{nearest(unknown[0], SHORT)}", unknown[0])
    if path is not None and short:
        raise InputError(f"path={path} and {', '.join(short)}: put them into the path", "path")
    if path is not None:
        return path
    if "steps" in short:
        return FixedPath(**{name: value for name, value in short.items() if SHORT[name] is FixedPath})
    if short.get("differentiable"):
        raise InputError("differentiable=True needs a fixed grid: give a number of steps, 50 say", "differentiable")
    return AdaptivePath(**{name: value for name, value in short.items() if SHORT[name] is AdaptivePath})


def scored(denoiser: Denoiser) -> Denoiser:
    """The denoiser, if it is a posterior mean: `InputError` for one that is not (guided, or a student), as it has no
    likelihood."""
    if not denoiser.exact:
        raise InputError(
            f"the {type(denoiser).__name__} is no posterior mean E[x_0 | x_t], and has no likelihood: score the model "
            "that it was made of"
        )
    return denoiser
