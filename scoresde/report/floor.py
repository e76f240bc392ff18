"""The denoising loss by noise level, beside that of the optimal denoiser of the training set."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import making
from ..conditions import Label
from ..data import Data, as_data, collate
from ..denoiser import Denoiser, device_of
from ..errors import InputError
from ..exact import Dequantised, Empirical
from ..loss import DenoisingLoss
from ..machine import files
from ..model import Model, load
from ..model.description import about, differences
from ..model.folder import described
from ..objectives import noise_levels
from ..objectives.validation import HeldOut
from ..sde import SDE

FILE = "floor.json"
LARGEST = 2**24  # numbers of the dequantised optimum: training items x dimensions x levels
SECONDS = 3.0  # what may be spent where nobody asked
SPEED = 2e9  # multiplications a second of one thread, on the slow side


class ByClass(Denoiser):
    """The optimal denoiser given labels: for the rows of a class that of its own items alone.

    Arguments:
        make: items (indices) to their optimal denoiser.
        labels: of the training items, (N,) by name; none: the optimum of all items.
        sde: of x_t.
    """

    def __init__(self, make: Callable[[Tensor], Denoiser], labels: dict[str, Tensor], n: int, sde: SDE):
        super().__init__(sde)
        self.make, self.labels, self.n = make, labels, n
        self.known: dict[tuple, Denoiser] = {}

    def forward(self, x, t, cond=None):
        t = torch.as_tensor(t, dtype=torch.float64).expand(len(x))
        names = [name for name in self.labels if name in (cond or {})]
        asked = torch.stack([torch.zeros(len(x), dtype=torch.long), *(cond[name].cpu().long() for name in names)], 1)
        out = torch.empty_like(x)
        for key in asked.unique(dim=0).tolist():
            rows = (asked == torch.tensor(key)).all(1)
            out[rows] = self._of(tuple(zip(names, key[1:], strict=True)))(x[rows], t[rows])
        return out

    def _of(self, key: tuple) -> Denoiser:
        if key not in self.known:
            same = torch.ones(self.n, dtype=torch.bool)
            for name, value in key:
                same &= (self.labels[name] == value) if value >= 0 else torch.ones_like(same)
            self.known[key] = self.make(same.nonzero()[:, 0])
        return self.known[key]


def optimum(data: Data, sde: SDE, names: Iterable[str] = (), dequantise: str = "uniform") -> Denoiser:
    """The denoiser of least training loss, given the labels `names`: `Empirical`, or `Dequantised` for levels.

    Raises `InputError` where there are no training items, or too many for it.
    """
    n, levels = len(data.train), data.levels if dequantise == "uniform" else None
    if levels and n * math.prod(data.shape) * levels > LARGEST:
        words = f"{n} items x {math.prod(data.shape)} dimensions x {levels} levels"
        raise InputError(f"{words}: the optimum of the dequantised training set is for up to {LARGEST} of them")
    batch = collate(data.train, range(n), names)
    x = batch.x if levels else data.encode(batch.x).double()
    make = lambda index: Dequantised(x[index], data.space, sde) if levels else Empirical(x[index], sde)
    return ByClass(make, dict(batch.cond), n, sde)


@torch.no_grad()
def measure(model: Model, data: Data, loss: DenoisingLoss, dequantise: str = "uniform", n: int = 512) -> dict:
    """The loss of a model and of the optimum on the same training items, times and noise, and of held-out ones.

    Arguments:
        model: the trained model; of conditions it may take labels alone.
        data: what it was trained on.
        loss: the training's.
        dequantise: the training's.
        n: items of train, and of test, with one time and one noise each.

    Returns:
        For each of 8 bins of the training times (between `levels`, sigma / alpha): `train`, `optimum`, `held_out` and
        the standard errors of the means; `items`, `training_items`, `seconds`, `weights`.

    Raises:
        InputError: as of `optimum`; conditions other than labels, of which there is no closed form.
    """
    began, device, names = time.perf_counter(), device_of(model), tuple(model.conditions)
    strange = [name for name, kind in model.conditions.items() if not isinstance(kind, Label)]
    if strange:
        raise InputError(f"{strange[0]}: given a condition that is no label, no item is like another")
    best = optimum(data, model.sde, names, dequantise)
    found: dict[str, Any] = {}
    for split in ("train", "test"):
        items = getattr(data, split)
        some = torch.linspace(0, len(items) - 1, min(n, len(items))).round().long().tolist()
        one = dataclasses.replace(data, test=items)
        held = HeldOut(one, loss, model.sde, names, device, some, dequantise)
        values = held.rows(partial(loss.at, model))
        found |= _by_level("train" if split == "train" else "held_out", held, values)
        if split == "train":
            found |= _by_level("optimum", held, held.rows(partial(_on_cpu, loss, best)))
            found |= {"items": len(some), "training_items": len(items)}
    levels = noise_levels(loss, model.sde, len(found["train"]))
    return {"weights": model.weights, "levels": levels, **found, "seconds": time.perf_counter() - began}


def _on_cpu(loss: DenoisingLoss, best: Denoiser, x0: Tensor, t: Tensor, eps: Tensor, cond: dict) -> Tensor:
    """The optimum's loss, in float64, which not every device has."""
    return loss.at(best, *(v.cpu().double() for v in (x0, t, eps)), {name: value.cpu() for name, value in cond.items()})


