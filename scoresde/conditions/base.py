"""What a condition is.  What is missing is written in the tensor itself: -1 in whole numbers, NaN in others."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..settings import Checked, Range, brief

Drop = Annotated[float, Range(0, below=1)]


@dataclass(frozen=True)
class Kind(Checked, ABC):
    """What a condition is: a tensor with a row for each sample, checked once, before any work.

    Arguments:
        drop: of every kind, the chance with which training takes it from a row, so that the model learns to do without
            (classifier-free; Ho, Salimans, 2022, arXiv 2207.12598); 0: it is always there, and may not be missing
            later.
    """

    given: ClassVar[bool] = True  # by data and users; else training makes it for itself
    of_items: ClassVar[bool] = True  # whether items come with it; else users alone give it, and it is never missing

    @abstractmethod
    def rows(self, name: str, value: Any, n: int) -> Tensor:
        """The value as a tensor of n rows.

        Arguments:
            name: that of the condition, for errors.
            value: a tensor, an array, a number or a list, of one row for each sample, or of a single one for all.
            n: the number of samples.

        Returns:
            (n, ...) as the kind has it, -1 or NaN where it is missing.

        Raises:
            InputError: another type, shape or range; it names the condition.
        """

    @abstractmethod
    def missing(self, n: int, device: torch.device | str = "cpu") -> Tensor:
        """n rows, on the device, of which nothing is known."""

    def absent(self, value: Tensor) -> Tensor:
        """Which rows (B,) of a checked value (B, ...) are missing as a whole."""
        gone = value < 0 if not value.is_floating_point() else value.isnan()
        return gone.flatten(1).all(1) if gone.ndim > 1 else gone

    def fits(self, other: Kind) -> bool:
        """Whether values of this kind are what a model of the `other` was told: of one shape, with one meaning."""
        return type(other) is type(self) and other.missing(1).shape == self.missing(1).shape

    def _refuse(self, name: str, what: str, right: str) -> InputError:
        return InputError(f"condition {name} {what}: give {right}", name)


def of_items(kinds: Mapping[str, Kind]) -> dict[str, Kind]:
    """Those of a model's conditions `kinds` that the items of a data set come with."""
    return {name: kind for name, kind in kinds.items() if kind.of_items}


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
    """Rows like those of a value (B, ...) with nothing known: -1 for whole numbers, NaN for others."""
    return torch.full_like(value, math.nan if value.is_floating_point() else -1)


def dropped(value: Tensor, gone: Tensor) -> Tensor:
    """The value (B, ...) with the rows of `gone` (B,), true or false, missing."""
    return torch.where(gone.reshape(-1, *[1] * (value.ndim - 1)), missing_like(value), value)
