"""Items: what the entries of a data set hold, alone and many at once."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset, TensorDataset

from ..errors import InputError
from .rows import Rows, at, of_rows


@dataclass(frozen=True)
class Batch:
    """Items together, x (B, *shape), and by name what they come with, `cond`, tensors of B rows each."""

    x: Tensor
    cond: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.x)

    def rows(self, index: Tensor | slice) -> Batch:
        """Some of them, by their `index`: numbers (b,), a mask or a slice."""
        return Batch(self.x[index], {name: value[index] for name, value in self.cond.items()})

    def to(self, device: torch.device | str) -> Batch:
        """All tensors on a device, without waiting where that can be."""
        move = lambda value: value.to(device, non_blocking=True)
        return Batch(move(self.x), {name: move(value) for name, value in self.cond.items()})


class Beside(Dataset):
    """The items of a dataset, with conditions beside them: tensors of as many rows."""

    def __init__(self, items: Dataset, cond: Mapping[str, Tensor]) -> None:
        self.items, self.cond = items, of_rows(cond, len(items))

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"x": item(self.items[index]), **{name: at(value, index) for name, value in self.cond.items()}}


def beside(items: Dataset, cond: Mapping[str, Tensor]) -> Dataset:
    """A dataset with more conditions beside its items: tensors of as many rows, by name."""
    if isinstance(items, Beside):
        return Beside(items.items, {**items.cond, **cond})
    if not isinstance(items, Rows):
        return Beside(items, cond)
    made = copy.copy(items)
    made.cond = {**items.cond, **of_rows(cond, len(items))}
    return made


def held(items: Dataset, name: str) -> Any:
    """A condition of all items, as it is kept: lazily where they are."""
    return items.cond[name] if isinstance(items, Rows | Beside) else column(items, name)


def item(entry) -> Tensor:
    """The tensor of a dataset's entry: the entry itself, the first of a tuple, or what a dict has under "x".

    Raises:
        InputError: there is no tensor at that place.
    """
    if isinstance(entry, Tensor):
        return entry
    if isinstance(entry, Mapping):
        if "x" not in entry:
            raise InputError(f"a dataset's item is a dict with keys {list(entry)}: the tensor must be under 'x'")
        return item(entry["x"])
    if isinstance(entry, (tuple, list)) and entry:
        return item(entry[0])
    kind = f"{type(entry).__module__}.{type(entry).__name__}".removeprefix("builtins.")
    raise InputError(f"a dataset's item is a {kind}: must be a tensor, a tuple that starts with one or a dict with 'x'")


def stack(dataset: Dataset, indices) -> Tensor:
    """The items of a dataset at `indices` (any sequence of integers) as one tensor, without conditions.

    It is (len(indices), *shape).

    Raises:
        InputError: an item has another shape than the first of them, or has no tensor (see `item`).
    """
    return collate(dataset, indices).x


def collate(dataset: Dataset, indices, names: Iterable[str] = ()) -> Batch:
    """Items of a dataset together.

    Arguments:
        dataset: items by number.
        indices: any sequence of integers.
        names: of the conditions that come with them.

    Returns:
        A `Batch`.

    Raises:
        InputError: an item has another shape than the first of them, has no tensor (see `item`) or lacks a condition.
    """
    indices = np.array(indices.tolist() if isinstance(indices, Tensor) else indices, dtype=np.int64)
    if isinstance(dataset, Rows):
        return Batch(dataset.rows(indices), _chosen(dataset, names, indices))
    if isinstance(dataset, Beside):
        return Batch(collate(dataset.items, indices).x, _chosen(dataset, names, indices))
    if type(dataset) is TensorDataset:
        return Batch(dataset.tensors[0][torch.from_numpy(indices)], {name: _lacks(name) for name in names})
    if type(dataset) is Subset:
        return collate(dataset.dataset, np.asarray(dataset.indices, dtype=np.int64)[indices], names)
    entries = [dataset[i] for i in indices.tolist()]
    cond = {name: torch.stack([_beside(entry, name) for entry in entries]) for name in names}
    return Batch(_stacked([item(entry) for entry in entries], indices), cond)


def column(dataset: Dataset, name: str, index: np.ndarray | None = None) -> Tensor:
    """A condition of all items, or of those at `index`.  Raises `InputError` where they have none of that name."""
    index = np.arange(len(dataset)) if index is None else index
    if isinstance(dataset, Rows | Beside):
        return _chosen(dataset, [name], index)[name]
    if type(dataset) is Subset:
        return column(dataset.dataset, name, np.asarray(dataset.indices, dtype=np.int64)[index])
    return torch.stack([_beside(dataset[i], name) for i in index.tolist()])


def _stacked(items: list[Tensor], indices: np.ndarray) -> Tensor:
    for i, x in zip(indices, items, strict=True):
        if x.shape != items[0].shape:
            shapes = f"{tuple(items[0].shape)}, item {i} {tuple(x.shape)}"
            raise InputError(f"the dataset's item {indices[0]} has shape {shapes}: all must have the same")
    return torch.stack(items)


def _chosen(dataset: Rows | Beside, names: Iterable[str], index: np.ndarray) -> dict[str, Tensor]:
    held, place = dataset.cond, torch.from_numpy(index)
    return {name: at(held[name], place) if name in held else _lacks(name) for name in names}


def _beside(entry, name: str) -> Tensor:
    return torch.as_tensor(entry[name]) if isinstance(entry, Mapping) and name in entry else _lacks(name)


def _lacks(name: str) -> Tensor:
    raise InputError(f"a dataset's items have no condition {name}: give dicts that have it", "conditions")
