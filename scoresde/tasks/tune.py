"""What is fitted to a trained model and kept in its folder: the best sampler for a budget, and a time grid."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from .. import making, pictures
from ..denoiser import bind
from ..errors import InputError
from ..machine import files
from ..model.folder import weights_of
from ..model.trained.denoiser import Model
from ..run import Run, Task
from ..sampling import Sampler
from ..settings import Positive, Range, Scale
from ..tracking.report import bar
from ..tracking.track import Metrics
from ..tuning import Trial, plain, tune
from .given import given

TUNED = "tuned.json"
Budget = Annotated[int, Range(2, 10**6)]


@dataclass(frozen=True)
class Tune(Task):
    """`budgets` of evaluations; `n` samples to judge on; `last` and `t_min` of the samplers; the flow's `tolerance`."""

    budgets: tuple[Budget, ...] = (5, 10, 20)
    n: Annotated[int, Range(8, 2**20)] = 64
    last: Literal["tweedie", "mean", "none"] = "tweedie"
    t_min: Scale | None = None
    tolerance: Positive = 1e-5

    def __post_init__(self):
        super().__post_init__()
        if not self.budgets:
            raise InputError("budgets=[]: give numbers of evaluations, such as [5,10,20]", "budgets")

    def __call__(self, run: Run) -> None:
        search(run, self)


def search(run: Run, settings: Tune) -> None:
    """Looks for the best sampler at each budget: it is kept in tuned.json in the model's folder, with a picture."""
    if not run.lead:
        return
    model, seed, cond = run.model, run.config.seed, given(run, settings.n)
    denoiser = run.guided(cond)
    denoiser = bind(denoiser, cond if denoiser.conditions else None, settings.n)
    folder = run.place("tune", "search", run.plain["task"], seed, model.weights)
    began, found = time.perf_counter(), {}
    for budget in settings.budgets:
        with bar(run.console, f"tuning for {budget} evaluations", 1000) as advance:

            def report(done: int, total: int, trial: Trial, advance=advance) -> None:
                advance(1000 * done // total, f"{trial.name}, {trial.grid}: {trial.error:.2e}")

            options = {"last": settings.last, "t_min": settings.t_min, "tolerance": settings.tolerance}
            trials = tune(denoiser, budget, (settings.n, *model.shape), seed, report=report, **options)
        found[budget] = trials
        _keep(run.folder, model, budget, trials[0])
    rows = {b: [_figures(t) for t in trials] for b, trials in found.items()}
    files.write_json(folder / "trials.json", rows)
    pictures.front(folder / "front.png", rows)
    run.tracker.image("tune/front", folder / "front.png")
    figures = {f"error_{b}": trials[0].error for b, trials in found.items()}
    figures |= {"n": settings.n, "seconds": time.perf_counter() - began}
    Metrics(folder / "metrics.jsonl", run.tracker, "tune/").log(0, **figures)
    best = {b: _figures(trials[0]) for b, trials in found.items()}
    about = {"seed": seed, "step": model.step, "weights": model.weights, "best": best}
    run.finish(folder, dict(task="tune", **about, **figures), _table(found, folder))


def _figures(trial: Trial) -> dict:
    return {"sampler": trial.name, "grid": trial.grid, "rms": trial.rms, "median": trial.median, "error": trial.error}


def _table(found: dict[int, list[Trial]], folder: Path) -> list[tuple[str, str]]:
    rows = [("evaluations", "root-mean-square and median distance from the flow, a coordinate")]
    for budget, trials in found.items():
        given = next((t for t in trials if not t.name.startswith("fitted")), None)
        for label, trial in ((f"{budget}", trials[0]), ("", given)):
            if trial is not None and (label or trial is not trials[0]):
                words = f"{trial.rms:.3g}, {trial.median:.3g} by {trial.name}, {trial.grid} grid"
                rows.append((label, words if label else f"{words} (the best of the others)"))
    return [*rows, ("use it", f"sampler=tuned sampler.budget={next(iter(found))}"), ("", str(folder / "front.png"))]


def _known(folder: Path, say: Callable[[str], None] = lambda words: None) -> dict:
    """What tuned.json says: the weights that were tuned for, and a sampler's node for each budget."""
    needs = {"weights": str, "samplers": files.dict_of(dict)}
    return files.read_json(folder / TUNED, needs, default={"weights": "", "samplers": {}}, say=say)


def _keep(folder: Path, model: Model, budget: int, best: Trial) -> None:
    """Adds a budget's sampler to those of the same weights."""
    known = _known(folder)
    samplers = known["samplers"] if known["weights"] == model.weights else {}
    samplers[str(budget)] = {"sampler": plain(best.sampler, model.sde), "rms": best.rms, "median": best.median}
    files.write_json(folder / TUNED, {"weights": model.weights, "samplers": samplers})


def tuned(budget: Budget, folder: str | Path) -> Sampler:
    """The sampler that `task=tune` found for the weights in a folder and a budget.

    Raises `InputError` if it has not looked, or looked before the model was trained again.
    """
    folder = Path(folder)
    known = _known(folder)
    there = known["samplers"] if known["weights"] and known["weights"] == weights_of(folder) else {}
    if str(budget) not in there:
        others = sorted(int(b) for b in there if b.isdecimal())
        words = f"it has them for {', '.join(map(str, others))} evaluations; " if others else ""
        words = f"{folder} has no tuned sampler for it; {words}find one with task=tune task.budgets=[{budget}]"
        raise InputError(f"budget={budget}: {words}", "budget")
    return making.make(there[str(budget)].get("sampler"), "sampler", Sampler, trust=False)
