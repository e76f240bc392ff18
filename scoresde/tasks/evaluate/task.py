"""The task that evaluates: distances of samples to held-out data, each with its interval and the floor of real data."""

import copy
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...config import build
from ...data import stack
from ...denoiser import Counted, bind
from ...errors import InputError
from ...machine import files, processes
from ...machine.progress import fewer
from ...model import TrainedClip
from ...run import Run, Task
from ...sampling import joined, sample, share
from ...tracking.report import bar
from ...tracking.track import Metrics
from .. import train as tasks
from ..given import given
from ..likelihood.task import score
from . import classes, judge, pairs
from .measures import Evaluation, Sampled, measured
from .reference import Reference, reference

HELD = 2**25  # numbers in the samples that are drawn between two visits to the extractor


@dataclass(frozen=True)
class Evaluate(Evaluation, Task):
    """Trains the model if it is not trained yet, draws n samples and measures them: summary.json and a table.

    Of several processes each draws its share, and the first one measures.  Samples are not kept, only their features.
    """

    def __call__(self, run: Run) -> None:
        evaluate(run, self)


def evaluate(run: Run, settings: Evaluation) -> None:
    """Does what `Evaluate` says."""
    given = None if settings.samples is None else _read(run, Path(settings.samples).expanduser())
    _check(run, settings, run.config.n if given is None else len(given))
    clip = pairs.loaded(run, settings.clip)
    classes.check(run.data, settings.by, given is None)
    if given is None:
        tasks.train(run)
        processes.wait(run.config.device)  # until the first process has written the model
    elif not run.lead:
        return
    began = time.perf_counter()
    known = reference(run, settings) if run.lead else None
    if known is not None and "frechet" in settings.metrics:
        _warn_few(run, known, run.config.n if given is None else len(given))
    found = drawn(run, known, settings, clip) if given is None else _given(run, known, settings, given)
    if not run.lead:
        return
    if given is None:
        named = run.told() if clip is None else [*run.told(), clip.weights]
        choice = run.choices.get("sampler", build.name_of(run.config.sampler))
        parts = (repr(run.fitted_sampler), run.config.n, run.config.seed, run.model.weights, run.config.autocast)
        parts = (*parts, *named)
    else:
        choice, parts = "file", (str(Path(settings.samples).resolve()), build.short_hash(given.sum().tolist()))
    folder = run.place("evaluate", choice, *parts, run.plain["task"])
    figures, table = measured(settings, known, found)
    paired, told = pairs.figures(clip, run.data, found.pairs, settings.among, settings.seed)
    figures, table = figures | paired, table + told
    facts = found.facts | {"n": len(found.features), "reference": f"{len(known.test)} {run.data.outer.name} test"}
    facts |= {"extractor": known.name, "features": known.test.shape[1], "metrics_seed": settings.seed}
    facts["measuring_seconds"] = time.perf_counter() - began - facts.get("seconds", 0)
    numeric = lambda k, v: isinstance(v, int | float) and not isinstance(v, bool) and k != "step"
    numbers = {k: v for k, v in (facts | figures).items() if numeric(k, v)}
    Metrics(folder / "metrics.jsonl", run.tracker, "evaluate/").log(0, **numbers)
    run.finish(folder, {"task": "evaluate", **facts, **figures}, [*_head(facts, known), *table, ("", str(folder))])


