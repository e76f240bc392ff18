"""A sampler that is a sum: of x_T, the data's mean and all values of the model so far, with weights of its own."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...errors import InputError
from ...settings import Positive
from ..loop import Sampler, Steps
from .multistep import Adams


@dataclass(frozen=True)
class FittedLinear(Sampler):
    """Each state is x_T's and a sum of all values so far; times and weights are those that `fit_through` found.

    N(m, s^2), with the data's mean m and deviation s, carries z = x / n over phi = atan(sigma / alpha) exactly, and the
    values are what the model adds.  With q^2 = s^2 cos(phi)^2 + sin(phi)^2,

        zeta = (z - cos(phi) m) / q      psi = atan(tan(phi) / s)      dzeta/dpsi = V
        V = -q / (s sin(phi)) (D - m - s^2 cos(phi) / q^2 (z - cos(phi) m))
        zeta_(i+1) = zeta_i + (psi_(i+1) - psi_i) sum_j w_ij V_j

    Arguments:
        steps: the number of intervals.
        grid: the steps + 1 times.
        mean: m, flat.
        deviation: s.
        weights: a row for each step i, the w_ij, the first value first.  Where `weights[0]` is empty the first step
            asks nothing of the model: at t_max it knows no more than m and s.

    Raises:
        InputError: times or rows of weights that do not go with `steps`, or a row without one more weight than the one
            before.
    """

    memory: ClassVar[str | None] = Adams.memory

    steps: Steps = 1
    grid: Sequence[float] = ()
    mean: Sequence[float] = ()
    deviation: Positive = 1.0
    weights: Sequence[Sequence[float]] = ()

    def __post_init__(self):
        super().__post_init__()
        sizes = [len(row) for row in self.weights]
        if len(sizes) != self.steps or len(self.grid) != self.steps + 1 or sizes[0] not in (0, 1):
            words = f"steps={self.steps}, {len(self.grid)} times and {len(sizes)} rows of weights"
            raise InputError(f"{words}: give a row for each step and one more time (make it with fit_through)")
        if sizes != list(range(sizes[0], sizes[0] + self.steps)):
            raise InputError(f"weights with rows of {sizes}: each row has one more weight than the one before")

    def begin(self, sde, times):
        """Its numbers on the way through the times under the SDE.

        Raises `InputError` where they are not as many as its weights are for.
        """
        if len(times) != self.steps + 1:
            words = f"its weights are for all {self.steps} steps from noise: choose another sampler to begin later"
            raise InputError(f"FittedLinear: {words}", "sampler")
        return Line(torch.tensor([t.phi for t in times], dtype=torch.float64), self.deviation).numbers(), 0, [], None

    def step(self, denoiser, x, t, s, state: Any, noise):
        sde = denoiser.sde
        line, i, values, mean = state or self.begin(sde, sde.along(self.times(sde)))
        mean = self._beside(x) if mean is None else mean
        zeta = (x / sde.at(t).n - line.cos[i] * mean) / line.q[i]
        ask = lambda z: denoiser(x, t)
        zeta, values = advance(line, i, zeta, values, self.weights[i], mean, ask)
        x = sde.at(s).n * (line.q[i + 1] * zeta + line.cos[i + 1] * mean)
        return x, (line, i + 1, values, mean)

    def _beside(self, x: Tensor) -> Tensor:
        """The mean in the type, the shape and the place of x."""
        if len(self.mean) != (size := math.prod(x.shape[1:])):
            raise InputError(f"mean of {len(self.mean)} numbers: samples of shape {tuple(x.shape[1:])} need {size}")
        return torch.tensor(self.mean, dtype=x.dtype, device=x.device).reshape(x.shape[1:])


class Line:
    """The coefficients at the angles `phi` (K,) of N(m, s^2)'s flow: tensors, with the graph of phi, or numbers."""

    def __init__(self, phi: Tensor, s: float):
        cos, sin = torch.cos(phi), torch.sin(phi)
        self.cos, self.q, self.psi = cos, torch.sqrt(s**2 * cos**2 + sin**2), torch.atan2(sin, s * cos)
        self.scale, self.pull = -self.q / (s * sin), s**2 * cos / self.q

    def numbers(self) -> "Line":
        for name, value in vars(self).items():
            setattr(self, name, value.tolist())
        return self


def advance(line: Line, i: int, zeta: Tensor, values: list, weights, mean: Tensor, ask: Callable) -> tuple:
    """zeta at the node i + 1 and the values so far, from zeta at the node i; `ask(z)` is D there."""
    if len(weights) > len(values):
        x0 = ask(line.q[i] * zeta + line.cos[i] * mean)
        values = [*values, line.scale[i] * (x0 - mean - line.pull[i] * zeta)]
    step = line.psi[i + 1] - line.psi[i]
    for w, value in zip(weights, values, strict=True):
        zeta = zeta + (step * w) * value
    return zeta, values
