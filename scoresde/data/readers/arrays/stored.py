"""Array files: the array that is x, and what lies beside it, which is read when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ....errors import InputError
from ...checks import reason
from ...rows import IN_MEMORY

Npz = np.lib.npyio.NpzFile  # a mapping too, which reads an array each time that it is asked for it


def read(path: Path, key: str | int | None) -> tuple[Any, dict[str, Callable[[], Any] | str]]:
    """What a .npy, .npz or .pt file holds, or holds under the key, a .npy file as a memory map; and by their names what
    gives the other arrays, or why they do not go with it.

    Raises:
        InputError: it cannot be read, or has no such key.
    """
    held = _held(path)
    if not isinstance(held, Mapping):
        if key is not None:
            raise InputError(f"key={key}: {path} holds a single array: leave key out", "key")
        return held, {}
    keys = list(held.keys())
    if key is None and keys:
        key = "x" if "x" in keys else keys[0]
    found = next((k for k in keys if k == key), next((k for k in keys if str(k) == str(key)), None))
    if found is None:
        words = f"{path} has {', '.join(map(str, keys)) or 'no arrays'}: give one of these"
        raise InputError(f"key={key}: {words}", "key")
    x = _got(path, held, found)
    n = len(x) if getattr(x, "ndim", 0) else 0
    return x, {str(k): _beside(path, held, k, n) for k in keys if k != found}


def _held(path: Path) -> Any:
    try:
        if path.suffix.lower() == ".pt":
            return torch.load(path, map_location="cpu", weights_only=True)
        if path.suffix.lower() == ".npy":
            return _mapped(path)
        return np.load(path, allow_pickle=False)
    except Exception as error:  # of numpy, zipfile, zlib, pickle or torch
        raise _unreadable(path, error) from error


def _got(path: Path, held: Mapping, key: Any) -> Any:
    try:
        return held[key]
    except Exception as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(f"root={path} cannot be read ({reason(error)}): write it again", "root")


def _mapped(path: Path) -> np.ndarray:
    """A memory map of a .npy file; what cannot be mapped is read."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError):  # empty, or on a file system without maps; what is wrong with it is said again
        return np.load(path, allow_pickle=False)


def _beside(path: Path, held: Mapping, key: Any, n: int) -> Callable[[], Any] | str:
    """What gives another array of the file, or why it cannot have a row of it for each of n items."""
    if isinstance(held, Npz):
        try:
            shape, kind = _header(held, str(key))
        except Exception as error:
            raise _unreadable(path, error) from error
        if kind.hasobject:
            return "pickled objects"
        nbytes = int(np.prod(shape)) * kind.itemsize
    else:
        value = held[key]
        if isinstance(value, list | tuple) and len(value) == n:  # of words, or of numbers
            return partial(_got, path, held, key)
        if not isinstance(value, Tensor | np.ndarray):
            return f"a {type(value).__name__}"
        shape, nbytes = tuple(value.shape), value.nbytes
    if not shape or shape[0] != n:
        return f"{shape[0]} row{'s' * (shape[0] != 1)}" if shape else "a single value"
    return f"{nbytes / 2**30:.1f} GiB" if nbytes > IN_MEMORY else partial(_got, path, held, key)


def _header(held: Npz, key: str) -> tuple[tuple[int, ...], np.dtype]:
    """The shape and the type of an array of an .npz, which is not read for it."""
    name = key if key in held.zip.namelist() else f"{key}.npy"
    with held.zip.open(name) as file:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
        if read is not None:
            shape, _, kind = read(file)
            return shape, kind
    return held[key].shape, held[key].dtype
