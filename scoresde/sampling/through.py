"""A sampler whose times and weights are fitted together to a model, through the whole solver."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ..denoiser import Denoiser, select
from ..errors import InputError
from ..noise import normal
from .flow import ProbabilityFlow
from .loop import Sampler, Steps, sample
from .multistep import Adams, integrals

RMS = 0.85  # the share of log rms in what is minimised; the rest is the mean log distance, which minds the median
RATE = 0.02  # of Adam, at the start; it falls to 0 along a cosine
RACE = 60  # iterations from each start; the best goes on


def _placed(power: float, ends: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda u: (1 - ends) * u**power + ends * (1 - np.cos(np.pi * u)) / 2


# The share of the angles below each node, where the fit starts: modes may part anywhere between.
STARTS = (_placed(1.5, 0.5), _placed(2.0, 0.2), _placed(1.0, 0.0), _placed(0.6, 0.0))


@dataclass(frozen=True)
class FittedLinear(Sampler):
    """Each state is x_T's and a sum of all values so far; times and weights are those that `fit_through` found.

    N(m, s^2), with the data's mean m and deviation s, carries z = x / n over phi = atan(sigma / alpha) exactly, and the
    values are what the model adds.  With q^2 = s^2 cos(phi)^2 + sin(phi)^2,

        zeta = (z - cos(phi) m) / q      psi = atan(tan(phi) / s)      dzeta/dpsi = V
        V = -q / (s sin(phi)) (D - m - s^2 cos(phi) / q^2 (z - cos(phi) m))
        zeta_(i+1) = zeta_i + (psi_(i+1) - psi_i) sum_j w_ij V_j

    `grid` holds the times, `weights[i]` the w_ij of step i, the first value first, `mean` and `deviation` m, flat, and
    s.  Where `weights[0]` is empty the first step asks nothing of the model: at t_max it knows no more than m and s.
    """

    memory: ClassVar[str | None] = Adams.memory

    steps: Steps = 1
    grid: Sequence[float] = ()
    mean: Sequence[float] = ()
    deviation: float = 1.0
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
        return _Line(torch.tensor([t.phi for t in times], dtype=torch.float64), self.deviation).numbers(), 0, []

    def step(self, denoiser, x, t, s, state: Any, noise, **cond):
        sde = denoiser.sde
        line, i, values = state or self.begin(sde, sde.along(self.times(sde)))
        size = math.prod(x.shape[1:])
        if len(self.mean) != size:
            raise InputError(f"mean of {len(self.mean)} numbers: samples of shape {tuple(x.shape[1:])} need {size}")
        mean = torch.tensor(self.mean, dtype=x.dtype, device=x.device).reshape(x.shape[1:])
        ask = lambda z: denoiser(x, t, **cond)
        zeta, values = _advance(
            line, i, (x / sde.at(t).n - line.cos[i] * mean) / line.q[i], values, self.weights[i], mean, ask
        )
        x = sde.at(s).n * (line.q[i + 1] * zeta + line.cos[i + 1] * mean)
        return x, (line, i + 1, values)


class _Line:
    """The coefficients at the angles `phi` (K,) of N(m, s^2)'s flow: tensors, with the graph of phi, or numbers."""

    def __init__(self, phi: Tensor, s: float):
        cos, sin = torch.cos(phi), torch.sin(phi)
        self.cos, self.q, self.psi = cos, torch.sqrt(s**2 * cos**2 + sin**2), torch.atan2(sin, s * cos)
        self.scale, self.pull = -self.q / (s * sin), s**2 * cos / self.q

    def numbers(self) -> "_Line":
        for name, value in vars(self).items():
            setattr(self, name, value.tolist())
        return self


def _advance(line: _Line, i: int, zeta: Tensor, values: list, weights, mean: Tensor, ask: Callable) -> tuple:
    """zeta at the node i + 1 and the values so far, from zeta at the node i; `ask(z)` is D there."""
    if len(weights) > len(values):
        x0 = ask(line.q[i] * zeta + line.cos[i] * mean)
        values = [*values, line.scale[i] * (x0 - mean - line.pull[i] * zeta)]
    step = line.psi[i + 1] - line.psi[i]
    for w, value in zip(weights, values, strict=True):
        zeta = zeta + (step * w) * value
    return zeta, values


