"""The best sampler for a model and a budget of evaluations, found by trying, against the flow from the same noise."""

import dataclasses
import itertools
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from .denoiser import Denoiser, Given, bind, device_of
from .errors import InputError
from .sampling import (
    DDIM,
    DEIS,
    Adams,
    DPMpp,
    DPMpp2M,
    GaussianAdams,
    Heun,
    ProbabilityFlow,
    RectifiedAdams,
    Sampler,
    UniPC,
    fit_grid,
    fit_multistep,
    fit_through,
    sample,
)
from .sampling.fitting.grid import flow_points
from .sampling.fitting.jumps import Tried, fit_jumps
from .sampling.loop import ending
from .sde import SDE, widest
from .settings import Count, Positive, Range, Scale, Seed, checked

PARTS = 100  # of the fit through the solver, as its progress is told
FITTED_GRIDS = 3  # the grids, the best ones, on which a multistep method is fitted
GRIDS = ("angle", "cosine_angle", "uniform_angle", "log_snr", "karras", "uniform", "quadratic", "information")


@dataclass(frozen=True)
class Trial:
    """One sampler's distance from the flow's end points.

    Arguments:
        name: of the solver, with its options.
        grid: the name of its grid.
        sampler: the sampler.
        rms, median: the root mean square and the median over samples, a coordinate.
    """

    name: str
    grid: str
    sampler: Sampler
    rms: float
    median: float

    @property
    def error(self) -> float:
        """sqrt(rms median): what is minimised.  A few samples that end in another mode carry the first alone."""
        return math.sqrt(self.rms * self.median)


