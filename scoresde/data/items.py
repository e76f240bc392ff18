"""Items: what the entries of a data set hold, many at once, and the rows of arrays that may not fit in memory."""

from __future__ import annotations

import mmap
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset, TensorDataset

from ..errors import InputError

IN_MEMORY = 2 * 2**30  # bytes of raw items below which all of them are kept in memory
BLOCK = 2**20  # numbers that are looked at at once
NATIVE = {torch.float32: np.float32, torch.float64: np.float64, torch.uint8: np.uint8, torch.int64: np.int64}


class File:
    """The array of a .npy file, of which `held` is a whole memory map: each look reads its rows anew, and none stay."""

    def __init__(self, held: np.memmap) -> None:
        self.path, self.dtype, self.shape, self.offset = Path(held.filename), held.dtype, held.shape, held.offset
        self.order, self.row = "C" if held.flags.c_contiguous else "F", held[:1].nbytes
        self.stamp = self._stamp()

    def __getitem__(self, index: slice | np.ndarray) -> np.ndarray:
        if self._stamp() != self.stamp:
            raise InputError(f"{self.path} was changed while it was in use: start again")
        if self.order == "F":  # its rows are all over the file
            return np.array(np.memmap(self.path, self.dtype, "r", self.offset, self.shape, "F")[index])
        index = range(*index.indices(len(self))) if isinstance(index, slice) else index.tolist()
        found = np.empty((len(index), *self.shape[1:]), self.dtype)
        runs = [index[0]] if isinstance(index, range) and index else index  # the rows of a slice are one run
        bytes_, size = found.reshape(-1).view(np.uint8), found.nbytes // max(1, len(runs))
        with self.path.open("rb", buffering=0) as file:
            for k, first in enumerate(runs):
                file.seek(self.offset + first * self.row)
                if file.readinto(bytes_[k * size : (k + 1) * size]) != size:
                    raise InputError(f"{self.path} was cut short while it was in use: put it back")
        return found

    def __len__(self) -> int:
        return self.shape[0]

    def _stamp(self) -> tuple[int, int]:
        try:
            found = self.path.stat()
        except OSError as error:
            raise InputError(f"{self.path} cannot be read any more ({error.strerror}): put it back") from error
        return found.st_size, found.st_mtime_ns


class Blocks:
    """The rows (N, *shape) of a tensor, an array, a masked array or a `File`, as numpy arrays, some at a time.

    Arguments:
        held: of N rows.
        channels: where the channels of a row are: "first", "last" (they are moved to the front) or "none" (an axis of
            one is put there).
        columns: the names of the entries of a row of vectors.
    """

    def __init__(self, held, channels: str = "first", columns: tuple[str, ...] | None = None) -> None:
        if isinstance(held, np.memmap) and isinstance(held.base, mmap.mmap):
            held = File(held)
        elif isinstance(held, np.ndarray) and not isinstance(held, np.ma.MaskedArray):
            held = np.asarray(held)  # and no matrix, which has axes of its own mind
        self.held, self.channels, self.columns = held, channels, columns
        self.shape = (len(self), *self._arranged(np.empty((0, *held.shape[1:]))).shape[1:])

    def __len__(self) -> int:
        return self.held.shape[0]

    def __getitem__(self, index: slice | np.ndarray) -> np.ndarray:
        return self._arranged(np.ma.getdata(self._block(index)))

    def with_gaps(self, index: slice | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """These rows, and which of their entries (n, *shape) are missing: masked, or NaN."""
        held = self._block(index)
        block, gaps = (self._arranged(f(held)) for f in (np.ma.getdata, np.ma.getmaskarray))
        return block, gaps | np.isnan(block) if block.dtype.kind == "f" else gaps

    @property
    def eps(self) -> float:
        """The relative distance of neighbouring values of the rows' type; 0 for integers."""
        dtype = self.held.dtype
        if isinstance(dtype, torch.dtype):
            return torch.finfo(dtype).eps if dtype.is_floating_point else 0.0
        return float(np.finfo(dtype).eps) if dtype.kind == "f" else 0.0

    @property
    def dtype(self) -> np.dtype:
        """The type of what `[]` gives."""
        return self[:0].dtype

    def spans(self) -> Iterator[slice]:
        """Slices of rows, one after the other, of about `BLOCK` numbers each."""
        step = max(1, BLOCK // max(1, int(np.prod(self.shape[1:]))))
        return (slice(i, min(i + step, len(self))) for i in range(0, len(self), step))

    def _block(self, index: slice | np.ndarray) -> np.ndarray:
        if isinstance(self.held, Tensor):
            block = self.held[torch.from_numpy(index) if isinstance(index, np.ndarray) else index].detach().cpu()
            small = block.dtype.is_floating_point and block.dtype not in (torch.float16, torch.float32, torch.float64)
            return (block.float() if small else block).resolve_neg().numpy()
        block = self.held[index]
        return block if block.dtype.isnative else block.astype(block.dtype.newbyteorder("="))

    def _arranged(self, block: np.ndarray) -> np.ndarray:
        if block.ndim == 1 or self.channels == "none":
            return block[:, None]
        return np.moveaxis(block, -1, 1) if self.channels == "last" else block


@dataclass(frozen=True)
class Batch:
    """Items together: x (B, *shape), and by name the conditions that they come with, of B rows each."""

    x: Tensor
    cond: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.x)

    def rows(self, index: Tensor | slice) -> Batch:
        """Some of them."""
        return Batch(self.x[index], {name: value[index] for name, value in self.cond.items()})

    def to(self, device: torch.device | str) -> Batch:
        """All tensors there, without waiting where that can be."""
        move = lambda value: value.to(device, non_blocking=True)
        return Batch(move(self.x), {name: move(value) for name, value in self.cond.items()})


class Rows(Dataset, ABC):
    """A dataset that can give many of its items at once; `cond` are tensors of as many rows that they come with."""

    cond: Mapping[str, Tensor] = MappingProxyType({})

    def __getitem__(self, index: int) -> Tensor | dict[str, Tensor]:
        x = self.rows(np.array([index]))[0]
        return {"x": x, **{name: value[index] for name, value in self.cond.items()}} if self.cond else x

    @abstractmethod
    def rows(self, index: np.ndarray) -> Tensor:
        """The items at these places (n,), as one tensor (n, *shape)."""


class Tensors(Rows):
    """The rows of one tensor x (N, *shape), in memory; `names` of the files that they were, if they were files."""

    def __init__(self, x: Tensor, names: list[str] | None = None, cond: Mapping[str, Tensor] | None = None) -> None:
        self.x, self.names, self.cond = x, names, _of_rows(cond, len(x))

    def __len__(self) -> int:
        return len(self.x)

    @property
    def nbytes(self) -> int:
        return self.x.nbytes

    def rows(self, index: np.ndarray) -> Tensor:
        return self.x[torch.from_numpy(index)]


class Mapped(Rows):
    """The rows of `blocks` at the places `index`, as tensors of `dtype`, read when they are asked for."""

    def __init__(self, blocks: Blocks, index: np.ndarray, dtype: torch.dtype, cond: Mapping[str, Tensor]) -> None:
        self.blocks, self.index, self.dtype, self.cond = blocks, index, dtype, cond

    def __len__(self) -> int:
        return len(self.index)

    @property
    def nbytes(self) -> int:
        return len(self) * int(np.prod(self.blocks.shape[1:])) * self.dtype.itemsize

    def rows(self, index: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(self.blocks[self.index[index]], NATIVE[self.dtype]))


class Beside(Dataset):
    """The items of a dataset, with conditions beside them: tensors of as many rows."""

    def __init__(self, items: Dataset, cond: Mapping[str, Tensor]) -> None:
        self.items, self.cond = items, _of_rows(cond, len(items))

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"x": item(self.items[index]), **{name: value[index] for name, value in self.cond.items()}}


