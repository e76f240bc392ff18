"""A look at the items of a data set: a fingerprint of them, and a check before they are trained on."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset, TensorDataset

from ..errors import InputError
from ..settings import nearest
from .items import Batch, Beside, collate, column, stack
from .rows import Mapped, Rows, Tensors

if TYPE_CHECKING:
    from .base import Data

WHOLE = 8 * 2**30  # bytes of items up to which all of those that are read as rows enter the fingerprint
SOME = 2000  # items of each split, evenly spaced, that enter it else
COUNTED = 8192  # training items whose levels are counted
LOOKED_AT = 512  # items of each split, evenly spaced, that the check looks at
PART = 2**20  # numbers that are hashed at once
TOLD = "deviations differ"  # part of the note on scales, by which it is known
LOSS = 1e-3  # of a deviation: what rounding to float32 may cost in the model's space


def counts(data: Data) -> torch.Tensor | None:
    """How often each level is there, float64 (levels,), in up to 8192 training items; None: no levels."""
    if data.levels is None:
        return None
    index = spaced(len(data.train), COUNTED)
    found = [stack(data.train, part) for part in np.array_split(index, -(-len(index) // 256))]
    each = [torch.bincount(part.flatten().long(), minlength=data.levels) for part in found]
    return torch.stack(each).sum(0).double()


def fingerprint(data: Data) -> str:
    """16 hexadecimal digits of the SHA-256 of shape, levels, transform (to 9 digits) and items.

    The values are those of all items in memory, of all items of a memory map up to 8 GiB, and else of at most 2000
    items of each split, evenly spaced. They do not depend on the machine, or on how the items are stored. Items that
    are drawn anew each time they are asked for cannot enter.
    """
    digest = hashlib.sha256()
    numbers = [
        [f"{v:.9g}" for v in torch.as_tensor(value, dtype=torch.float64).flatten().tolist()]
        for value in (data.space.scale, data.space.shift)
    ]
    digest.update(repr((tuple(data.shape), data.levels, numbers)).encode())
    for items in (data.train, data.test, *data.buckets):
        index = np.arange(len(items)) if _whole(items) else spaced(len(items), SOME)
        kind = stack(items, index[:1]).dtype if _lasting(items) else None
        digest.update(f"{len(items)} of {kind};".encode())
        step = max(1, PART // max(1, int(np.prod(data.shape))))
        for i in range(0, len(index) if kind is not None else 0, step):
            digest.update(_bytes(stack(items, index[i : i + step])))
    return digest.hexdigest()[:16]


def condition_prints(data: Data, names: Iterable[str]) -> dict[str, str]:
    """By name, 16 hexadecimal digits of the SHA-256 of a condition's values for all items of both splits of the data.

    They stand for what the items come with, which the fingerprint leaves out, for the conditions in `names`.  Of items
    that are read one by one at most 2000 of each split enter, evenly spaced.

    Raises:
        InputError: the data has no condition of that name.
    """
    found = {}
    for name in names:
        if name not in data.conditions:
            known = nearest(name, data.conditions) if data.conditions else ": they come with nothing"
            raise InputError(f"{data.name}: its items have no condition {name}{known}", "conditions")
        digest = hashlib.sha256()
        for items in (data.train, data.test, *data.buckets):
            index = np.arange(len(items)) if _together(items, name) else spaced(len(items), SOME)
            value = column(items, name, index) if len(items) else torch.empty(0)
            digest.update(f"{tuple(value.shape)} of {value.dtype};".encode())
            value = torch.where(value.isnan(), math.nan, value) if value.is_floating_point() else value
            digest.update(_bytes(value))
        found[name] = digest.hexdigest()[:16]
    return found


def check_data(data: Data) -> list[str]:
    """Looks at up to 512 items of each split of the data, before a training: notes on what would go badly, a line each.

    Raises:
        InputError: an item of another shape, with NaN or infinite values or outside its levels; a condition that is not
            of its kind; items that are all the same; values, as the model is to see them, so far from deviation 1 that
            training on them fails: it says which levels, or which scale and shift, would be right.
    """
    looked = {split: _looked_at(data, split) for split in ("train", "test")}
    raw = looked["train"]
    if (raw == raw[:1, ...].flatten()[0]).all():
        return [_same(data, raw)]
    if data.levels is not None:
        return []
    x = data.space(raw.double())
    x = x.flatten(2) if len(data.shape) > 1 else x.unsqueeze(2)
    stds, means = (v.numpy() for v in torch.std_mean(x, (0, 2), correction=0))  # of columns, or of channels
    std, mean = (float(v) for v in torch.std_mean(x, correction=0))
    _check_offsets(data, stds, means)
    notes = _scale_notes(data, raw, mean, std)
    if len(data.shape) == 1 and not any(TOLD in note for note in data.notes):
        notes += scales_note(stds, data.columns, True)
    return notes


def _looked_at(data: Data, split: str) -> Tensor:
    """Raw items of a split, once they have been looked at."""
    items, name = getattr(data, split), f"{data.name}: {split}"
    index = spaced(len(items), min(LOOKED_AT, max(8, 2**24 // max(1, int(np.prod(data.shape))))))
    batch = collate(items, index, data.conditions)
    _check_conditions(data, name, batch)
    x = batch.x
    if tuple(x.shape[1:]) != data.shape:
        raise InputError(f"{name} has items of shape {tuple(x.shape[1:])}, train of {data.shape}: must be the same")
    bad = (~x.isfinite()).flatten(1).any(1) | x.is_complex()
    if bad.any():
        place = index[int(bad.nonzero()[0])]
        raise InputError(f"{name} item {place} ({x.dtype}) has NaN, infinite or complex values: must be finite")
    if data.levels is not None:
        low, high = x.flatten(1).amin(1).double(), x.flatten(1).amax(1).double()
        bad = (low < 0) | (high >= data.levels) | x.is_floating_point()
        if bad.any():
            place = int(bad.nonzero()[0])
            held = f"item {index[place]} is {x.dtype} with values in {low[place]:g}..{high[place]:g}"
            raise InputError(f"levels={data.levels}: {name} {held}, must be integers in 0..{data.levels - 1}", "levels")
    return x


def _check_conditions(data: Data, name: str, batch: Batch) -> None:
    """InputError for a condition of these items that is not of its kind."""
    for condition, kind in data.conditions.items():
        try:
            kind.rows(condition, batch.cond[condition], len(batch))
        except InputError as error:
            raise InputError(f"{name}: {error}", "conditions") from error


def _check_offsets(data: Data, stds: np.ndarray, means: np.ndarray) -> None:
    """InputError for a column or a channel whose spread its offset drowns in float32."""
    lost = (stds > 0) & (2.0**-24 * np.abs(means) > LOSS * stds)
    if lost.any():
        i = int(lost.argmax())
        part = data.columns[i] if data.columns else i
        words = f"{data.name}: column or channel {part} has a spread of {stds[i]:.3g} at an offset of {means[i]:.3g}"
        raise InputError(
            f"{words} as the model sees it, which float32 cannot hold: subtract the offset by shift, in float64"
        )


def _same(data: Data, raw: Tensor) -> str:
    words = f"{data.name}: {len(raw)} training items that were looked at are all {raw.flatten()[0].item():g}"
    if len(raw) == len(data.train):
        raise InputError(f"{words}: there is nothing to learn")
    return f"{words}: is that what they should be?"


def _scale_notes(data: Data, raw: Tensor, mean: float, std: float) -> list[str]:
    """Notes on continuous values whose scale a network does not expect."""
    low, high = float(raw.min()), float(raw.max())
    space = data.space
    plain = not torch.is_tensor(space.scale) and (space.scale, space.shift) == (1.0, 0.0)
    whole = low >= 0 and 1 <= high <= 65535 and bool((raw == raw.round()).all() if raw.is_floating_point() else True)
    levels = 256 if 64 <= high <= 255 else int(high) + 1
    scaled = f"scale={1 / std:.3g} shift={-mean / std:.3g}, or standardize"
    seen = f"mean {mean:.3g} and deviation {std:.3g} as the model sees them"
    held = f"{data.name} has values in {low:g}..{high:g}, {seen}"
    if whole and (plain or len(data.shape) > 1):
        words = f"{held}, all whole numbers: give levels={levels} if they are that"
        if plain and std > 3:
            raise InputError(f"{words}, or {scaled}, which make it 1")
        return [f"{words} (a density of whole numbers has no bound)"]
    if plain and not 0.02 <= std <= 50:
        raise InputError(f"{held}: give {scaled}, which make it 1")
    if (
        low == 0
        and high == 1
        and plain
        and bool((255 * raw.double() - (255 * raw.double()).round()).abs().max() < 1e-4)
    ):
        return [f"{held}: 256 levels, divided by 255: give the bytes themselves with levels=256, or scale=2 shift=-1"]
    if not (1 / 3 <= std <= 3 and abs(mean) <= 3):
        return [f"{held}: about 0 and 1 train best{f', by {scaled}' if plain else ''}"]
    return []


def scales_note(std: np.ndarray, columns: tuple[str, ...] | None, vectors: bool) -> list[str]:
    """A note where the deviations (G,) of columns or channels, those that have one, differ by more than 10."""
    found = np.flatnonzero(std)
    if not len(found):
        return []
    low, high = (found[int(f(std[found]))] for f in (np.argmin, np.argmax))
    if std[high] <= 10 * std[low]:
        return []
    part, called = ("column" if vectors else "channel"), columns or range(len(std))
    ends = " to ".join(f"{std[i]:.3g} ({part} {called[i]})" for i in (low, high))
    return [f"{TOLD}, from {ends}: standardize=feature gives each its own scale"]


def spaced(n: int, most: int) -> np.ndarray:
    """At most so many of the places 0..n-1, evenly spaced."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(np.int64)) if n else np.arange(0)


def _whole(items: Dataset) -> bool:
    """Whether all of the items enter a fingerprint."""
    if isinstance(items, Subset | Beside):
        return _whole(items.dataset if isinstance(items, Subset) else items.items)
    return isinstance(items, (Tensors, TensorDataset)) or (isinstance(items, Mapped) and items.nbytes <= WHOLE)


def _bytes(x: Tensor) -> bytes:
    """Its values, whatever the machine."""
    x = x.detach().cpu()
    x = (x.float() if x.dtype == torch.bfloat16 else x).numpy()
    return x.astype(x.dtype.newbyteorder("<"), copy=False).tobytes()


def _together(items: Dataset, name: str) -> bool:
    """Whether all of the values of its condition of a name are at hand, and no more than a hash takes in seconds."""
    if isinstance(items, Rows | Beside):
        return not getattr(items.cond.get(name), "large", False)
    return type(items) is Subset and _together(items.dataset, name)


def _lasting(items: Dataset) -> bool:
    """Whether items are the same each time that they are asked for."""
    if isinstance(items, Rows) or not len(items):
        return True
    a, b = stack(items, [0]), stack(items, [0])
    return a.shape == b.shape and bool((a == b).all())
