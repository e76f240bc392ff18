"""What samples are measured against: the held-out data, an extractor of features, and both kept for the next time."""

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from ... import metrics
from ...config import build
from ...data import Data, stack
from ...errors import InputError
from ...machine import files, locks
from ...metrics import features
from ...model import checkpoint
from ...run import Run
from ...settings import Checked, Count, OneOf, Range, Seed

HELD = 10_000  # held-out items at most that say how often a classifier is right
FITTED_ON = 20_000  # training items at most that an extractor is fitted to
NEAR = 50_000  # training items at most among which the nearest is looked for
SMALL = 4096  # entries of an item, up to which it is compared itself; larger ones by their features


@dataclass(frozen=True)
class Features(Checked):
    """The `extractor`: auto, flatten, pca, classifier, inception or efficientnet_lite0, with what it is fitted by.

    A classifier of `width` features is trained for `steps` with `seed`; pca keeps `width` axes.  `weights` is the file
    of inception's.
    """

    extractor: Annotated[str, OneOf(features.EXTRACTORS)] = "auto"
    width: Annotated[int, Range(1, 10**5)] = 32
    steps: Count = 800
    seed: Seed = 0
    weights: str | None = None


@dataclass(frozen=True)
class Reference:
    """The real data as the metrics see it, on the CPU.

    `test` are the features (m, D) of all held-out items and `floor` those of the training items `floor_index`, to which
    no extractor was fitted; `held` are the distances (m, 2) of held-out items to their nearest training items.  `name`
    is the extractor with its hash; `small` whether items are few enough entries to be compared as they are.
    """

    name: str
    extractor: metrics.Extractor
    test: Tensor
    floor: Tensor
    held: Tensor
    data: Data
    small: bool
    floor_index: Tensor = field(repr=False)

    def items(self, index, split: str) -> Tensor:
        """Items of a split, as the distances and the two-sample test take them: as they are, or their features."""
        seen = (lambda x: x) if self.small else self.extractor
        return _seen(self.data, split, index, seen)

    def view(self, x: Tensor, found: Tensor) -> Tensor:
        """Of samples x (B, *shape) with features `found` the one that `items` is compared with."""
        return x if self.small else found


def reference(run: Run, settings: Features) -> Reference:
    """The reference of the run's data: out/features/DATA-FINGERPRINT holds extractor and features for the next time.

    Extractors are fitted to one half of the training data, drawn by `settings.seed`; the floor comes from the other,
    which they know as little as the test data.  Raises `InputError` for an extractor that the data or the machine
    lacks something for.
    """
    known = run.data.outer.fingerprint
    folder = Path(run.config.out).expanduser() / "features" / f"{run.data.outer.name}-{known}"
    with locks.alone(folder, wait=True, say=run.say):
        return _reference(run, settings, folder, known)


def _reference(run: Run, settings: Features, folder: Path, known: str) -> Reference:
    data = run.data.outer
    order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(settings.seed))
    half = len(order) // 2
    name, extractor = _extractor(run, settings, folder, order[:half][:FITTED_ON], known)
    small = int(np.prod(data.shape)) <= SMALL
    path = folder / f"reference-{name}.npz"
    there = _read(path)
    if there is None:
        batches = lambda split, index: _seen(data, split, index, extractor)
        floor = order[half:]
        there = {"test": batches("test", range(len(data.test))), "floor": batches("train", floor), "index": floor}
        fresh = Reference(name, extractor, there["test"], there["floor"], torch.empty(0), data, small, floor)
        there["held"] = near(fresh, fresh.items(range(len(data.test)), "test"))
        _write(path, there)
    return Reference(name, extractor, there["test"], there["floor"], there["held"], data, small, there["index"])


def _seen(data: Data, split: str, index, seen: Callable[[Tensor], Tensor] = lambda x: x) -> Tensor:
    """What is `seen` of items of a split, a thousand at a time: what draws or reads them may take many times theirs."""
    items = getattr(data, split)
    return torch.cat([seen(data.encode(stack(items, some))) for some in torch.as_tensor(index).split(1000)])


def near(found: Reference, x: Tensor) -> Tensor:
    """The distances (B, 2) of x to its nearest and second nearest training items."""
    train = found.items(range(min(len(found.data.train), NEAR)), "train")
    return metrics.nearest(x, train)


def _extractor(run: Run, settings: Features, folder: Path, index: Tensor, known: str):
    """The name and the extractor, read from the folder or fitted to the training items `index`."""
    data, device = run.data.outer, run.device
    kind = settings.extractor
    kind = features.choose(data.shape, data.labels is not None) if kind == "auto" else kind
    if kind == "flatten":
        return kind, features.Flatten()
    if kind in ("inception", "efficientnet_lite0"):
        light = kind == "efficientnet_lite0"
        extractor = metrics.EfficientNetLite0(device) if light else features.Inception(settings.weights, device)
        return extractor.name, extractor
    if kind == "classifier" and data.labels is None:
        raise InputError(f"task.extractor=classifier: {data.name} has no labels; choose pca, flatten or inception")
    made = [known, kind, settings.width, settings.seed, *([settings.steps] if kind == "classifier" else [])]
    name = f"{kind}{settings.width}-{build.short_hash(made)}"
    path = folder / f"{name}.pt"
    if path.exists():
        try:
            return name, features.restore(checkpoint.load(path))
        except (InputError, LookupError, TypeError, AttributeError, RuntimeError) as error:  # it can be made again
            run.say(f"warning: {path} is damaged ({str(error).splitlines()[0]}): the extractor is made anew")
    x = _seen(data, "train", index)
    if kind == "pca":
        extractor = features.PCA.fit(x, settings.width)
    else:
        run.say(f"training a classifier on {len(index)} labelled items of {data.name}, for its features")
        test = data.encode(stack(data.test, range(min(len(data.test), HELD))))
        held = (test, data.labels[1][: len(test)])
        options = {"steps": settings.steps, "width": settings.width, "seed": settings.seed}
        extractor = features.Learned.fit(x, data.labels[0][index], held, **options)
        run.say(f"it names {100 * extractor.accuracy:.1f} % of {len(test)} held-out items rightly: {path}")
    checkpoint.save(path, {"step": settings.steps, **extractor.state()})
    return name, extractor


def _read(path: Path) -> dict[str, Tensor] | None:
    try:
        with files.reading(path) as data, np.load(data) as file:
            return {k: torch.from_numpy(file[k]) for k in ("test", "floor", "index", "held")}
    except Exception:  # not there, or not whole: made again
        return None


def _write(path: Path, columns: dict[str, Tensor]) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **{k: v.numpy() for k, v in columns.items()})
    files.write(path, lambda file: file.write(buffer.getvalue()))