def kept(
    blocks: Blocks, parts: tuple[np.ndarray, ...], dtype: torch.dtype, cond: Mapping[str, Tensor] | None = None
) -> list[Rows]:
    """A dataset of `dtype` for each of the parts, places of rows: in memory, or read later where they are large.

    `cond` are conditions of all the rows.
    """
    own = [{name: value[torch.from_numpy(index)] for name, value in (cond or {}).items()} for index in parts]
    size = sum(map(len, parts)) * int(np.prod(blocks.shape[1:])) * dtype.itemsize
    if size > IN_MEMORY:
        return [Mapped(blocks, index, dtype, given) for index, given in zip(parts, own, strict=True)]
    made = [torch.empty(len(index), *blocks.shape[1:], dtype=dtype) for index in parts]
    part, place = np.full(len(blocks), -1, np.int8), np.empty(len(blocks), np.int64)
    for i, index in enumerate(parts):
        part[index], place[index] = i, np.arange(len(index))
    for span in blocks.spans():
        block = np.ascontiguousarray(blocks[span], NATIVE[dtype])
        for i, x in enumerate(made):
            chosen = part[span] == i
            x.numpy()[place[span][chosen]] = block[chosen]
    return [Tensors(x, cond=given) for x, given in zip(made, own, strict=True)]


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
    """The items at `indices` (any sequence of integers) as one tensor (len(indices), *shape), without conditions.

    Raises:
        InputError: an item has another shape than the first of them, or has no tensor (see `item`).
    """
    return collate(dataset, indices).x


def collate(dataset: Dataset, indices, names: Iterable[str] = ()) -> Batch:
    """The items at `indices` (any sequence of integers), with the conditions of these names.

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


def _of_rows(cond: Mapping[str, Tensor] | None, n: int) -> dict[str, Tensor]:
    for name, value in (cond or {}).items():
        if len(value) != n:
            raise InputError(f"{n} items come with {len(value)} rows of {name}: give one for each", name)
    return dict(cond or {})


def _stacked(items: list[Tensor], indices: np.ndarray) -> Tensor:
    for i, x in zip(indices, items, strict=True):
        if x.shape != items[0].shape:
            shapes = f"{tuple(items[0].shape)}, item {i} {tuple(x.shape)}"
            raise InputError(f"the dataset's item {indices[0]} has shape {shapes}: all must have the same")
    return torch.stack(items)


def _chosen(dataset: Rows | Beside, names: Iterable[str], index: np.ndarray) -> dict[str, Tensor]:
    held, place = dataset.cond, torch.from_numpy(index)
    return {name: held[name][place] if name in held else _lacks(name) for name in names}


def _beside(entry, name: str) -> Tensor:
    return torch.as_tensor(entry[name]) if isinstance(entry, Mapping) and name in entry else _lacks(name)


def _lacks(name: str) -> Tensor:
    raise InputError(f"a dataset's items have no condition {name}: give dicts that have it", "conditions")
