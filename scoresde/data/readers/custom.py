"""A user's own dataset."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset, TensorDataset

from ...conditions import Kind, Label
from ...errors import InputError
from ...settings import Seed, checked
from ...spaces import Affine, Bins
from ..base import Data
from ..checks import Levels, split
from ..items import Beside, item
from .arrays.array import from_tensor
from .arrays.table import is_table


@checked
def custom(
    train: Any,
    test: Any = None,
    levels: Levels = None,
    name: str | None = None,
    scale: float = 1.0,
    shift: float = 0.0,
    seed: Seed = 0,
    key: str | None = None,
    conditions: Mapping[str, Kind] | None = None,
) -> Data:
    r"""Any dataset with a length and items by number (torch's, Hugging Face's), whose items hold a tensor.

    An item is a tensor, a tuple that starts with one, or a dict that has one under `key`, and conditions under their
    names. A class index beside it becomes the condition "label" where the dataset gives all of them without its items;
    what else is in an item is left out, and a note says so.

    Arguments:
        train: the dataset.
        test: a second dataset; or a fraction or count to split off train; None: 10 % of it.
        levels: items hold the integers 0..levels-1, and the model's space is [-1, 1]; None: continuous.
        name: what to call it; None: the name of the dataset's type.
        scale, shift: of continuous data, $x = \text{scale} \cdot \text{raw} + \text{shift}$.
        seed: of the split.
        key: of items that are dicts, where the tensor is; None: at "x", or else at the only place with one.
        conditions: of items that are dicts, what else there is to know, by name: the kind of each.

    Returns:
        A `Data`.

    Raises:
        InputError: no dataset with a length, or empty; a first item that is no finite tensor, does not fit levels or
            has another shape in test than in train; an option out of its range.
    """
    if levels is not None and (scale, shift) != (1.0, 0.0):
        words = f"scale={scale:g} shift={shift:g}: not with levels={levels}, which has its own"
        raise InputError(words, "scale")
    name = type(train).__name__.lower() if name is None else name
    given = dict(conditions or {})
    first = _seen(train, "train", key, levels, given)
    if test is None or isinstance(test, Real):
        parts = split(len(train), 0.1 if test is None else test, seed)
        labels = None if first.labels is None else tuple(first.labels[part] for part in parts)
        train, test = (Subset(first.items, part.tolist()) for part in parts)
    else:
        other = _seen(test, "test", key, levels, given)
        if other.shape != first.shape:
            shapes = f"train items have shape {first.shape}, test items {other.shape}"
            raise InputError(f"{name}: {shapes}: must be the same")
        both = (first.labels, other.labels)
        labels = None if any(y is None for y in both) else both
        train, test = first.items, other.items
    if labels is not None and "label" not in given:
        train, test = (Beside(items, {"label": y}) for items, y in zip((train, test), labels, strict=True))
        given["label"] = Label(1 + max(int(y.max()) for y in labels))
    notes = () if first.note is None else (first.note + "; its class is kept as its label" * (labels is not None),)
    space = Affine(scale, shift) if levels is None else Bins(levels)
    return Data(name, train, test, space, conditions=given, notes=notes)


def as_data(obj: Any) -> Data:
    """A Data `obj` as it is; a tensor or an array, in units of about deviation 1, unscaled; a dataset through `custom`.

    Raises:
        InputError: it is none of these; whatever `from_tensor` and `custom` raise.
    """
    if isinstance(obj, Data):
        return obj
    if isinstance(obj, Tensor | np.ndarray):
        return from_tensor(obj, standardize=None)
    if isinstance(obj, Dataset) or _like_a_dataset(obj):
        return custom(obj)
    tip = " (a table: say scoresde.data.from_table)" if is_table(obj) else ""
    raise InputError(f"data is a {type(obj).__name__}{tip}: must be a scoresde.data.Data, a tensor or a dataset")


class Entries(Dataset):
    """Of a dataset of dicts the entries under one key, as "x", and conditions by their names."""

    def __init__(self, dataset: Any, key: str, names: Iterable[str] = ()) -> None:
        self.dataset, self.key, self.names = dataset, key, tuple(names)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Tensor | dict[str, Any]:
        entry = self.dataset[index]
        x = item(entry[self.key])
        return {"x": x, **{name: entry[name] for name in self.names}} if self.names else x


def _like_a_dataset(obj: Any) -> bool:
    """Whether it has a length and items by number, and is no list, text, dict, tensor, array or table."""
    plain = isinstance(obj, (str, bytes, list, tuple, Mapping, Tensor, np.ndarray)) or is_table(obj)
    return hasattr(obj, "__getitem__") and hasattr(obj, "__len__") and not plain


@dataclass(frozen=True)
class _Seen:
    """A dataset that was looked at: its tensors, their shape, their classes where it gives them, and what to say."""

    items: Any
    shape: tuple[int, ...]
    labels: Tensor | None
    note: str | None


def _seen(items: Any, part: str, key: str | None, levels: int | None, given: Mapping[str, Kind]) -> _Seen:
    _check(items, part)
    items, note = _entries(items, key, given)
    return _Seen(items, _first(items, levels, part), _labels(items), note)


def _check(items: Any, part: str) -> None:
    """InputError unless it is a dataset with a length, and not empty."""
    kind = type(items).__name__
    if isinstance(items, Mapping):
        raise InputError(f"data {part} is a {kind} of {', '.join(map(str, items))}: give one of them, another as test")
    if not _like_a_dataset(items):
        raise InputError(f"data {part} is a {kind}: must be a torch Dataset with a length (or use from_tensor)")
    try:
        length = len(items)
    except (TypeError, NotImplementedError) as error:
        raise InputError(f"data {part} is a {kind} without a length: must be a dataset of items by number") from error
    if length == 0:
        raise InputError(f"data {part} is an empty {kind}: at least one item is needed")


def _entries(items: Any, key: str | None, given: Mapping[str, Kind]) -> tuple[Any, str | None]:
    """The dataset, its tensors taken out of dicts where they are not under "x", and what is said of that."""
    first = items[0]
    if not isinstance(first, Mapping):
        if given:
            words = f"items are no dicts, but each a {type(first).__name__}: give dicts with {', '.join(given)}"
            raise InputError(f"conditions={list(given)}: {words}", "conditions")
        if key is not None:
            raise InputError(f"key={key}: items are no dicts, but each a {type(first).__name__}: leave key out", "key")
        more = isinstance(first, (tuple, list)) and len(first) > 1 and isinstance(first[0], Tensor)
        return items, f"of each item, one of {len(first)} things, only the first is trained on" if more else None
    names = [k for k, v in first.items() if isinstance(v, Tensor) and v.ndim]
    if key is None and "x" not in first and len(names) != 1:
        words = f"items are dicts of {', '.join(map(str, first))}, {len(names)} of them tensors"
        raise InputError(f"data: {words}: say which by key=NAME (Hugging Face: after with_format('torch'))")
    key = key if key is not None else "x" if "x" in first else names[0]
    if key not in first:
        raise InputError(f"key={key}: items have {', '.join(map(str, first))}: give one of these", "key")
    if lacking := [name for name in given if name not in first]:
        words = f"items have {', '.join(map(str, first))}, and no {lacking[0]}"
        raise InputError(f"conditions={list(given)}: {words}", "conditions")
    others = ", ".join(str(k) for k in first if k != key and k not in given)
    note = f"of each item, only {key} is trained on, and not {others}" if others else None
    return Entries(items, key, given), note


def _labels(items: Any) -> Tensor | None:
    """A class 0, 1, ... for each item, where the dataset gives all of them at once, and as its items do."""
    if isinstance(items, Entries):
        names = [k for k in ("label", "labels", "target", "y") if k in items.dataset[0]]
        found, own = _column(items.dataset, names[0]) if names else None, lambda i: items.dataset[i][names[0]]
    elif type(items) is Subset:
        found = _labels(items.dataset)
        return None if found is None else found[list(items.indices)]
    elif type(items) is TensorDataset:
        return _classes(items.tensors[1]) if len(items.tensors) > 1 else None
    else:
        found, own = getattr(items, "targets", None), lambda i: items[i][1]
    found = None if found is None else _classes(found)
    if found is None or len(found) != len(items):
        return None
    try:
        same = all(int(own(i)) == int(found[i]) for i in (0, len(items) - 1))
    except (TypeError, ValueError, LookupError, RuntimeError):
        return None
    return found if same else None


def _column(dataset: Any, key: str) -> Any:
    try:
        return dataset[key]  # as Hugging Face's datasets give a column
    except Exception:  # of a dataset that knows numbers only
        return None


def _classes(values: Any) -> Tensor | None:
    """Values as classes 0, 1, ..., int64 (N,), if they are that, and not numbers of the items themselves."""
    try:
        found = torch.as_tensor(values if isinstance(values, Tensor | np.ndarray) else list(values))
    except (TypeError, ValueError, RuntimeError):
        return None
    whole = found.ndim == 1 and not found.is_floating_point() and not found.is_complex() and found.dtype != torch.bool
    return found.long() if whole and len(found) and 0 <= int(found.min()) <= int(found.max()) < len(found) / 2 else None


def _first(dataset: Any, levels: int | None, part: str) -> tuple[int, ...]:
    """The shape of the first item, once that has been looked at."""
    kind, x = type(dataset).__name__, item(dataset[0])
    if x.ndim == 0 or x.numel() == 0:
        raise InputError(f"{kind} {part} item 0 has shape {tuple(x.shape)}: needs at least one axis, none empty")
    if x.is_complex() or not x.isfinite().all():
        raise InputError(f"{kind} {part} item 0 ({x.dtype}) has NaN, infinite or complex values: must be finite")
    if levels is not None:
        low, high = x.min().item(), x.max().item()
        if x.is_floating_point() or low < 0 or high >= levels:
            held = f"is {x.dtype} with values in {low:g}..{high:g}"
            words = f"{kind} {part} item 0 {held}, must be integers in 0..{levels - 1}"
            raise InputError(f"levels={levels}: {words}", "levels")
    return tuple(x.shape)
