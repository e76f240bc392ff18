"""Figures of single examples, kept on disk in parts: scoring that was cut off goes on where it was."""

import io
import itertools
import shutil
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...machine import files


class Examples:
    """Columns of figures or of items for the examples 0 to n - 1, in files folder/START.npz of consecutive examples.

    A part that cannot be read, or has other examples than 0 to n - 1, counts as not done.
    """

    def __init__(self, folder: Path, n: int):
        self.folder, self.n = folder, n

    def put(self, start: int, columns: dict[str, Tensor]) -> None:
        """Keeps the figures (B,) of the examples start, start + 1, ..."""
        write_columns(self.folder / f"{start}.npz", columns)

    def missing(self, done: dict[int, dict[str, Tensor]] | None = None) -> list[int]:
        """The examples that have no figures yet, in order."""
        parts = self._parts() if done is None else done
        there = {i for start, part in parts.items() for i in range(start, start + len(next(iter(part.values()))))}
        return [i for i in range(self.n) if i not in there]

    def all(self) -> dict[str, Tensor]:
        """Every column (n, ...).  Raises `RuntimeError` if examples are missing."""
        parts = self._parts()
        if self.missing(parts):
            raise RuntimeError(f"{self.folder}: {len(self.missing(parts))} of {self.n} examples have no figures")
        columns: dict[str, Tensor] = {}
        for start, part in parts.items():
            for name, values in part.items():
                whole = columns.setdefault(name, values.new_zeros(self.n, *values.shape[1:]))
                whole[start : start + len(values)] = values
        return columns

    def remove(self) -> None:
        """Removes the parts."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _parts(self) -> dict[int, dict[str, Tensor]]:
        parts = {}
        for path in self.folder.glob("[0-9]*.npz"):
            try:
                with files.reading(path) as data, np.load(data) as file:
                    part = {name: torch.from_numpy(file[name]) for name in file.files}
                start, lengths = int(path.stem), {len(values) for values in part.values()}
            except Exception:  # numpy and its zip reader raise what they happen to raise
                continue
            if len(lengths) == 1 and start + lengths.pop() <= self.n:
                parts[start] = part
        return dict(sorted(parts.items()))


def write_columns(path: Path, columns: dict[str, Tensor]) -> None:
    """Writes an .npz, as a whole or not at all."""
    buffer = io.BytesIO()
    np.savez(buffer, **{name: values.cpu().numpy() for name, values in columns.items()})
    files.write(path, lambda file: file.write(buffer.getvalue()))


def batches(examples: list[int], size: int) -> list[range]:
    """Consecutive examples, at most `size` together."""
    runs = itertools.groupby(enumerate(examples), lambda pair: pair[1] - pair[0])
    ranges = (range((held := [i for _, i in run])[0], held[-1] + 1) for _, run in runs)
    return [r[i : i + size] for r in ranges for i in range(0, len(r), size)]
