"""What is fitted to a trained model and kept in its folder: the best sampler for a budget, and a time grid."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from .. import making, pictures
from ..config import method
from ..data import stack
from ..denoiser import bind
from ..errors import InputError
from ..machine import files
from ..model.folder import described, weights_of
from ..model.named import named
from ..model.trained.denoiser import Model
from ..objectives.distill.look import led
from ..run import Run, Task
from ..sampling import Sampler
from ..settings import Positive, Range, Scale
from ..tracking.report import bar
from ..tracking.track import Metrics
from ..tuning import Trial, plain, tune
from .given import given

TUNED = "tuned.json"
Budget = Annotated[int, Range(2, 10**6)]


BUDGETS = (5, 10, 20)
FEW = (2, 4, 8)  # of a model of few steps, where nobody says others


@dataclass(frozen=True)
class Tune(Task):
    """`budgets` of evaluations; `n` samples to judge on; `last` and `t_min` of the samplers; the flow's `tolerance`.

    Of a model of few steps the times of its jumps are sought, and `n` and `budgets` alone have a say.
    """

    budgets: tuple[Budget, ...] = BUDGETS
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
    began, found, few = time.perf_counter(), {}, {} if model.lands is None else _judges(run, settings.n, cond)
    budgets = FEW if few and tuple(settings.budgets) == BUDGETS else settings.budgets
    for budget in budgets:
        with bar(run.console, f"tuning for {budget} evaluations", 1000) as advance:

            def report(done: int, total: int, trial: Trial, advance=advance) -> None:
                advance(1000 * done // total, f"{trial.name}, {trial.grid}: {trial.error:.2e}")

            options = {"last": settings.last, "t_min": settings.t_min, "tolerance": settings.tolerance} | few
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


def _judges(run: Run, n: int, cond: dict[str, Tensor]) -> dict[str, Any]:
    """By what the jumps of a model of few steps are judged: its teacher, if it is there, and held-out items."""
    data = run.data
    places = torch.arange(n) % len(data.test)
    items = data.encode(stack(data.test, places.tolist()))
    said = described(run.folder).get("teacher") or {}
    try:
        teacher = named("teacher", run.config.teacher or method.teacher_of(said, run.folder), Model, run.device)
    except InputError:
        run.say("its teacher is not there: jumps are judged by held-out items alone")
        return {"items": items}
    if teacher.weights != said.get("weights"):
        raise InputError(f"teacher={teacher.folder} has other weights than the one that {run.folder} was trained by")
    guided, known = led(teacher, cond)
    return {"teacher": bind(guided, known or None, n), "items": items}


def _figures(trial: Trial) -> dict:
    return {"sampler": trial.name, "grid": trial.grid, "rms": trial.rms, "median": trial.median, "error": trial.error}


def _table(found: dict[int, list[Trial]], folder: Path) -> list[tuple[str, str]]:
    rows = [("evaluations", "root-mean-square and median distance from the flow, a coordinate")]
    if any(trial.name == "renoise" for trials in found.values() for trial in trials):
        rows = [("evaluations", "jumps: distance from the teacher's flow; renoise: energy distance to held-out items")]
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
