"""What is fitted to a trained model and kept in its folder: the best sampler for a budget, and a time grid."""

import time
from dataclasses import dataclass
from pathlib import Path

from omegaconf import OmegaConf

from .. import files
from ..errors import InputError
from ..sampling import FittedGrid, Sampler, fit_grid
from ..tuning import Trial, plain, tune
from . import build, pictures
from .report import bar
from .run import Run
from .track import Metrics


@dataclass(frozen=True)
class Search:
    """`budgets` of evaluations; `n` samples to judge on; `last` and `t_min` of the samplers; the flow's `tolerance`."""

    budgets: tuple[int, ...] = (5, 10, 20)
    n: int = 64
    last: str = "tweedie"
    t_min: float | None = None
    tolerance: float = 1e-5

    def __post_init__(self):
        if not self.budgets or not all(isinstance(b, int) and b >= 2 for b in self.budgets):
            raise InputError(f"task.budgets={list(self.budgets)}: give numbers of evaluations, each at least 2")
        if not isinstance(self.n, int) or self.n < 8:
            raise InputError(f"task.n={self.n!r}: give a whole number of samples, at least 8")
        if not self.tolerance > 0:
            raise InputError(f"task.tolerance={self.tolerance!r}: it must be positive")


def search(run: Run) -> None:
    """Looks for the best sampler at each budget: tuned-BUDGET.yaml in the model's folder, and the trials' picture."""
    if not run.lead:
        return
    node = OmegaConf.merge(run.config.task, {"_target_": f"{__name__}.{Search.__name__}"})
    settings: Search = build.make(node, "task")
    model, seed = run.model, run.config.seed
    folder = run.place("tune", "search", run.plain["task"], seed, model.step)
    began, found = time.perf_counter(), {}
    for budget in settings.budgets:
        with bar(run.console, f"tuning for {budget} evaluations", 1000) as advance:

            def report(done: int, total: int, trial: Trial, advance=advance) -> None:
                advance(1000 * done // total, f"{trial.name}, {trial.grid}: {trial.error:.2e}")

            options = {"last": settings.last, "t_min": settings.t_min, "tolerance": settings.tolerance}
            trials = tune(model, budget, (settings.n, *model.shape), seed, report=report, **options)
        found[budget] = trials
        text = f"# {trials[0].name}, {trials[0].grid} grid: {trials[0].rms:.3g} rms, {trials[0].median:.3g} median\n"
        config = text + OmegaConf.to_yaml(OmegaConf.create(plain(trials[0].sampler, model.sde)))
        files.write(run.folder / f"tuned-{budget}.yaml", lambda file, config=config: file.write(config.encode()))
    rows = {b: [_figures(t) for t in trials] for b, trials in found.items()}
    files.write_json(folder / "trials.json", rows)
    pictures.front(folder / "front.png", rows)
    run.tracker.image("tune/front", folder / "front.png")
    figures = {f"error_{b}": trials[0].error for b, trials in found.items()}
    figures |= {"n": settings.n, "seconds": time.perf_counter() - began}
    Metrics(folder / "metrics.jsonl", run.tracker, "tune/").log(0, **figures)
    best = {b: _figures(trials[0]) for b, trials in found.items()}
    run.finish(folder, dict(task="tune", seed=seed, step=model.step, best=best, **figures), _table(found, folder))


def _figures(trial: Trial) -> dict:
    return {"sampler": trial.name, "grid": trial.grid, "rms": trial.rms, "median": trial.median, "error": trial.error}


def _table(found: dict[int, list[Trial]], folder: Path) -> list[tuple[str, str]]:
    rows = [("evaluations", "root-mean-square and median distance from the flow, a coordinate")]
    for budget, trials in found.items():
        given = next((t for t in trials if t.name != "fitted multistep"), None)
        for label, trial in ((f"{budget}", trials[0]), ("", given)):
            if trial is not None and (label or trial is not trials[0]):
                words = f"{trial.rms:.3g}, {trial.median:.3g} by {trial.name}, {trial.grid} grid"
                rows.append((label, words if label else f"{words} (the best of the others)"))
    return [*rows, ("use it", f"sampler=tuned sampler.budget={next(iter(found))}"), ("", str(folder / "front.png"))]


def tuned(budget: int, folder: Path) -> Sampler:
    """The sampler that `task=tune` found for a model and a budget.  Raises `InputError` if it has not looked."""
    path = Path(folder) / f"tuned-{budget}.yaml"
    if not path.exists():
        there = sorted(int(p.stem.partition("-")[2]) for p in Path(folder).glob("tuned-*.yaml"))
        known = f"it has them for {', '.join(map(str, there))} evaluations; " if there else ""
        raise InputError(
            f"sampler.budget={budget}: {folder} has no tuned sampler for it; {known}find one with "
            f"task=tune task.budgets=[{budget}]"
        )
    return build.make(OmegaConf.load(path), str(path))


def model_grid(run: Run) -> FittedGrid:
    """The time grid fitted to the trained model: kept in grid.json in its folder, made at the first use."""
    path, model = run.folder / "grid.json", run.model
    needs = {"step": int, "angles": files.list_of(float), "share": files.list_of(float)}
    known = files.read_json(path, needs, default=None, say=run.say)
    if known and known["step"] == model.step and len(known["angles"]) == len(known["share"]) > 1:
        return FittedGrid(tuple(known["angles"]), tuple(known["share"]))
    grid = fit_grid(model, (32, *model.shape))
    if run.lead:
        files.write_json(path, {"step": model.step, "angles": grid.angles, "share": grid.share})
        run.say(f"fitted a time grid to the model: {path}")
    return grid