def _check(run: Run, settings: Evaluation, n: int) -> None:
    """Raises `InputError` where there are too few samples or items, or words, before any work."""
    if settings.clip is not None and settings.samples is not None:
        raise InputError("task.samples come without their words: task.clip is of the model's own samples", "clip")
    least = max(settings.groups, settings.k + 2, 8)
    for what, count in (("n", n), ("the test set", len(run.data.test)), ("half of train", len(run.data.train) // 2)):
        if count < least:
            raise InputError(f"{what} has {count} items: task.groups={settings.groups} and k={settings.k} need {least}")


def _warn_few(run: Run, known: Reference, n: int) -> None:
    width, rows = known.test.shape[1], min(n, len(known.test))
    if rows <= width:
        run.say(
            f"warning: {rows} items and {width} features: frechet keeps much of its bias with fewer items than features"
            " (see n, task.width)"
        )


def drawn(run: Run, known: Reference | None, how: Evaluation, clip: TrainedClip | None = None) -> Sampled | None:
    """The samples of the model, their features and what a CLIP sees taken chunk by chunk; on the first process only."""
    config, model, sampler = run.config, run.model, run.fitted_sampler
    split = how.split or ("train" if run.data.judge is None else "test")
    cond = given(run, config.n, split)
    of = classes.of_samples(run, how.by, cond, split)
    processes.join(config.device)
    guided = run.guided(cond)
    counted, n = Counted(bind(guided, cond if guided.conditions else None, config.n)), config.n
    options = {k: config[k] for k in ("batch_size", "compile", "cuda_graphs", "autocast")}
    size = max(config.batch_size * joined()[1], HELD // math.prod(model.shape))
    pieces, verdicts, seen, seconds, before, own = [], [], [], 0.0, 0, len(share(n, *joined()))
    with bar(run.console, "sampling", own, 0, fewer("n=", own)) as advance:

        def progress(done: float, words) -> None:
            done += before
            cost = lambda: f"{int(done)} of {own} samples  {counted.rows / max(done, 1):.0f} evaluations a sample"
            advance(done, cost)

        for start in range(0, n, size):
            shape, began = (min(size, n - start), *model.shape), time.perf_counter()
            more = {"offset": start, "progress": progress, "store": "cpu", "processes": True}
            part = counted.select(torch.arange(start, start + shape[0], device=run.device))
            x = sample(part, sampler, shape, config.seed, **more, **options)
            seconds += time.perf_counter() - began
            before += len(share(len(x), *joined()))
            if known is not None:
                raw = model.decode(x)
                pieces.append(_seen(run, known, raw))
                rows = slice(start, start + shape[0])
                given_rows = {name: value[rows] for name, value in cond.items()}
                verdicts.append(judge.verdicts(run.data, raw, given_rows))
                seen.append(pairs.seen(clip, raw, given_rows, run.conditions))
    evaluations = processes.total(counted.rows, config.device) / n
    if known is None:
        return None
    facts = {"sampler": repr(sampler), "evaluations": evaluations, "seconds": seconds}
    facts |= {"seed": config.seed, "ema": config.ema or True, "step": model.step}
    facts |= {"weights": model.weights, "sde": repr(model.sde)}
    whole = (torch.cat(part) for part in zip(*pieces, strict=True))
    return Sampled(*whole, facts, judge.joined(verdicts), judge.joined(seen), of)


def _seen(run: Run, known: Reference, raw: Tensor) -> tuple[Tensor, Tensor]:
    """The features of raw samples, and what `ON_ITEMS` compares.  Both see the values that a file would have."""
    x = run.data.outer.encode(raw)
    found = known.extractor(x)
    return found, known.view(x, found)


def _read(run: Run, path: Path) -> Tensor:
    """Samples in an array file, or in a folder: its samples.npy, or files that are read as the data's own are."""
    if path.is_dir() and not (path / "samples.npy").exists():
        if "root" not in run.config.data:
            raise InputError(f"task.samples={path} has no samples.npy: give a file, or data=images data.root=REAL too")
        config = copy.deepcopy(run.config)
        config.data.root = str(path)
        data = build.build_data(config, run.trusts("data"))
        return torch.cat([stack(part, range(len(part))) for part in (data.train, data.test) if len(part)])
    path = path / "samples.npy" if path.is_dir() else path
    try:
        return torch.from_numpy(np.load(path, allow_pickle=False))
    except Exception as error:
        raise InputError(f"task.samples={path} cannot be read as .npy ({str(error)[:100]})") from error


def _given(run: Run, known: Reference, settings: Evaluation, raw: Tensor) -> Sampled:
    """The samples of an array file, in the data's own values; what made them is read from summary.json beside it."""
    data = run.data.outer
    if tuple(raw.shape[1:]) != tuple(data.shape):
        raise InputError(
            f"task.samples={settings.samples} has items of shape {tuple(raw.shape[1:])}: "
            f"{data.name} has {tuple(data.shape)}"
        )
    path = Path(settings.samples).expanduser()
    path = path / "summary.json" if path.is_dir() else path.with_name("summary.json")
    told = files.read_json(path, default={}, say=run.say)
    names = ("sampler", "evaluations", "seconds", "seed", "ema", "step")
    facts = {k: told.get(k, "unknown") for k in names} | {"samples": settings.samples}
    facts = {k: v for k, v in facts.items() if k != "seconds"}
    pieces = [_seen(run, known, part) for part in raw.split(max(1, HELD // math.prod(raw.shape[1:])))]
    return Sampled(*(torch.cat(part) for part in zip(*pieces, strict=True)), facts)


def _head(facts: dict, known: Reference) -> list[tuple[str, str]]:
    """What every figure of the table is of."""
    evaluations = facts["evaluations"]
    cost = f"{evaluations:.0f}" if isinstance(evaluations, int | float) else "unknown"
    model = f"seed {facts['seed']}, EMA {'yes' if facts['ema'] is True else facts['ema']}, step {facts['step']}"
    accuracy = getattr(known.extractor, "accuracy", None)
    right = "" if accuracy is None else f", {100 * accuracy:.1f} % right on test"
    return [
        ("samples", f"n {facts['n']} against {facts['reference']} items; {model}"),
        ("sampler", f"{facts['sampler']}: {cost} evaluations a sample"),
        ("extractor", f"{facts['extractor']}, {facts['features']} features{right}"),
    ]


@dataclass(frozen=True)
class Benchmark(Evaluate):
    """Trains the model if it is not trained yet, measures n samples and scores the data: every figure of a table."""

    def __call__(self, run: Run) -> None:
        evaluate(run, self)
        processes.wait(run.config.device)
        score(run)
