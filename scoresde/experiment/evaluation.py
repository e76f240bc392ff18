"""The task that evaluates: distances of samples to held-out data, each with its interval and the floor of real data."""

import dataclasses
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from omegaconf import OmegaConf
from torch import Tensor

from .. import metrics
from ..denoiser import Counted
from ..errors import InputError
from ..metrics import Estimate
from ..sampling import joined, sample, share
from . import build, processes, tasks
from .reference import Features, Reference, near, reference
from .report import bar
from .run import Run
from .track import Metrics
from .tuning import model_grid

NEIGHBOURS = ("precision", "recall", "density", "coverage")
ON_ITEMS = ("c2st", "memorisation", "copies")  # of the items themselves where they are small, else of features
NAMES = ("frechet", "kid", "mmd", *NEIGHBOURS, "sliced", "wasserstein", "energy", *ON_ITEMS)
DEFAULT = tuple(name for name in NAMES if name not in ("mmd", "wasserstein"))
HELD = 2**25  # numbers in the samples that are drawn between two visits to the extractor


@dataclass(frozen=True)
class Evaluation(Features):
    """What to evaluate: `metrics` by name, of the model's samples or of those in the array file `samples`.

    `k` neighbours, `projections` of sliced Wasserstein, `groups` of the jackknife, at most `most` items for the exact
    Wasserstein distance; the fields of `Features` say what they look at.
    """

    metrics: tuple[str, ...] = DEFAULT
    samples: str | None = None
    k: int = 5
    projections: int = 256
    groups: int = 20
    most: int = 1000

    def __post_init__(self):
        super().__post_init__()
        names = [self.metrics] if isinstance(self.metrics, str) else list(self.metrics)
        if not names or isinstance(self.metrics, str) or set(names) - set(NAMES):
            raise InputError(f"task.metrics={names}: give a list of some of {', '.join(NAMES)}")
        for name, least in (("k", 1), ("projections", 1), ("groups", 3), ("most", 10)):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < least:
                raise InputError(f"task.{name}={getattr(self, name)!r}: give a whole number, at least {least}")


@dataclass(frozen=True)
class Sampled:
    """Features (n, D) of samples, what `ON_ITEMS` sees of them, and all that tells one set of samples from another."""

    features: Tensor
    items: Tensor
    facts: dict


def evaluate(run: Run) -> None:
    """Trains the model if it is not trained yet, draws n samples and measures them: summary.json and a table.

    Of several processes each draws its share, and the first one measures.  Samples are not kept, only their features.
    """
    node = OmegaConf.merge(run.config.task, {"_target_": f"{__name__}.{Evaluation.__name__}"})
    settings: Evaluation = build.make(node, "task")
    given = None if settings.samples is None else _array(Path(settings.samples).expanduser())
    _check(run, settings, run.config.n if given is None else len(given))
    if given is None:
        tasks.train(run)
        processes.wait(run.config.device)  # until the first process has written the model
    elif not run.lead:
        return
    began = time.perf_counter()
    known = reference(run, settings) if run.lead else None
    found = _drawn(run, known) if given is None else _given(run, known, settings, given)
    if not run.lead:
        return
    if given is None:
        choice = run.choices.get("sampler", build.name_of(run.config.sampler))
        parts = (repr(run.sampler), run.config.n, run.config.seed, run.model.step, run.config.autocast)
    else:
        choice, parts = "file", (str(Path(settings.samples).resolve()), build.short_hash(given.sum().tolist()))
    folder = run.place("evaluate", choice, *parts, run.plain["task"])
    figures, table = _measured(run, settings, known, found)
    facts = found.facts | {"n": len(found.features), "reference": f"{len(known.test)} {run.data.name} test"}
    facts |= {"extractor": known.name, "features": known.test.shape[1], "metrics_seed": settings.seed}
    facts["measuring_seconds"] = time.perf_counter() - began - facts.get("seconds", 0)
    numeric = lambda k, v: isinstance(v, int | float) and not isinstance(v, bool) and k != "step"
    numbers = {k: v for k, v in (facts | figures).items() if numeric(k, v)}
    Metrics(folder / "metrics.jsonl", run.wandb, "evaluate/").log(0, **numbers)
    run.finish(folder, {"task": "evaluate", **facts, **figures}, [*_head(facts, known), *table, ("", str(folder))])


