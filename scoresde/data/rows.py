"""Rows of tensors and of arrays that may not fit in memory, some at a time, and the datasets that they make."""

from __future__ import annotations

import mmap
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

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


class Rows(Dataset, ABC):
    """A dataset that can give many of its items at once; `cond` are tensors of as many rows that they come with."""

    cond: Mapping[str, Tensor] = MappingProxyType({})

    def __getitem__(self, index: int) -> Tensor | dict[str, Tensor]:
        x = self.rows(np.array([index]))[0]
        return {"x": x, **{name: at(value, index) for name, value in self.cond.items()}} if self.cond else x

    @abstractmethod
    def rows(self, index: np.ndarray) -> Tensor:
        """The items at the places `index` (n,), as one tensor (n, *shape)."""


class Tensors(Rows):
    """The rows of one tensor, in memory.

    Arguments:
        x: (N, *shape).
        names: of the files that they were, if they were files.
        cond: what they come with, tensors of N rows by name.
    """

    def __init__(self, x: Tensor, names: list[str] | None = None, cond: Mapping[str, Tensor] | None = None) -> None:
        self.x, self.names, self.cond = x, names, of_rows(cond, len(x))

    def __len__(self) -> int:
        return len(self.x)

    @property
    def nbytes(self) -> int:
        """The bytes of x."""
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


def at(value: Tensor, index: int | Tensor) -> Tensor:
    """Rows of a condition; whole numbers, which may be kept narrow, as int64."""
    found = value[index]
    return found if found.is_floating_point() else found.long()


def of_rows(cond: Mapping[str, Tensor] | None, n: int) -> dict[str, Tensor]:
    for name, value in (cond or {}).items():
        if len(value) != n:
            raise InputError(f"{n} items come with {len(value)} rows of {name}: give one for each", name)
    return dict(cond or {})
