"""Arrays: a tensor in memory, or a .npy, .npz or .pt file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from .base import CUBE, Affine, Data, Tensors, raw_dtype
from .checks import check_choice, check_levels, find, reason, split

SUFFIXES = (".npy", ".npz", ".pt")


def array(
    root: str | Path,
    test: float = 0.1,
    seed: int = 0,
    key: str | None = None,
    levels: int | None = None,
    standardize: str | None = "global",
) -> Data:
    """The rows of an array file, (N, *shape); see `from_tensor` for the options not listed.

    Arguments:
        root: a .npy, .npz or .pt file; pickled objects are never loaded.
        key: which array of an .npz, or of a .pt that holds a dict; None: "x" if there is one, otherwise the first.

    Raises:
        InputError: the file is missing, of another kind or unreadable, has no such key; whatever `from_tensor` raises.
    """
    path = find(root, f"give an array file ({', '.join(SUFFIXES)})")
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"data.root={path} has suffix {path.suffix!r}: must be one of {', '.join(SUFFIXES)}")
    return replace(from_tensor(_read(path, key), test, seed, levels, standardize, name=str(path)), name=path.stem)


def from_tensor(
    x: Tensor | np.ndarray,
    test: float = 0.1,
    seed: int = 0,
    levels: int | None = None,
    standardize: str | None = "global",
    name: str = "tensor",
) -> Data:
    """The rows of x (N, *shape), N >= 2, split in two; (N,) becomes (N, 1). Continuous data is kept as float32.

    Arguments:
        test: the test set, a fraction or a count of the rows, drawn by a permutation with `seed`.
        levels: x holds the integers 0..levels-1; None: continuous, whatever the dtype.
        standardize: of continuous data: "global" (one mean and deviation, of the training rows), "feature" (one for
            each entry of an item; constant entries keep their scale) or None (as it is).

    Raises:
        InputError: no rows or no real numbers; NaN or infinite values; levels with float data or with values out of
            range; constant data with "global"; an option out of its range.
    """
    check_levels(levels)
    check_choice("data.standardize", standardize, ("global", "feature", None))
    x = _rows(x, name)
    train, hold = split(len(x), test, seed)
    if levels is None:
        x = _finite(x.to(torch.float32), name)
        return Data(name, Tensors(x[train]), Tensors(x[hold]), standard(x[train], standardize, name))
    if x.is_floating_point():
        raise InputError(f"data.levels={levels}: {name} is {x.dtype}, must be integers: convert it or drop data.levels")
    low, high = int(x.min()), int(x.max())
    if low < 0 or high >= levels:
        raise InputError(f"data.levels={levels}: {name} has values in {low}..{high}, must be in 0..{levels - 1}")
    x = x.to(raw_dtype(levels))
    return Data(name, Tensors(x[train]), Tensors(x[hold]), CUBE, int(levels))


def standard(x: Tensor, how: str | None, name: str) -> Affine:
    r"""$x' = (x - m) / s$ with mean $m$ and deviation $s$, in float64, of the rows x ("global", "feature" or None).

    Raises:
        InputError: all of x is one value and how is "global".
    """
    if how is None:
        return Affine()
    if how == "feature":
        std, mean = torch.std_mean(x.double(), dim=0, correction=0)
        std = torch.where(x.amax(0) == x.amin(0), 1.0, std)
        return Affine(1 / std, -mean / std)
    if x.max() == x.min():
        raise InputError(f"{name}: all training values are {x.max().item():g}: data.standardize=global needs a spread")
    std, mean = (v.item() for v in torch.std_mean(x.double(), correction=0))
    return Affine(1 / std, -mean / std)


def _rows(x: Tensor | np.ndarray, name: str) -> Tensor:
    """x as a tensor (N, *shape) of real numbers with at least one axis after the first and nothing empty."""
    if not isinstance(x, (Tensor, np.ndarray)):
        raise InputError(f"{name} is a {type(x).__name__}: must be a tensor or a numpy array")
    kind = x.dtype.kind if isinstance(x, np.ndarray) else "c" if x.is_complex() else "f"
    if kind not in "biuf":
        raise InputError(f"{name} has dtype {x.dtype}: must be real numbers")
    if isinstance(x, np.ndarray):
        dtype = np.float32 if kind == "f" else np.uint8 if x.dtype == np.uint8 else np.int64
        x = torch.from_numpy(x.astype(dtype, order="C"))
    x = x.detach().cpu()
    if not x.is_floating_point() and x.dtype != torch.uint8:
        x = x.to(torch.int64)  # torch's min and max know no bool or uint16
    if x.ndim == 0 or x.numel() == 0:
        raise InputError(f"{name} has shape {tuple(x.shape)}: must be (N, *shape), N at least 2, no axis empty")
    return x.unsqueeze(1) if x.ndim == 1 else x


def _finite(x: Tensor, name: str) -> Tensor:
    bad = ~x.isfinite().flatten(1)
    if bad.any():
        row = int(bad.any(1).nonzero()[0])
        raise InputError(f"{name}: {int(bad.sum())} values are NaN or infinite, first in row {row}: drop or fill them")
    return x


def _read(path: Path, key: str | None):
    """What the file holds, or what it holds under the key."""
    try:
        if path.suffix.lower() == ".pt":
            held = torch.load(path, map_location="cpu", weights_only=True)
        else:
            held = np.load(path, allow_pickle=False)
        if not isinstance(held, (Mapping, np.lib.npyio.NpzFile)):
            if key is not None:
                raise InputError(f"data.key={key}: {path} holds a single array: drop data.key")
            return held
        keys = list(held.keys())
        if key is None and keys:
            key = "x" if "x" in keys else keys[0]
        if key in keys:
            return held[key]
    except InputError:
        raise
    except Exception as error:  # of numpy, zipfile, zlib, pickle or torch
        raise InputError(f"data.root={path} cannot be read ({reason(error)}): write it again") from error
    raise InputError(f"data.key={key}: {path} has {', '.join(map(str, keys)) or 'no arrays'}: give one of these")