def _check(run: Run, settings: Evaluation, n: int) -> None:
    """Raises `InputError` where there are too few samples or items, before any work."""
    least = max(settings.groups, settings.k + 2, 8)
    for what, count in (("n", n), ("the test set", len(run.data.test)), ("half of train", len(run.data.train) // 2)):
        if count < least:
            raise InputError(f"{what} has {count} items: task.groups={settings.groups} and k={settings.k} need {least}")


def _drawn(run: Run, known: Reference | None) -> Sampled | None:
    """The samples of the model, their features taken chunk by chunk; on the first process only."""
    config, model = run.config, run.model
    if run.fits_grid:
        run.sampler, run.fits_grid = dataclasses.replace(run.sampler, grid=model_grid(run)), False
    processes.join(config.device)
    counted, n = Counted(model), config.n
    options = {k: config[k] for k in ("batch_size", "compile", "cuda_graphs", "autocast")}
    size = max(config.batch_size * joined()[1], HELD // math.prod(model.shape))
    pieces, seconds, done = [], 0.0, 0
    own = len(share(n, *joined())) * run.sampler.steps

    with bar(run.console, "sampling", None if run.sampler.steps < 2 else own) as advance:

        def progress(step: int, t: float, x: Tensor, x0: Tensor) -> None:
            nonlocal done
            done += len(x)
            advance(done, f"{counted.rows * joined()[1] / n:.0f} evaluations a sample")

        for start in range(0, n, size):
            shape, began = (min(size, n - start), *model.shape), time.perf_counter()
            more = {"offset": start, "callback": progress, "store": "cpu", "processes": True}
            x = sample(counted, run.sampler, shape, config.seed, **more, **options)
            seconds += time.perf_counter() - began
            if known is not None:
                pieces.append(_seen(run, known, model.decode(x)))
    evaluations = processes.total(counted.rows, config.device) / n
    if known is None:
        return None
    facts = {"sampler": repr(run.sampler), "evaluations": evaluations, "seconds": seconds}
    facts |= {"seed": config.seed, "ema": True, "step": model.step, "sde": repr(model.sde)}
    return Sampled(*(torch.cat(part) for part in zip(*pieces, strict=True)), facts)


def _seen(run: Run, known: Reference, raw: Tensor) -> tuple[Tensor, Tensor]:
    """The features of raw samples, and what `ON_ITEMS` compares.  Both see the values that a file would have."""
    x = run.data.encode(raw)
    found = known.extractor(x)
    return found, known.view(x, found)


def _array(path: Path) -> Tensor:
    try:
        return torch.from_numpy(np.load(path, allow_pickle=False))
    except Exception as error:
        raise InputError(f"task.samples={path} cannot be read as .npy ({str(error)[:100]})") from error


def _given(run: Run, known: Reference, settings: Evaluation, raw: Tensor) -> Sampled:
    """The samples of an array file, in the data's own values; what made them is read from summary.json beside it."""
    if tuple(raw.shape[1:]) != tuple(run.data.shape):
        raise InputError(
            f"task.samples={settings.samples} has items of shape {tuple(raw.shape[1:])}: "
            f"{run.data.name} has {tuple(run.data.shape)}"
        )
    path = Path(settings.samples).expanduser().with_name("summary.json")
    told = json.loads(path.read_text()) if path.exists() else {}
    names = ("sampler", "evaluations", "seconds", "seed", "ema", "step")
    facts = {k: told.get(k, "unknown") for k in names} | {"samples": settings.samples}
    facts = {k: v for k, v in facts.items() if k != "seconds"}
    pieces = [_seen(run, known, part) for part in raw.split(max(1, HELD // math.prod(raw.shape[1:])))]
    return Sampled(*(torch.cat(part) for part in zip(*pieces, strict=True)), facts)


def _measured(run: Run, settings: Evaluation, known: Reference, found: Sampled) -> tuple[dict, list[tuple[str, str]]]:
    """The figures of all metrics beside those of real data, and their rows of the table."""
    n = min(len(found.features), len(known.floor))
    real = {"features": known.floor[:n], "items": known.items(known.floor_index[:n], "train")}
    test_items = known.items(range(len(known.data.test)), "test")
    ours = _estimates(settings, found.features, known.test, found.items, test_items)
    floor = _estimates(settings, real["features"], known.test, real["items"], test_items)
    if {"memorisation", "copies"} & set(settings.metrics):
        _add_nearest(ours, floor, near(known, found.items), known.held)
    title = f"value (95 % interval); the same of {n} real items that are not in the test set"
    figures, rows = {"floor_n": n}, [("", title)]
    for name in settings.metrics:
        figures |= _flat(name, ours[name]) | _flat(f"{name}_floor", floor[name])
        of = " of the data itself" if name in ON_ITEMS and known.small else ""
        rows.append((name, f"{_words(ours[name])}{of}; real {_words(floor[name])}"))
    return figures, rows


def _estimates(settings: Evaluation, x: Tensor, y: Tensor, x_items: Tensor, y_items: Tensor) -> dict[str, Estimate]:
    groups, seed = settings.groups, settings.seed
    few = lambda v: v[: settings.most]
    single: dict[str, Callable[[], Estimate]] = {
        "frechet": lambda: metrics.frechet(x, y, groups, seed),
        "kid": lambda: metrics.kid(x, y),
        "mmd": lambda: metrics.mmd(x, y, metrics.median_rbf(y)),
        "sliced": lambda: metrics.sliced_wasserstein(x, y, settings.projections, groups, seed),
        "wasserstein": lambda: metrics.wasserstein(few(x), few(y), groups=min(groups, 10), seed=seed),
        "energy": lambda: metrics.energy(x, y),
        "c2st": lambda: metrics.c2st(x_items, y_items, seed=seed),
    }
    found = {name: make() for name, make in single.items() if name in settings.metrics}
    if set(NEIGHBOURS) & set(settings.metrics):
        found |= metrics.neighbours(x, y, settings.k, groups, seed)
    return found


def _add_nearest(ours: dict, floor: dict, own: Tensor, held: Tensor) -> None:
    """Memorisation and copies; their floors are those of one half of the held-out items against the other."""
    ours["memorisation"] = metrics.memorisation(own[:, 0], held[:, 0])
    ours["copies"] = metrics.copies(own, held)
    a, b = held[::2], held[1::2]
    floor["memorisation"], floor["copies"] = metrics.memorisation(a[:, 0], b[:, 0]), metrics.copies(held, held)


def _flat(name: str, found: Estimate) -> dict:
    figures = {name: found.value, f"{name}_stderr": found.stderr, f"{name}_low": found.low, f"{name}_high": found.high}
    figures |= {f"{name}_plain": found.plain} if found.plain != found.value else {}
    return figures | ({} if found.p_value is None else {f"{name}_p": found.p_value})


def _words(found: Estimate) -> str:
    width = found.high - found.low
    digits = max(0, min(4, 2 - math.floor(math.log10(width)))) if width > 0 else 3
    value, low, high, plain = (f"{v:.{digits}f}" for v in (found.value, found.low, found.high, found.plain))
    extra = f", plain {plain}" if found.plain != found.value else ""
    extra += f", p {found.p_value:.2g}" if found.p_value is not None else ""
    return f"{value} ({low} to {high}{extra})"


def _head(facts: dict, known: Reference) -> list[tuple[str, str]]:
    """What every figure of the table is of."""
    evaluations = facts["evaluations"]
    cost = evaluations if isinstance(evaluations, str) else f"{evaluations:.0f}"
    model = f"seed {facts['seed']}, EMA {'yes' if facts['ema'] is True else facts['ema']}, step {facts['step']}"
    accuracy = getattr(known.extractor, "accuracy", None)
    right = "" if accuracy is None else f", {100 * accuracy:.1f} % right on test"
    return [
        ("samples", f"n {facts['n']} against {facts['reference']} items; {model}"),
        ("sampler", f"{facts['sampler']}: {cost} evaluations a sample"),
        ("extractor", f"{facts['extractor']}, {facts['features']} features{right}"),
    ]
