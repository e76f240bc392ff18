"""The task that scores: log-likelihood of data and, where it has levels, bits/dim with its terms and their errors."""

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from torch import Tensor
from torch.utils.data import Dataset

from ...data import stack
from ...errors import InputError
from ...grids import GRIDS
from ...likelihood import How
from ...machine import processes
from ...machine.progress import fewer
from ...run import Run, Task
from ...sampling import joined
from ...settings import Count, OneOf, Range
from ...tracking.report import bar
from ...tracking.track import Metrics, read_rows
from ..given import of_items
from . import student
from .densities import scorer, time_of
from .figures import by_name, compare, draw, summarised
from .latent import bounded, scored
from .other import other
from .parts import Examples, batches, write_columns


@dataclass(frozen=True)
class Scoring(How):
    """What to score: `n` examples (None: all) of the `split`, `by` the flow as `How` says, by a `control` variate of
    its divergence, and beside it by a `bound`: None, "elbo" or "vlb", of `bound_draws`; "vlb" of a chain of
    `bound_steps` placed by `bound_grid`, with the variance `bound_variance`, None that of the model or "posterior".
    By the "elbo" alone there is no flow, whose divergence costs many times as much.  A model of few steps is scored
    through its jumps; by its "teacher", its samples are, beside the teacher's own and the data."""

    split: Literal["train", "test"] = "test"
    n: Count | None = None
    by: Literal["flow", "elbo", "teacher"] = "flow"
    control: Literal["gaussian", "average"] | None = None
    bound: Literal["elbo", "vlb"] | None = None
    bound_draws: Count = 32
    bound_steps: Annotated[int, Range(1, 10**6)] = 1000
    bound_grid: Annotated[str, OneOf(GRIDS)] = "log_snr"
    bound_variance: Literal["posterior", "beta", "learned"] | None = None

    def __post_init__(self):
        super().__post_init__()
        if self.draws > 1 and self.dequantiser in ("uniform", "variational"):
            words = "give dequantiser=importance, truncated_normal or decoder"
            raise InputError(f"draws={self.draws}, dequantiser={self.dequantiser!r}: {words}", "draws")
        if self.by == "elbo" and (self.bound is not None or self.dequantiser in ("importance", "variational")):
            other = f"bound={self.bound}" if self.bound else f"dequantiser={self.dequantiser!r}"
            raise InputError(f"by='elbo' with {other}: give bound=null and dequantiser=uniform, or decoder", "by")
        if (self.bound is not None or self.by == "elbo") and self.bound_draws % 2:
            raise InputError(f"bound_draws={self.bound_draws}: give an even number", "bound_draws")


@dataclass(frozen=True)
class Score(Task):
    """Scores the examples: likelihood.npz, histogram.png, extremes.png, and summary.json with every figure.

    Of several processes each scores its share; examples that an earlier, unfinished run scored are kept.
    """

    def __call__(self, run: Run) -> None:
        score(run)


def score(run: Run) -> None:
    """Does what `Score` says, by the settings `run.likelihood`."""
    model, data, settings, seed = run.model, scored(run), run.likelihood, run.config.seed
    if settings.by == "teacher":
        student.by_teacher(run)
        return
    second = other(run.config, data)
    parts = (run.plain["likelihood"], seed, model.weights, *([str(run.config.data.other)] if second else []))
    parts = (*parts, *run.told(), *(["bound"] if bounded(run) else []), *student.named(run))
    folder = run.place("likelihood", settings.split, *parts)
    if _known(run, folder):
        return
    processes.join(run.config.device)
    began = time.perf_counter()
    sets = {settings.split: getattr(data, settings.split)} | ({second[0]: second[1]} if second else {})
    if settings.draws > 1 and settings.probes is not None:
        run.say("importance weighting takes some of the probes' errors for gains: likelihood.probes=null has none")
    columns = {name: _columns(run, folder, name, items) for name, items in sets.items()}
    if not run.lead:
        return
    for name, found in columns.items():
        path = folder / f"likelihood{'' if name == settings.split else '_other'}.npz"
        write_columns(path, found)
        by_name(path.with_suffix(".csv"), sets[name], data, found)
    every, columns = columns, {name: student.inverted(found) for name, found in columns.items()}
    own = columns[settings.split]
    t_min = time_of(run)
    figures = {"n": len(own["log_prob"]), "evaluations": float(own["nfe"].mean())}
    figures |= {"seconds": time.perf_counter() - began, "t_min": t_min}
    more, rows = summarised(run, own)
    figures |= more
    if second:
        more, line = compare(run, second[0], columns)
        figures |= more
        rows.append(line)
    rows += student.lost(every)
    draw(run, folder, sets, every)
    Metrics(folder / "metrics.jsonl", run.tracker, "likelihood/").log(0, **figures)
    said = {k: v for k, v in dataclasses.asdict(settings).items() if k not in ("n", "t_min")}
    about = {"seed": seed, "ema": run.config.ema or True, "step": model.step, "weights": model.weights}
    summary = dict(task="likelihood", **said, **about, **figures)
    how = student.how(run) or (_how(settings) if settings.by == "flow" else "the evidence bound")
    words = f"{figures['evaluations']:.0f} evaluations an example, {how}, t_min {t_min:g}"
    run.finish(folder, summary, [*rows, ("", words), ("", str(folder / "summary.json"))])
    for name in sets:
        Examples(folder / f"parts-{name}", 0).remove()


def _known(run: Run, folder: Path) -> bool:
    """Whether an earlier job of the sweep has scored the same model alike: its figures are shown as this job's."""
    if run.job is None or run.config.fresh or not (folder / "summary.json").exists():
        return False
    for row in read_rows(folder / "metrics.jsonl"):
        run.tracker.log("likelihood/", row.pop("step"), row)
    run.say(f"{folder} is scored already")
    run.results.append(("likelihood", f"scored before: {folder / 'summary.json'}"))
    run.made["likelihood"] = folder
    return True


def _columns(run: Run, folder: Path, name: str, items: Dataset) -> dict[str, Tensor]:
    """The figures of the first n items, a column each; on the first process only."""
    n = min(run.likelihood.n or len(items), len(items))
    device, store = run.config.device, Examples(folder / f"parts-{name}", n)
    processes.wait(device)
    todo = store.missing()
    processes.wait(device)  # until all have seen what is there, before anyone adds to it
    rank, ranks = joined()
    own = batches(todo, run.config.batch_size)[rank::ranks]  # the batches of one process: rounding depends on the batch
    if len(todo) < n:
        run.say(f"{n - len(todo)} of {n} {name} examples were scored before")
    score_some, done = scorer(run), 0
    total = sum(map(len, own))
    with bar(run.console, f"likelihood ({name})", total, 0, fewer("likelihood.n=", total)) as advance:
        for index in own:
            found = score_some(stack(items, index), index, of_items(run, items, index))
            store.put(index.start, found)
            done += len(index)
            advance(done, f"{done} of {total} examples  {float(found['nfe'].mean()):.0f} evaluations an example")
    processes.wait(device)
    return store.all() if run.lead else {}


def _how(settings: Scoring) -> str:
    kind = settings.divergence or ("exact" if settings.probes is None else "rademacher")
    probes = {None: "", "auto": "as many probes as it takes, "}.get(settings.probes, f"{settings.probes} x ")
    return f"divergence {probes}{kind}{f', control {settings.control}' if settings.control else ''}"