def _by_level(name: str, held: HeldOut, values: Tensor) -> dict[str, list[float]]:
    parts = [values[held.bins == b].double() for b in held.bins.unique()]
    errors = [float(v.std() / math.sqrt(len(v))) if len(v) > 1 else math.nan for v in parts]
    return {name: [float(v.mean()) for v in parts], f"{name}_stderr": errors}


def cost(data: Data, n: int = 512, dequantise: str = "uniform") -> float:
    """About how many seconds the optimum takes for n items."""
    levels = data.levels if data.levels and dequantise == "uniform" else 1
    return 2 * n * len(data.train) * math.prod(data.shape) * levels / SPEED


def _guess(model: Model) -> float:
    """About how many seconds the two calls of `_passes` take, of its size alone, so that no large one is tried."""
    return 128 * sum(p.numel() for p in model.parameters()) * math.prod(model.shape[1:]) / SPEED


@torch.no_grad()
def _passes(model: Model, n: int) -> float:
    """About how many seconds the model takes for n items of either split: as long as its quicker call of two."""
    x, found = torch.zeros(32, *model.shape, device=device_of(model)), []
    for _ in range(2):
        began = time.perf_counter()
        model(x, model.sde.t_max)
        found.append(time.perf_counter() - began)
    return min(found) * n / 16


def keep(
    folder: Path, asked: bool | None, n: int = 512, model: Model | None = None, data: Data | None = None, trust=False
) -> str:
    """Writes floor.json into a model's folder, unless it is there for its weights.

    Arguments:
        folder: of a model.
        asked: True: whatever it takes; None: where it takes few seconds; False: not at all.
        n: items.
        model, data: those of the folder, where they are at hand.
        trust: as of `load`.

    Returns:
        Why there is none, in words; "" if there is one.
    """
    if asked is False:
        return "report.floor=false"
    known = described(folder)
    try:
        model = load(folder, trust=trust) if model is None else model
        if files.read_json(folder / FILE, default={}).get("weights") == model.weights:
            return ""
        data = _data(known, trust) if data is None else as_data(data)
        if differences(known, {"data": about(data, known.get("conditions") or {})}):
            raise InputError("the data is not what the model was trained on")
        how = str((known.get("train") or {}).get("dequantise", "uniform"))
        loss = making.make(known.get("loss"), "loss", DenoisingLoss, trust).chosen(known)
        seconds = cost(data, n, how)
        seconds += _guess(model) if asked is None and _guess(model) > SECONDS else _passes(model, n)
        if asked is None and seconds > SECONDS:
            return f"it takes about {seconds:.0f} s: say task.floor=true"
        files.write_json(folder / FILE, measure(model, data, loss, how, n))
    except (InputError, OSError) as error:
        return str(error)
    return ""


def _data(known: dict, trust: bool) -> Data:
    settings = (known.get("data") or {}).get("settings")
    if settings is None:
        raise InputError("it was trained from Python, on data that its folder does not name")
    return as_data(making.make(settings, "data", trust=trust))
