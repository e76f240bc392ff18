"""Sequences of vectors that a frozen encoder gave, of a text or of anything else."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..settings import LATER, Count, Whole, brief
from .base import Drop, Kind, as_tensor, spread

if TYPE_CHECKING:
    from ..encoders import TextEncoder


@dataclass(frozen=True)
class Features(Kind):
    """Up to `length` vectors of `size` numbers: floating (B, L, E), NaN beyond the end and where all are missing.

    With an encoder texts may be given too; the empty text is a missing one.

    Arguments:
        length: the most vectors of a row, L.
        size: the entries of a vector, E.
        encoder: the name of a frozen encoder of text, as `encoders.text_encoder` takes it; "": there is none.
        weights: the print of its files, where there is one: another encoder of that name is refused.
        layers: of a transformer that reads the vectors before a network does, and is trained with it.
        standardise: whether networks see each number of the vectors, which are normalised first, standardised.
        mean, std: by which, `size` numbers each, those of the training texts.

    Raises:
        InputError: `mean` and `std` of another length, or without `standardise`; a std that is not positive.
    """

    length: Count
    size: Count
    encoder: str = ""
    weights: str = ""
    drop: Drop = 0.1
    layers: Whole = 0
    standardise: Annotated[bool, LATER] = False
    mean: Annotated[tuple[float, ...] | None, LATER] = None
    std: Annotated[tuple[float, ...] | None, LATER] = None

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else tuple(value))
        super().__post_init__()
        for name in ("mean", "std"):
            value = getattr(self, name)
            if (value is not None) != self.standardise or len(value or [0] * self.size) != self.size:
                words = f"give {self.size} numbers with standardise=True, and None without it"
                raise InputError(f"{name}={brief(value)}: {words}", name)
        if min(self.std or [1]) <= 0:
            raise InputError(f"std={brief(self.std)}: give positive numbers", "std")

    def rows(self, name, value, n):
        if isinstance(value, str):
            value = self.encode([value], name)
        elif isinstance(value, Sequence | np.ndarray) and len(value) and all(isinstance(v, str | None) for v in value):
            value = self.encode([v or "" for v in value], name)
        found = as_tensor(name, value, self)
        right = found.is_floating_point() and found.ndim in (2, 3) and found.shape[-1] == self.size
        if not right or not 0 < found.shape[-2] <= self.length:
            raise self._refuse(name, f"is {found.dtype} {tuple(found.shape)}", self.words(n))
        found = spread(name, found, 2, n)
        gone = found.isnan()
        if bool(found.isinf().any()) or bool((gone.any(2) & ~gone.all(2)).any()):
            raise self._refuse(name, "has vectors that are not finite", self.words(n))
        return torch.nn.functional.pad(found, (0, 0, 0, self.length - found.shape[1]), value=math.nan)

    def missing(self, n, device="cpu"):
        return torch.full((n, self.length, self.size), math.nan, device=device)

    def encode(self, texts: Sequence[str], name: str = "text") -> Tensor:
        """The vectors of texts, float32 (n, length, size), NaN beyond the end.

        What is too long is cut, with a warning that has the condition's `name`.

        Raises:
            InputError: there is no encoder, it is not on this machine, or it is another than it was.
        """
        rows = torch.full((len(texts), self.length, self.size), math.nan)
        found = self._encoder(name)(texts)
        long = [i for i, value in enumerate(found) if len(value) > self.length]
        if long:
            words = f"condition {name}={brief(texts[long[0]])} has {len(found[long[0]])} vectors: cut to {self.length}"
            warnings.warn(words + f", and {len(long) - 1} more" * (len(long) > 1), stacklevel=2)
        for row, value in zip(rows, found, strict=True):
            row[: len(value)] = value[: self.length]
        return rows

    def decode(self, rows: Tensor) -> list[str]:
        """The texts whose vectors are `rows` (n, length, size), of those that were encoded; that of none is empty.

        Raises:
            InputError: they are of none of these texts.
        """
        return self._encoder("text").texts(rows)

    def fits(self, other: Kind) -> bool:
        """Whether the `other` is of the same encoder too."""
        return super().fits(other) and isinstance(other, Features) and self.weights == other.weights

    def words(self, n: int) -> str:
        """What is asked for, of n samples."""
        text = f"a text or {n}, or " * bool(self.encoder)
        return f"{text}finite numbers of shape (up to {self.length}, {self.size}), one row or {n}, NaN at the end"

    def _encoder(self, name: str) -> TextEncoder:
        if not self.encoder:
            raise InputError(f"condition {name} has no encoder: give {self.words(1)}", name)
        from ..encoders import text_encoder  # which few models need

        found = text_encoder(self.encoder)
        if self.weights and found.print != self.weights:
            words = f"is {found.print} here, and was {self.weights}: put back the one that the model was trained with"
            raise InputError(f"encoder={self.encoder} {words}", "encoder")
        return found
