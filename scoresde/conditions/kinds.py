"""The kinds of conditions.  What is missing is written in the tensor itself: -1 in whole numbers, NaN in others."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..settings import Checked, Count, Range, brief, nearest

Drop = Annotated[float, Range(0, below=1)]


@dataclass(frozen=True)
class Kind(Checked, ABC):
    """What a condition is: a tensor with a row for each sample, checked once, before any work.

    `drop` is the chance with which training takes it from a row, so that the model learns to do without
    (classifier-free; Ho, Salimans, 2022, arXiv 2207.12598); 0: it is always there, and may not be missing later.
    """

    @abstractmethod
    def rows(self, name: str, value: Any, n: int) -> Tensor:
        """The value as a tensor of n rows; a single one is that of all rows.

        Raises `InputError`, which names the condition, for another type, shape or range.
        """

    @abstractmethod
    def missing(self, n: int, device: torch.device | str = "cpu") -> Tensor:
        """n rows of which nothing is known."""

    def absent(self, value: Tensor) -> Tensor:
        """Which rows (B,) of checked values are missing as a whole."""
        gone = value < 0 if not value.is_floating_point() else value.isnan()
        return gone.flatten(1).all(1) if gone.ndim > 1 else gone

    def _refuse(self, name: str, what: str, right: str) -> InputError:
        return InputError(f"condition {name} {what}: give {right}", name)


@dataclass(frozen=True)
class Label(Kind):
    """One of `classes` classes: int64 (B,), -1 where it is missing.  Classes may have `names`, and be given by them.

    Raises `InputError` for another number of names than classes.
    """

    classes: Count
    names: tuple[str, ...] | None = None
    drop: Drop = 0.1

    def __post_init__(self) -> None:
        if self.names is not None:
            object.__setattr__(self, "names", tuple(map(str, self.names)))
        super().__post_init__()
        if self.names is not None and len(self.names) != self.classes:
            raise InputError(f"names={brief(self.names)}: give one for each of {self.classes} classes", "names")

    def rows(self, name, value, n):
        value = self._numbers(name, value)
        found = as_tensor(name, value, self)
        whole = not found.is_floating_point() and not found.is_complex() and found.dtype != torch.bool
        if not whole or found.ndim > 1:
            raise self._refuse(name, f"is {found.dtype} {tuple(found.shape)}", self.words(n))
        found = spread(name, found, 0, n)
        low, high = (int(found.min()), int(found.max())) if n else (0, 0)
        if low < -1 or high >= self.classes:
            raise self._refuse(name, f"has a class {low if low < -1 else high}", self.words(n))
        return found.long()

    def missing(self, n, device="cpu"):
        return torch.full((n,), -1, device=device)

    def words(self, n: int) -> str:
        """What is asked for."""
        return f"whole numbers 0..{self.classes - 1} (or -1, missing), one or {n}"

    def _numbers(self, name: str, value: Any) -> Any:
        if isinstance(value, str):
            return self._number(name, value)
        if isinstance(value, Sequence) and any(isinstance(v, str) for v in value):
            return [self._number(name, v) if isinstance(v, str) else v for v in value]
        return value

    def _number(self, name: str, word: str) -> int:
        known = self.names or ()
        if word in known:
            return known.index(word)
        tip = nearest(word, known) if known else "; its classes have no names: give numbers"
        raise InputError(f"condition {name}={word!r} is none of its classes{tip}", name)


@dataclass(frozen=True)
class Vector(Kind):
    """`size` numbers: floating (B, size), NaN entry by entry where they are missing.

    `mean` and `std` (each () or of `size` entries) are those of the data: networks see (value - mean) / std.  The
    entries may have `names`.
    """

    size: Count
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    names: tuple[str, ...] | None = None
    drop: Drop = 0.1

    def __post_init__(self) -> None:
        for field in ("mean", "std", "names"):
            value = getattr(self, field)
            if value is not None and not isinstance(value, str):
                value = value.tolist() if hasattr(value, "tolist") else value
                object.__setattr__(self, field, tuple(value))
        super().__post_init__()
        for field in ("mean", "std", "names"):
            value = getattr(self, field)
            if value is not None and len(value) != self.size:
                raise InputError(f"{field} has {len(value)} entries: give {self.size}, as size says", field)
        if self.std is not None and not all(s > 0 for s in self.std):
            raise InputError(f"std={brief(self.std)}: give numbers above 0", "std")

    def rows(self, name, value, n):
        found = as_tensor(name, value, self)
        found = found.double() if not found.is_floating_point() and not found.is_complex() else found
        if found.ndim == 1 and self.size == 1 and len(found) == n:
            found = found[:, None]
        if found.ndim == 0 and self.size == 1:
            found = found[None]
        if found.is_complex() or found.ndim not in (1, 2) or found.shape[-1] != self.size:
            raise self._refuse(name, f"is {found.dtype} {tuple(found.shape)}", self.words(n))
        found = spread(name, found, 1, n)
        if bool(found.isinf().any()):
            raise self._refuse(name, "has infinite values", self.words(n))
        return found

    def missing(self, n, device="cpu"):
        return torch.full((n, self.size), math.nan, device=device)

    def words(self, n: int) -> str:
        """What is asked for."""
        return f"finite numbers of shape ({self.size},) or ({n}, {self.size}), NaN where they are missing"


@dataclass(frozen=True)
class Picture(Kind):
    """Channels (C, *space) of any resolution: floating (B, C, *space), NaN pixel by pixel where they are missing.

    `shape` is that of the data's own; values are in the model's space, about -1 to 1.
    """

    shape: tuple[Count, ...]
    drop: Drop = 0.1

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(self.shape))
        super().__post_init__()
        if len(self.shape) < 2:
            raise InputError(f"shape={self.shape}: give (channels, *space)", "shape")

    def rows(self, name, value, n):
        found = as_tensor(name, value, self)
        axes = len(self.shape)
        right = found.is_floating_point() and found.ndim in (axes, axes + 1) and found.shape[-axes] == self.shape[0]
        if not right or 0 in found.shape:
            raise self._refuse(name, f"is {found.dtype} {tuple(found.shape)}", self.words(n))
        found = spread(name, found, axes, n)
        if bool(found.isinf().any()):
            raise self._refuse(name, "has infinite values", self.words(n))
        return found

    def missing(self, n, device="cpu"):
        return torch.full((n, *self.shape), math.nan, device=device)

    def words(self, n: int) -> str:
        """What is asked for."""
        space = ", ".join(["any"] * (len(self.shape) - 1))
        return f"finite numbers of shape ({self.shape[0]}, {space}) or {n} rows of it, NaN where pixels are missing"


@dataclass(frozen=True)
class Tokens(Kind):
    """Up to `length` tokens of a `vocabulary`: int64 (B, L), -1 beyond the end and where all are missing."""

    length: Count
    vocabulary: Count
    drop: Drop = 0.1

    def rows(self, name, value, n):
        found = as_tensor(name, value, self)
        whole = not found.is_floating_point() and not found.is_complex() and found.dtype != torch.bool
        if not whole or found.ndim not in (1, 2) or not 0 < found.shape[-1] <= self.length:
            raise self._refuse(name, f"is {found.dtype} {tuple(found.shape)}", self.words(n))
        found = spread(name, found, 1, n).long()
        low, high = (int(found.min()), int(found.max())) if n else (0, 0)
        if low < -1 or high >= self.vocabulary:
            raise self._refuse(name, f"has a token {low if low < -1 else high}", self.words(n))
        return torch.nn.functional.pad(found, (0, self.length - found.shape[1]), value=-1)

    def missing(self, n, device="cpu"):
        return torch.full((n, self.length), -1, device=device)

    def words(self, n: int) -> str:
        """What is asked for."""
        return f"whole numbers 0..{self.vocabulary - 1} of shape (up to {self.length},), one row or {n}, -1 at the end"


KINDS: dict[str, type[Kind]] = {"label": Label, "vector": Vector, "picture": Picture, "tokens": Tokens}


def as_tensor(name: str, value: Any, kind: Kind) -> Tensor:
    """A tensor of a tensor, an array, a number or a list of them.  Raises `InputError`."""
    if isinstance(value, Tensor):
        return value
    try:
        if isinstance(value, Integral | Real | np.ndarray | Sequence) and not isinstance(value, str):
            return torch.as_tensor(np.asarray(value))
    except (TypeError, ValueError, RuntimeError):
        pass
    raise InputError(f"condition {name}={brief(value)}: give a tensor, {kind.words(1)}", name)


def spread(name: str, value: Tensor, axes: int, n: int) -> Tensor:
    """n rows of a value of which each has so many `axes`: itself, or a single one for all.  Raises `InputError`."""
    if value.ndim == axes:
        value = value[None]
    if len(value) == 1:
        return value.expand(n, *value.shape[1:])
    if len(value) != n:
        raise InputError(f"condition {name} has {len(value)} rows: it needs one row for each of {n} samples", name)
    return value


def missing_like(value: Tensor) -> Tensor:
    """The same rows with nothing known: -1 for whole numbers, NaN for others."""
    return torch.full_like(value, math.nan if value.is_floating_point() else -1)


def dropped(value: Tensor, gone: Tensor) -> Tensor:
    """The values with the rows of `gone` (B,) missing."""
    return torch.where(gone.reshape(-1, *[1] * (value.ndim - 1)), missing_like(value), value)
