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
from .multistep import Adams, legendre

RMS = 0.85  # the share of log rms in what is minimised; the rest is the mean log distance, which minds the median
RATES = (0.02, 0.01)  # of Adam, of the steps and of the weights, at the start; they fall to 0 along a cosine
MANY = 16  # times n starts, of which the n hardest are taken
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

    The rms is that of few rows, which end in another mode: of 16 n starts, the n at which two short runs disagree most
    are taken, and 3 n of the others, each with its share; their flows are computed once, at rtol = atol = `tolerance`.
    The descent, in batches of n / 4, starts from several placings of the times with the weights of an Adams method;
    after 60 iterations from each the best goes on for `iterations`.  `shape` = (n, *data shape); conditions that are
    tensors have n rows.  `last="tweedie"` takes one of the evaluations.  `report(done, all, loss)` follows the
    iterations.  The model's parameters stay as they are.
    """
    n, *item = shape
    cond = {k: c.repeat(MANY, *[1] * (c.ndim - 1)) if _by_row(c, n) else c for k, c in cond.items()}
    evaluations = budget - (last == "tweedie")
    with torch.no_grad():
        rows = _hard_first(denoiser, evaluations, (MANY * n, *item), n, seed, t_min, cond)
        fit = _Fit(denoiser, rows, item, n, seed, t_min, tolerance, select(cond, rows, MANY * n))
    starts = [fit.start(place, evaluations) for place in STARTS]
    total, done = RACE * len(starts) + iterations, itertools.count(1)
    say = (lambda loss: report(next(done), total, loss)) if report is not None else (lambda loss: None)
    with _frozen(denoiser):
        raced = [fit.descend(start, RACE, say) for start in starts]
        best = min(raced, key=fit.loss_of_all)
        best = min((best, fit.descend(best, iterations, say)), key=fit.loss_of_all)
        return fit.sampler(best, last, t_min)


def _by_row(value: Any, n: int) -> bool:
    return torch.is_tensor(value) and value.ndim > 0 and len(value) == n


def _hard_first(denoiser, evaluations: int, shape: tuple, n: int, seed: int, t_min: float | None, cond: dict) -> Tensor:
    """4 n of the rows of `shape`: the n at which two short runs disagree most, then the first 3 n of the others."""
    options = {"dtype": _real(denoiser), "batch_size": n, "progress": False, **cond}
    ways = ((evaluations, "cosine_angle"), (2 * evaluations, "angle"))
    x, y = (sample(denoiser, Adams(k, g, "none", t_min), shape, seed, **options) for k, g in ways)
    order = (x - y).flatten(1).square().mean(1).argsort(descending=True)
    return torch.cat([order[:n].sort().values, order[n:].sort().values[: 3 * n]])


def _real(denoiser: Denoiser) -> torch.dtype:
    return torch.float32 if any(p.device.type == "mps" for p in denoiser.parameters()) else torch.float64


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
    """The flow's starts and ends of `rows`, n hard ones first, and the descent to them of a sampler's parameters:

    the logits of its steps in phi, and what is added to the weights of an Adams method at those angles.
    """

    def __init__(self, denoiser, rows: Tensor, item, n: int, seed: int, t_min: float | None, tolerance: float, cond):
        self.denoiser, self.sde, self.hard, self.cond = denoiser, denoiser.sde, n, cond
        flow = ProbabilityFlow(rtol=tolerance, atol=tolerance, last="none", t_min=t_min)
        self.first, self.final = self.sde.along(flow.times(self.sde))
        like = torch.empty(len(rows), *item, dtype=_real(denoiser), device=rows.device)
        x = self.sde.prior(normal(like, rows, seed, 0, 0)).to(like)
        parts = torch.arange(len(rows), device=rows.device).split(n)
        ends = [flow.step(denoiser, x[p], self.first, self.final, None, None, **self.given(p))[0] for p in parts]
        self.z, self.end = x / self.first.n, torch.cat(ends) / self.final.n
        self.mean = self.end[n:].mean(0)
        self.deviation = float((self.end[n:] - self.mean).square().mean().sqrt())

    def given(self, rows: Tensor) -> dict:
        return select(self.cond, rows, 4 * self.hard)

    def start(self, place: Callable[[np.ndarray], np.ndarray], evaluations: int) -> tuple[Tensor, Tensor]:
        steps = -np.diff(place(np.linspace(1, 0, evaluations + 2)))
        return torch.from_numpy(np.log(steps)), torch.zeros(evaluations + 1, evaluations, dtype=torch.float64)

    def weights(self, phi: Tensor, line: _Line, added: Tensor) -> Tensor:
        """w_ij of the values V_j in each step, as `FittedLinear` has them."""
        step = line.psi.diff()[:, None]
        evaluations = added.shape[1]
        whole = _adams(phi, self.deviation, min(3, (evaluations + 1) // 2)) + step * torch.tril(added, -1)
        return whole.diff(dim=0, prepend=torch.zeros_like(whole[:1])) / step

    def angles(self, logits: Tensor) -> Tensor:
        steps = torch.softmax(logits, 0) * (self.first.phi - self.final.phi)
        return self.first.phi - torch.cat([steps.new_zeros(1), steps.cumsum(0)])

    def time(self, phi: Tensor) -> Tensor:
        """The time of an angle, with its graph whether or not `SDE.time` has one."""
        known = self.sde.time(-2 * torch.log(torch.tan(phi.detach()))).detach().requires_grad_()
        with torch.enable_grad():
            (slope,) = torch.autograd.grad(self.sde.angle(known), known)
        return known.detach() + (phi - phi.detach()) / slope

    def distances(self, found: tuple[Tensor, Tensor], rows: Tensor) -> Tensor:
        phi = self.angles(found[0])
        line, cond, z, values = _Line(phi, self.deviation), self.given(rows), self.z[rows], []
        weights = self.weights(phi, line, found[1])
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

    def loss(self, hard: Tensor, rest: Tensor) -> Tensor:
        """0.85 log rms + 0.15 mean log of the distances, of which hard ones are 1 of `MANY`."""
        mean = lambda f: f(hard).mean() / MANY + f(rest).mean() * (1 - 1 / MANY)
        return RMS / 2 * torch.log(mean(torch.square)) + (1 - RMS) * mean(lambda e: torch.log(e + 1e-12))

    @torch.no_grad()
    def loss_of_all(self, found: tuple[Tensor, Tensor]) -> float:
        rows = torch.arange(len(self.z), device=self.z.device)
        e = torch.cat([self.distances(found, part) for part in rows.split(self.hard)])
        loss = float(self.loss(e[: self.hard], e[self.hard :]))
        return loss if math.isfinite(loss) else math.inf

    def descend(self, start: tuple[Tensor, Tensor], iterations: int, say: Callable[[float], None]) -> tuple:
        found = tuple(p.clone().requires_grad_() for p in start)
        adam = torch.optim.Adam([{"params": [p], "lr": 0.0} for p in found], betas=(0.9, 0.99))
        each = torch.arange(max(1, self.hard // 8), device=self.z.device)
        for i in range(iterations):
            for group, rate in zip(adam.param_groups, RATES, strict=True):
                group["lr"] = rate * (1 + math.cos(math.pi * i / iterations)) / 2
            hard, rest = ((i * len(each) + each) % many for many in (self.hard, 3 * self.hard))
            e = self.distances(found, torch.cat([hard, self.hard + rest]))
            loss = self.loss(e[: len(each)], e[len(each) :])
            grads = torch.autograd.grad(loss, found)
            if not all(bool(g.isfinite().all()) for g in grads):
                break
            for p, g in zip(found, grads, strict=True):
                p.grad = g
            adam.step()
            say(float(loss.detach()))
        return tuple(p.detach() for p in found)

    @torch.no_grad()
    def sampler(self, found: tuple[Tensor, Tensor], last: str, t_min: float | None) -> FittedLinear:
        phi = self.angles(found[0])
        times = (float(self.first), *(float(self.time(p)) for p in phi[1:-1]), float(self.final))
        weights = self.weights(phi, _Line(phi, self.deviation), found[1])
        rows = tuple(tuple(row[:i].tolist()) for i, row in enumerate(weights))
        mean = tuple(self.mean.flatten().tolist())
        return FittedLinear(len(rows), times, last, t_min, mean=mean, deviation=self.deviation, weights=rows)


def _adams(phi: Tensor, s: float, order: int) -> Tensor:
    """The weights in zeta at each angle but the first (K, K - 1) of an Adams method, with the graph of phi.

    Its values are those at the angles but the first, where they are 0, and the last.  It predicts with the latest
    `order` values and corrects with one more; pi/2, where the flow is N(m, s^2)'s, is a node while there are fewer.
    """
    steps = len(phi) - 1
    known = torch.cat([phi.new_tensor([math.pi / 2]), phi[1:]])
    after = torch.arange(steps)[:, None]

    def integrals(start: Tensor, end: Tensor, latest: Tensor, most: int) -> Tensor:
        place = latest - torch.arange(most)
        none, nodes = place < 0, known[place.clamp(min=0)]
        points, shares = (torch.from_numpy(a) for a in legendre(16))
        u = (start + end) / 2 + (end - start) / 2 * points
        out = none[:, None] | none[:, :, None] | torch.eye(most, dtype=bool)
        apart = torch.where(out, 1.0, nodes[:, :, None] - nodes[:, None])
        basis = torch.where(out[..., None], 1.0, (u[:, None] - nodes[..., None])[:, None] / apart[..., None]).prod(2)
        density = s / (s**2 * torch.cos(u) ** 2 + torch.sin(u) ** 2)
        found = (basis * (density * shares * (end - start) / 2)[:, None]).sum(-1)
        column = torch.where(place > 0, place - 1, steps - 1).expand(len(latest), most)
        return phi.new_zeros(len(latest), steps).scatter_add(1, column, found)[:, :-1]

    ahead = integrals(phi[:-1, None], phi[1:, None], after, order)
    behind = integrals(phi[:-2, None], phi[1:-1, None], after[1:], order + 1) if steps > 1 else ahead[:0]
    return ahead + torch.cat([torch.zeros_like(ahead[:1]), behind.cumsum(0)])
