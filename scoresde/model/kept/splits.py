"""Tensors that a model gave of all items of a data set, in one file for the next time."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...machine import files

Splits = tuple[Tensor, Tensor]


def splits(path: Path | None, shapes: Sequence[tuple[int, ...]], make: Callable[[], Splits]) -> Splits:
    """Those of train and test, float32, of the file `path` if they are there in these shapes; else made, and written.

    None as a path: made, and kept nowhere.
    """
    if path is None:
        return make()
    found = _read(path, shapes)
    if found is None:
        found, buffer = make(), io.BytesIO()
        np.savez(buffer, train=found[0].numpy(), test=found[1].numpy())
        files.write(path, lambda file: file.write(buffer.getvalue()))
    return found


def _read(path: Path, shapes: Sequence[tuple[int, ...]]) -> Splits | None:
    try:
        with files.reading(path) as file, np.load(file, allow_pickle=False) as held:
            found = tuple(torch.from_numpy(held[name]) for name in ("train", "test"))
    except Exception:  # not there, or not whole: made again
        return None
    right = all(tuple(x.shape) == shape and x.dtype == torch.float32 for x, shape in zip(found, shapes, strict=True))
    return found if right else None
