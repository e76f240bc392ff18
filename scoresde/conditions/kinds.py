"""The four kinds of conditions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch

from ..errors import InputError
from ..settings import LATER, Count, Whole, brief, nearest
from .base import Drop, Kind, as_tensor, spread


@dataclass(frozen=True)
class Label(Kind):
    """One of `classes` classes: int64 (B,), -1 where it is missing.

    Arguments:
        classes: their number.
        names: one for each, by which classes may be given too.

    Raises:
        InputError: another number of names than classes.
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
        """What is asked for, of n samples."""
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

    Arguments:
        size: the number of entries.
        mean, std: those of the data, `size` numbers each: networks see (value - mean) / std.
        names: of the entries.

    Raises:
        InputError: mean, std or names of another length; a std that is not positive.
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
        """What is asked for, of n samples."""
        return f"finite numbers of shape ({self.size},) or ({n}, {self.size}), NaN where they are missing"


@dataclass(frozen=True)
class Picture(Kind):
    """Channels (C, *space) of any resolution: floating (B, C, *space), NaN pixel by pixel where they are missing.

    Values are in the model's space, about -1 to 1.

    Arguments:
        shape: (C, *space) of the data's own.

    Raises:
        InputError: a shape without space.
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
        """What is asked for, of n samples."""
        space = ", ".join(["any"] * (len(self.shape) - 1))
        return f"finite numbers of shape ({self.shape[0]}, {space}) or {n} rows of it, NaN where pixels are missing"


@dataclass(frozen=True)
class Tokens(Kind):
    """Up to `length` tokens of a `vocabulary`: int64 (B, L), -1 beyond the end and where all are missing.

    Arguments:
        length: the most tokens of a row, L.
        vocabulary: how many tokens there are, 0..vocabulary-1.
        layers: of a transformer that reads them before a network does, and is trained with it.
    """

    length: Count
    vocabulary: Count
    drop: Drop = 0.1
    layers: Annotated[Whole, LATER] = 0

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
        """What is asked for, of n samples."""
        return f"whole numbers 0..{self.vocabulary - 1} of shape (up to {self.length},), one row or {n}, -1 at the end"
