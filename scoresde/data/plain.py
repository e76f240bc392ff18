"""Values of any kind as what a condition can be made of: a tensor of real numbers, or an array of words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..conditions import Kind


class Unfit(ValueError):
    """Why values cannot be a condition."""


@dataclass(frozen=True)
class Value:
    """What lies beside items: numbers or words, whether gaps are marked, and the kind that came with them."""

    held: Tensor | np.ndarray
    gaps: bool
    kind: Kind | None


def value_of(name: str, get: Callable[[], Any] | str, n: int) -> Value:
    """What something gives for n items, alone or with its kind; or the reason why it gives nothing.

    Raises:
        Unfit: it can be no condition.
    """
    if isinstance(get, str):
        raise Unfit(get)
    if name == "x":
        raise Unfit("that name is the item's own")
    value, kind = get(), None
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], Kind):
        value, kind = value
    value, gaps = as_plain(value)
    if not value.ndim or len(value) != n:
        raise Unfit(f"{len(value)} rows for {n} items" if value.ndim else "a single value")
    if 0 in value.shape:
        raise Unfit(f"shape {tuple(value.shape)}")
    return Value(value, gaps, kind)


def as_plain(value: Any) -> tuple[Tensor | np.ndarray, bool]:
    """Real numbers as a tensor on the CPU, words as an array of `str`, "" where there is none; and whether values that
    are missing are marked otherwise than by -1 or NaN, as in a masked array: they are NaN then.

    Raises:
        Unfit: it is neither.
    """
    if isinstance(value, Tensor):
        return _of_tensor(value), False
    if isinstance(value, list | tuple):
        value = _of_list(value)
    if not isinstance(value, np.ndarray):
        raise Unfit(f"a {type(value).__name__}")
    if isinstance(value, np.ma.MaskedArray) and np.ma.getmaskarray(value).any() and value.dtype.kind in "biuf":
        return _of_numbers(value.astype(np.float64).filled(np.nan)), True
    value = np.ma.getdata(value) if isinstance(value, np.ma.MaskedArray) else np.asarray(value)
    if value.dtype.kind == "O":
        return _of_objects(value)
    if value.dtype.kind in "US":
        return _of_words(value), False
    return _of_numbers(value), False


def _of_tensor(value: Tensor) -> Tensor:
    if value.layout is not torch.strided or value.is_complex() or value.is_quantized or value.is_meta:
        raise Unfit(str(value.dtype if value.layout is torch.strided else value.layout))
    value = value.detach().cpu()
    return value if value.is_floating_point() else value.long()


def _of_list(value: list | tuple) -> np.ndarray:
    words = any(isinstance(v, str) or v is None for v in value)
    try:
        return np.asarray(value, dtype=object if words else None)
    except ValueError:
        raise Unfit("rows of different lengths") from None


def _of_numbers(value: np.ndarray) -> Tensor:
    if value.dtype.kind not in "biuf":
        raise Unfit(str(value.dtype))
    if value.dtype.kind == "f":
        kind = {2: np.float32, 4: np.float32}.get(value.dtype.itemsize, np.float64)
    else:
        kind = np.float64 if value.dtype == np.uint64 and value.size and int(value.max()) >= 2**63 else np.int64
    return torch.from_numpy(np.ascontiguousarray(value, kind).reshape(value.shape))


def _of_words(value: np.ndarray) -> np.ndarray:
    if value.ndim != 1:
        raise Unfit(f"text of shape {value.shape}")
    return np.array([_decoded(v) for v in value.tolist()], dtype=object)


def _decoded(word: str | bytes) -> str:
    if isinstance(word, str):
        return word
    try:
        return word.decode()
    except UnicodeDecodeError:
        return word.decode("latin-1")


def _of_objects(value: np.ndarray) -> tuple[Tensor | np.ndarray, bool]:
    """Numbers, or words, of a column that may have gaps."""
    if value.ndim != 1:
        raise Unfit(f"objects of shape {value.shape}")
    known = [v for v in value if not _gap(v)]
    if known and all(isinstance(v, str | bytes) for v in known):
        return np.array(["" if _gap(v) else _decoded(v) for v in value], dtype=object), False
    if odd := [v for v in known if not isinstance(v, Real | Decimal)]:
        raise Unfit(f"a {type(odd[0]).__name__}")
    if len(known) == len(value) and all(isinstance(v, int) and abs(v) < 2**63 for v in known):
        return torch.tensor([int(v) for v in known]), False
    return torch.tensor([np.nan if _gap(v) else float(v) for v in value], dtype=torch.float64), True


def _gap(v: Any) -> bool:
    return v is None or type(v).__name__ in ("NAType", "NaTType") or (isinstance(v, float) and v != v)