def candidates(budget: int, last: str, t_min: float | None) -> dict[str, Callable[..., Sampler]]:
    """The samplers that are tried, with at most `budget` evaluations each.

    Arguments:
        budget: of evaluations.
        last, t_min: as in `Sampler`; "tweedie" takes one of the evaluations.

    Returns:
        Functions of a grid, by name.
    """
    ends = {"last": last, "t_min": t_min}
    n = budget - (last == "tweedie")
    one = {"steps": n, **ends}
    found = {
        "ddim": lambda g: DDIM(grid=g, **one),
        "dpmpp_2m": lambda g: DPMpp2M(grid=g, **one),
        "dpmpp_3m": lambda g: DPMpp(grid=g, **one),
        "deis": lambda g: DEIS(grid=g, **one),
        **{f"unipc order={k}": (lambda g, k=k: UniPC(grid=g, order=k, **one)) for k in (2, 3)},
    }
    for name, kind in (("adams", Adams), ("rectified_adams", RectifiedAdams)):
        for order, correct in itertools.product((1, 2, 3, 4), (True, False)):
            label = f"{name} order={order}{'' if correct else ' correct=false'}"
            found[label] = lambda g, kind=kind, k=order, c=correct: kind(grid=g, order=k, correct=c, **one)
    found["gaussian_adams"] = lambda g: GaussianAdams(grid=g, **one)
    if n >= 2:
        found["heun"] = lambda g: Heun(grid=g, steps=n // 2, **ends)
    return found


@checked
@torch.no_grad()
def tune(
    denoiser: Denoiser,
    budget: Annotated[int, Range(2, 10**6)],
    shape: Sequence[Count],
    seed: Seed = 0,
    last: Literal["tweedie", "mean", "none"] = "tweedie",
    t_min: Scale | None = None,
    tolerance: Positive = 1e-6,
    report: Callable[[int, int, Trial], None] | None = None,
    cond: Given = None,
    teacher: Denoiser | None = None,
    items: Tensor | None = None,
) -> list[Trial]:
    """Tries solver x grid x order x corrector with `budget` evaluations of the model each; the best trial comes first.

    The reference is the flow of n samples in float64, and the error of a sampler its distance from there, from the same
    x_T.  All samplers meet all grids on the first quarter of the samples; each with its best grid, a multistep method
    fitted on each of the three best grids (`fit_multistep`, to n other samples), and a sampler whose times and weights
    are fitted through the whole solver (`fit_through`, to 4 n other samples, by gradients of the model) are judged on
    all.

    Arguments:
        denoiser: the model.
        budget: how many evaluations, 2 at least.
        shape: (n, *data shape), n from 8 up.
        seed: of the samples' x_T; seed + 1 of those that are fitted to.
        last, t_min: those of the sampler that is sought.
        tolerance: rtol and atol of the flow.
        report: report(done, all, trial) follows the trials, and while the last one is fitted tells the best so far.
        cond: the conditions of the n samples, by name.
        teacher, items: of a model of few steps, whose times alone are sought, by grids and by a search
            (`fit_jumps`): the model that it was made of, with its conditions bound, by whose flow jumps are judged, and
            held-out items in the model's space, by whose energy distance jumps with noise in between are.

    Returns:
        The trials, by their `error`.

    Raises:
        InputError: a budget under 2, or fewer than 8 samples; a model of few steps without either, or of a chain.
    """
    n, *item = (int(d) for d in shape)
    if n < 8:
        raise InputError(f"shape={tuple(shape)}: tuning needs at least 8 samples, 64 or more are better")
    if denoiser.lands is not None:
        return _jumps(bind(denoiser, cond, n), budget, (n, *item), teacher, items, seed, report)
    t_min = ending(Adams(last=last, t_min=t_min), denoiser)
    few, ends = max(4, n // 4), {"last": last, "t_min": t_min}
    grids = {name: name for name in GRIDS}
    denoiser = bind(denoiser, cond, n)
    part = denoiser.select(torch.arange(few, device=device_of(denoiser)))
    grids["fitted"] = fit_grid(part, (few, *item), t_min=t_min, seed=seed + 1)
    solvers = candidates(budget, last, t_min)
    work = [(name, g) for name in solvers for g in grids]
    flow = ProbabilityFlow(rtol=tolerance, atol=tolerance, **ends)
    court = _Court(denoiser, flow, (n, *item), seed, len(work) + len(solvers) + FITTED_GRIDS + PARTS + 1, report)
    first = [court.judge(name, g, solvers[name](grids[g]), few) for name, g in work]
    chosen = [min((t for t in first if t.name == name), key=lambda t: t.error) for name in solvers]
    trials = sorted((court.judge(t.name, t.grid, t.sampler, n) for t in chosen), key=lambda t: t.error)
    other = ((n, *item), seed + 1)
    for name in [*dict.fromkeys([*(t.grid for t in trials), *grids])][:FITTED_GRIDS]:
        like = solvers["adams order=2"](grids[name])
        path = flow_points(denoiser, like.times(denoiser.sde), *other, tolerance)
        fitted = fit_multistep(denoiser, like, *other, reference=path)
        trials.append(court.judge("fitted multistep", name, fitted, n))
    tell = court.in_parts(min(trials, key=lambda t: t.error))
    through = _through(denoiser, budget, *other, **ends, tolerance=tolerance, report=tell)
    if through is not None:
        trials.append(court.judge("fitted through", "its own", through, n))
    return sorted(trials, key=lambda t: t.error)


def _jumps(denoiser: Denoiser, budget: int, shape: tuple, teacher, items, seed: int, report) -> list[Trial]:
    """The trials of a model of few steps."""
    done, total = itertools.count(1), 40 + 12 * budget  # about

    def tell(tried: Tried) -> None:
        if report is not None:
            report(min(next(done), total), total, Trial(*tried))

    return [Trial(*tried) for tried in fit_jumps(denoiser, budget, shape, teacher, items, seed, tell)]


class _Court:
    """The flow's ends of n samples, by which samplers are judged, and how many `total` reports there will be."""

    def __init__(self, denoiser: Denoiser, flow: Sampler, shape: tuple, seed: int, total: int, report):
        self.denoiser, self.item, self.report, self.total = denoiser, shape[1:], report, total
        self.options = {"seed": seed, "dtype": widest(device_of(denoiser)), "progress": False}
        self.end = sample(denoiser, flow, shape, **self.options)
        self.done = 0

    def judge(self, name: str, grid: str, sampler: Sampler, rows: int) -> Trial:
        """The trial of a sampler on the first rows."""
        part = self.denoiser.select(torch.arange(rows, device=self.end.device))
        try:
            x = sample(part, sampler, (rows, *self.item), **self.options)
            e = (x - self.end[:rows]).square().flatten(1).mean(1).sqrt()
            trial = Trial(name, grid, sampler, float(e.square().mean().sqrt()), float(e.median()))
        except FloatingPointError:
            trial = Trial(name, grid, sampler, math.inf, math.inf)
        self.say(trial)
        return trial

    def say(self, trial: Trial) -> None:
        self.done += 1
        if self.report is not None:
            self.report(self.done, self.total, trial)

    def in_parts(self, trial: Trial) -> Callable[[int, int, float], None]:
        """A report of long work as so many equal parts, in each of which the trial is the best so far."""
        before = self.done

        def tell(done: int, total: int, loss: float) -> None:
            while self.done - before < PARTS * done // total:
                self.say(trial)

        return tell


def _through(denoiser: Denoiser, *args, **options) -> Sampler | None:
    """`fit_through`, or None, with a warning, for a model that has no gradients or diverges."""
    try:
        return fit_through(denoiser, *args, **options)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, FloatingPointError) as error:
        reason = str(error).strip().splitlines()[0]
        warnings.warn(f"no sampler could be fitted through the solver: {reason}", stacklevel=2)
        return None


def plain(sampler: Sampler, sde: SDE) -> dict:
    """A sampler as plain types, as a config has them: `_target_` and fields.

    A grid that is a function is there by its times under the SDE.
    """
    node = {"_target_": f"scoresde.sampling.{type(sampler).__name__}"}
    fields = {field.name: getattr(sampler, field.name) for field in dataclasses.fields(sampler)}
    if not isinstance(sampler.grid, str):
        fields["grid"] = sampler.times(sde)
    return node | {name: _listed(value) for name, value in fields.items()}


def _listed(value: Any) -> Any:
    return [_listed(v) for v in value] if isinstance(value, tuple | list) else value
