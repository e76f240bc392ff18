"""The fit of a sampler to a model through the whole solver: its times and its weights together, by gradients."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor

from ...denoiser import Denoiser, Given, bind, device_of
from ...errors import InputError
from ...noise import Stream, normal
from ...sde import widest
from ...settings import Count, Positive, Range, Scale, Seed, checked
from ..adaptive.flow import ProbabilityFlow
from ..loop import sample
from ..steps.linear import FittedLinear, Line, advance
from ..steps.multistep import Adams
from ..steps.polynomials import legendre

RMS = 0.85  # the share of log rms in what is minimised; the rest is the mean log distance, which minds the median
RACING, LAST = (0.02, 0.01), (0.01, 0.01)  # Adam's rates for steps and weights at first; they fall to 0 on a cosine
MANY = 16  # times n starts, of which the n hardest are taken


def _placed(power: float, ends: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda u: (1 - ends) * u**power + ends * (1 - np.cos(np.pi * u)) / 2


# The share of the angles below each node, where the fit starts: modes may part anywhere between.
STARTS = (_placed(1.5, 0.5), _placed(1.0, 1.0), _placed(0.5, 0.6), _placed(0.6, 0.0))


@checked
def fit_through(
    denoiser: Denoiser,
    budget: Annotated[int, Range(2, 10**6)],
    shape: Sequence[Count],
    seed: Seed = 0,
    last: Literal["tweedie", "mean", "none"] = "tweedie",
    t_min: Scale | None = None,
    tolerance: Positive = 1e-6,
    iterations: Annotated[int, Range(10, 10**6)] | None = None,
    report: Callable[[int, int, float], None] | None = None,
    cond: Given = None,
) -> FittedLinear:
    """The `FittedLinear` sampler with `budget` evaluations whose ends are nearest to the flow's.

    Its times and weights descend, by gradients through the whole solver and the model, to small distances e_b of its
    ends from the flow's, a coordinate, from the same x_T:

        0.85 log rms(e) + 0.15 mean log e

    The rms is that of few rows, which end in another mode: of 16 n starts, the n at which two short runs disagree most
    are taken, and 3 n of the others, each with its share; their flows are computed once.  The descent, in batches of
    n/4, starts from four placings of the times with the weights of an Adams method: a tenth of the iterations from
    each, and the rest from the best.  The model's parameters stay as they are.

    Arguments:
        denoiser: the model.
        budget: how many evaluations, 2 at least.
        shape: (n, *data shape), n from 8 up.
        seed, cond: as in `sample`.
        last, t_min: as in `Sampler`; "tweedie" takes one of the evaluations.
        tolerance: rtol and atol of the flows.
        iterations: None: sqrt(n) times 400 / k, at least 30 sqrt(n), for k evaluations.
        report: report(done, all, loss) follows the iterations.

    Returns:
        A `FittedLinear` sampler.

    Raises:
        InputError: fewer than 8 samples.
        FloatingPointError: short runs of the model diverge.  Of a model without gradients torch's RuntimeError.
    """
    n, *item = (int(d) for d in shape)
    if n < 8:
        raise InputError(f"shape={tuple(shape)}: a fit needs at least 8 samples, 64 or more are better")
    denoiser = bind(denoiser, cond, n).select(torch.arange(MANY * n, device=device_of(denoiser)) % n)
    evaluations = budget - (last == "tweedie")
    iterations = round(math.sqrt(n) * max(30, 400 / evaluations)) if iterations is None else iterations
    done = itertools.count(1)
    say = (lambda loss: report(next(done), iterations, loss)) if report is not None else (lambda loss: None)
    with torch.no_grad():
        rows, mean = _hard_first(denoiser, evaluations, (MANY * n, *item), n, seed, t_min)
        fit = _Fit(denoiser.select(rows), rows, mean, n, seed, t_min, tolerance)
    with _frozen(denoiser):
        raced = [fit.descend(fit.start(place, evaluations), RACING, iterations // 10, say) for place in STARTS]
        best = min(raced, key=fit.loss_of_all)
        rest = iterations - len(STARTS) * (iterations // 10)
        best = min((best, fit.descend(best, LAST, rest, say)), key=fit.loss_of_all)
        return fit.sampler(best, last, t_min)


def _hard_first(denoiser, evaluations: int, shape: tuple, n: int, seed: int, t_min: float | None) -> tuple:
    """4 n of the rows of `shape`, the n at which two short runs disagree most and the first 3 n of the others.

    With them comes the mean of all ends.
    """
    options = {"dtype": widest(device_of(denoiser)), "batch_size": n, "progress": False}
    ways = ((evaluations, "cosine_angle"), (2 * evaluations, "angle"))
    x, y = (sample(denoiser, Adams(k, g, "none", t_min), shape, seed, **options) for k, g in ways)
    order = (x - y).flatten(1).square().mean(1).argsort(descending=True)
    return torch.cat([order[:n].sort().values, order[n:].sort().values[: 3 * n]]), y.mean(0)


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

    def __init__(self, denoiser, rows: Tensor, mean: Tensor, n: int, seed: int, t_min, tolerance: float):
        self.denoiser, self.sde, self.hard = denoiser, denoiser.sde, n
        flow = ProbabilityFlow(rtol=tolerance, atol=tolerance, last="none", t_min=t_min)
        self.first, self.final = self.sde.along(flow.times(self.sde))
        like = torch.empty(len(rows), *mean.shape, dtype=widest(device_of(denoiser)), device=rows.device)
        x = self.sde.prior(normal(like, rows, seed, *Stream.SAMPLING())).to(like)
        parts = torch.arange(len(rows), device=rows.device).split(n)
        ends = [flow.step(denoiser.select(p), x[p], self.first, self.final, None, None)[0] for p in parts]
        self.z, self.end = x / self.first.n, torch.cat(ends) / self.final.n
        self.mean = mean / self.final.alpha
        deviation = float((self.end[n:] - mean / self.final.n).square().mean().sqrt())
        self.deviation = max(deviation, self.final.sigma / self.final.n)  # there is noise of that size at the end

    def start(self, place: Callable[[np.ndarray], np.ndarray], evaluations: int) -> tuple[Tensor, Tensor]:
        steps = -np.diff(place(np.linspace(1, 0, evaluations + 2)))
        return torch.from_numpy(np.log(steps)), torch.zeros(evaluations + 1, evaluations, dtype=torch.float64)

    def weights(self, phi: Tensor, line: Line, added: Tensor) -> Tensor:
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
        line, model, z, values = Line(phi, self.deviation), self.denoiser.select(rows), self.z[rows], []
        weights = self.weights(phi, line, found[1])
        zeta = (z - line.cos[0] * self.mean) / line.q[0]
        for i in range(len(phi) - 1):
            zeta, values = advance(line, i, zeta, values, weights[i, :i], self.mean, partial(self.ask, phi[i], model))
        away = line.q[-1] * zeta + line.cos[-1] * self.mean - self.end[rows]
        return away.flatten(1).square().mean(1).sqrt()

    def ask(self, phi: Tensor, model: Denoiser, z: Tensor) -> Tensor:
        """D at an angle; what its gradient needs is computed again, so that one evaluation's graph is in memory."""
        from torch.utils.checkpoint import checkpoint

        t = self.time(phi)
        alpha, sigma = self.sde.marginal(t)
        return checkpoint(model, torch.sqrt(alpha**2 + sigma**2) * z, t, use_reentrant=False, preserve_rng_state=False)

    def loss(self, hard: Tensor, rest: Tensor) -> Tensor:
        """0.85 log rms + 0.15 mean log of the distances, of which hard ones are 1 of `MANY`."""
        mean = lambda f: f(hard).mean() / MANY + f(rest).mean() * (1 - 1 / MANY)
        return RMS / 2 * torch.log(mean(torch.square) + 1e-24) + (1 - RMS) * mean(lambda e: torch.log(e + 1e-12))

    @torch.no_grad()
    def loss_of_all(self, found: tuple[Tensor, Tensor]) -> float:
        rows = torch.arange(len(self.z), device=self.z.device)
        e = torch.cat([self.distances(found, part) for part in rows.split(self.hard)])
        loss = float(self.loss(e[: self.hard], e[self.hard :]))
        return loss if math.isfinite(loss) else math.inf

    def descend(self, start: tuple[Tensor, Tensor], rates: tuple, iterations: int, say: Callable) -> tuple:
        found = tuple(p.clone().requires_grad_() for p in start)
        adam = torch.optim.Adam([{"params": [p], "lr": 0.0} for p in found], betas=(0.95, 0.99))
        each = torch.arange(max(1, self.hard // 8), device=self.z.device)
        for i in range(iterations):
            for group, rate in zip(adam.param_groups, rates, strict=True):
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
        weights = self.weights(phi, Line(phi, self.deviation), found[1])
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