def fit_through(
    denoiser: Denoiser,
    budget: int,
    shape: Sequence[int],
    seed: int = 0,
    last: str = "none",
    t_min: float | None = None,
    tolerance: float = 1e-6,
    iterations: int = 300,
    report: Callable[[int, int, float], None] | None = None,
    **cond,
) -> FittedLinear:
    """The `FittedLinear` sampler with `budget` evaluations whose ends are nearest to the flow's.

    Its times and weights descend, by gradients through the whole solver and the model, to small distances e_b of its
    ends from the flow's, a coordinate, from the same x_T:

        0.85 log rms(e) + 0.15 mean log e

    in batches of n / 4 rows of the 4 n flows that are computed once, at rtol = atol = `tolerance`.  It starts from
    several placings of the times, with the weights of an Adams method; after 60 iterations from each the best goes on
    for `iterations`.  `shape` = (n, *data shape); conditions that are tensors have n rows.  `last="tweedie"` takes one
    of the evaluations.  `report(done, all, loss)` follows the iterations.  The model's parameters stay as they are.
    """
    n, *item = shape
    pool = 4 * n
    cond = {k: c.repeat(4, *[1] * (c.ndim - 1)) if _by_row(c, n) else c for k, c in cond.items()}
    real = torch.float32 if any(p.device.type == "mps" for p in denoiser.parameters()) else torch.float64
    flow = ProbabilityFlow(rtol=tolerance, atol=tolerance, last="none", t_min=t_min)
    end = sample(denoiser, flow, (pool, *item), seed, dtype=real, progress=False, **cond)
    fit = _Fit(denoiser, flow.times(denoiser.sde), end, seed, max(4, n // 4), cond)
    evaluations = budget - (last == "tweedie")
    starts = [fit.start(place, evaluations) for place in STARTS]
    total, done = RACE * len(starts) + iterations, itertools.count(1)
    say = (lambda loss: report(next(done), total, loss)) if report is not None else (lambda loss: None)
    with _frozen(denoiser):
        raced = [fit.descend(*start, RACE, say) for start in starts]
        best = min(raced, key=lambda found: fit.loss_of_all(*found))
        found = min((best, fit.descend(*best, iterations, say)), key=lambda found: fit.loss_of_all(*found))
    return fit.sampler(*found, last, t_min)


def _by_row(value: Any, n: int) -> bool:
    return torch.is_tensor(value) and value.ndim > 0 and len(value) == n


@contextmanager
def _frozen(denoiser: Denoiser) -> Iterator[None]:
    """No gradients for the parameters, and gradients for the rest."""
    kept = [p for p in denoiser.parameters() if p.requires_grad]
    for p in kept:
        p.requires_grad_(False)
    try:
        with torch.enable_grad():
            yield
    finally:
        for p in kept:
            p.requires_grad_(True)


class _Fit:
    """The flow's starts and ends of many rows, and the descent of a sampler's steps (logits) and weights to them."""

    def __init__(self, denoiser: Denoiser, times: Sequence[float], end: Tensor, seed: int, batch: int, cond: dict):
        self.denoiser, self.sde, self.batch, self.cond = denoiser, denoiser.sde, batch, cond
        self.first, self.final = self.sde.at(times[0]), self.sde.at(times[-1])
        index = torch.arange(len(end), device=end.device)
        self.z = self.sde.prior(normal(end, index, seed, 0, 0)).to(end) / self.first.n
        self.end = end / self.final.n
        self.mean = self.end.mean(0)
        self.deviation = float((self.end - self.mean).square().mean().sqrt())

    def start(self, place: Callable[[np.ndarray], np.ndarray], evaluations: int) -> tuple[Tensor, Tensor]:
        """The logits of the steps and the weights of an Adams method, corrected, whose value at phi = pi/2 is 0."""
        phi = self.final.phi + (self.first.phi - self.final.phi) * place(np.linspace(1, 0, evaluations + 2))
        weights = torch.from_numpy(_adams(phi, self.deviation, min(3, (evaluations + 1) // 2)))
        return torch.from_numpy(np.log(-np.diff(phi))), weights

    def angles(self, logits: Tensor) -> Tensor:
        steps = torch.softmax(logits, 0) * (self.first.phi - self.final.phi)
        return self.first.phi - torch.cat([steps.new_zeros(1), steps.cumsum(0)])

    def time(self, phi: Tensor) -> Tensor:
        """The time of an angle, with its graph whether or not `SDE.time` has one."""
        known = self.sde.time(-2 * torch.log(torch.tan(phi.detach()))).detach().requires_grad_()
        with torch.enable_grad():
            (slope,) = torch.autograd.grad(self.sde.angle(known), known)
        return known.detach() + (phi - phi.detach()) / slope

    def distances(self, logits: Tensor, weights: Tensor, rows: Tensor) -> Tensor:
        phi = self.angles(logits)
        line, cond = _Line(phi, self.deviation), select(self.cond, rows, len(self.z))
        z, values = self.z[rows], []
        zeta = (z - line.cos[0] * self.mean) / line.q[0]
        for i in range(len(phi) - 1):
            zeta, values = _advance(line, i, zeta, values, weights[i, :i], self.mean, partial(self.ask, phi[i], cond))
        away = line.q[-1] * zeta + line.cos[-1] * self.mean - self.end[rows]
        return away.flatten(1).square().mean(1).sqrt()

    def ask(self, phi: Tensor, cond: dict, z: Tensor) -> Tensor:
        """D at an angle; what its gradient needs is computed again, so that one evaluation's graph is in memory."""
        from torch.utils.checkpoint import checkpoint

        t = self.time(phi)
        alpha, sigma = self.sde.marginal(t)
        model = lambda x, t: self.denoiser(x, t, **cond)
        return checkpoint(model, torch.sqrt(alpha**2 + sigma**2) * z, t, use_reentrant=False, preserve_rng_state=False)

    def loss(self, e: Tensor) -> Tensor:
        return RMS / 2 * torch.log(e.square().mean()) + (1 - RMS) * torch.log(e + 1e-12).mean()

    @torch.no_grad()
    def loss_of_all(self, logits: Tensor, weights: Tensor) -> float:
        rows = torch.arange(len(self.z), device=self.z.device)
        loss = float(self.loss(torch.cat([self.distances(logits, weights, part) for part in rows.split(self.batch)])))
        return loss if math.isfinite(loss) else math.inf

    def descend(self, logits: Tensor, weights: Tensor, iterations: int, say: Callable[[float], None]) -> tuple:
        found = [p.clone().requires_grad_() for p in (logits, weights)]
        adam = torch.optim.Adam(found, lr=RATE, betas=(0.9, 0.99))
        for i in range(iterations):
            adam.param_groups[0]["lr"] = RATE * (1 + math.cos(math.pi * i / iterations)) / 2
            rows = torch.arange(i * self.batch, (i + 1) * self.batch, device=self.z.device) % len(self.z)
            loss = self.loss(self.distances(*found, rows))
            grads = torch.autograd.grad(loss, found)
            if not all(bool(g.isfinite().all()) for g in grads):
                break
            for p, g in zip(found, grads, strict=True):
                p.grad = g
            adam.step()
            say(float(loss.detach()))
        return tuple(p.detach() for p in found)

    def sampler(self, logits: Tensor, weights: Tensor, last: str, t_min: float | None) -> FittedLinear:
        inner = [float(self.time(phi)) for phi in self.angles(logits)[1:-1]]
        times = (float(self.first), *inner, float(self.final))
        rows = tuple(tuple(row[:i].tolist()) for i, row in enumerate(weights))
        mean = tuple(self.mean.flatten().tolist())
        return FittedLinear(len(rows), times, last, t_min, mean=mean, deviation=self.deviation, weights=rows)


def _adams(phi: np.ndarray, s: float, order: int) -> np.ndarray:
    """The weights of an Adams method of values at all angles but the first, where they are 0, and the last.

    Predicted with `order` values and corrected with one more; pi/2 is a node while they are fewer.
    """
    steps = len(phi) - 1
    density = lambda u: s / (s**2 * torch.cos(u) ** 2 + torch.sin(u) ** 2)
    psi = np.arctan2(np.sin(phi), s * np.cos(phi))

    def integral(i: int, have: int, most: int) -> np.ndarray:
        out, used = np.zeros(steps - 1), np.arange(max(0, have - most), have)
        nodes = np.append(phi[1 + used], [np.pi / 2] * (len(used) < most))
        if len(used):
            out[used] = integrals(nodes[None], phi[i : i + 1], phi[i + 1 : i + 2], density)[0, : len(used)]
        return out

    weights = np.zeros((steps, steps - 1))
    base = before = np.zeros(steps - 1)
    for i in range(1, steps):
        base = base + integral(i - 1, i, order + 1)
        ahead = base + integral(i, i, order)
        weights[i] = (ahead - before) / (psi[i + 1] - psi[i])
        before = ahead
    return weights
