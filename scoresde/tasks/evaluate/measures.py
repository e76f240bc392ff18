"""What samples are measured by: the settings of task=evaluate, the figures of all its metrics, and their rows."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from torch import Tensor

from ... import metrics
from ...errors import InputError
from ...metrics import Estimate
from ...settings import Count, OneOf, Range, Text
from . import classes, judge
from .reference import Features, Reference, near

NEIGHBOURS = ("precision", "recall", "density", "coverage")
ON_ITEMS = ("c2st", "memorisation", "copies")  # of the items themselves where they are small, else of features
NAMES = ("frechet", "kid", "mmd", *NEIGHBOURS, "sliced", "wasserstein", "energy", *ON_ITEMS)
DEFAULT = tuple(name for name in NAMES if name not in ("mmd", "wasserstein"))


@dataclass(frozen=True)
class Evaluation(Features):
    """What to evaluate: `metrics` by name, of the model's samples or of those in `samples`, a file or folder.

    `k` neighbours, `projections` of sliced Wasserstein, `groups` of the jackknife, at most `most` items for the exact
    Wasserstein distance; frechet and kid of each class too, `by` a label of the data; the fields of `Features` say what
    they look at.  With the folder of a `clip`, one that the model never saw, also its similarity of samples and their
    words, and R-precision `among` so many.  Where nothing is given, samples have the conditions of items of a `split`:
    None is train, and test where the data has a judge.
    """

    metrics: tuple[Annotated[str, OneOf(NAMES)], ...] = DEFAULT
    samples: str | None = None
    k: Count = 5
    projections: Annotated[int, Range(1, 10**6)] = 256
    groups: Annotated[int, Range(3, 10**4)] = 20
    most: Annotated[int, Range(10, 2**32)] = 1000
    clip: Text | None = None
    among: Annotated[int, Range(2, 10**4)] = 100
    by: str | None = None
    split: Literal["train", "test"] | None = None

    def __post_init__(self):
        super().__post_init__()
        if not self.metrics:
            raise InputError(f"metrics=[]: give a list of some of {', '.join(NAMES)}", "metrics")


@dataclass(frozen=True)
class Sampled:
    """Features (n, D) of samples, what `ON_ITEMS` sees of them, and all that tells one set of samples from another;
    by attribute what the data's judge says of each, (n,); a CLIP's embeddings of each and of its words, (n, E); the
    class of each, (n,)."""

    features: Tensor
    items: Tensor
    facts: dict
    verdicts: Mapping[str, Tensor] = field(default_factory=dict)
    pairs: Mapping[str, Tensor] = field(default_factory=dict)
    classes: Tensor | None = None


def measured(settings: Evaluation, known: Reference, found: Sampled) -> tuple[dict, list[tuple[str, str]]]:
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
    if settings.by is not None and found.classes is not None:
        how = (found.features, found.classes, known.test, settings.metrics, settings.groups)
        each, more = classes.figures(settings.by, known.data, *how)
        figures, rows = figures | each, rows + more
    judged, told = judge.figures(known.data, found.verdicts)
    return figures | judged, rows + told


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
