"""What a view is, and a data set whose items come with one."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ...conditions import Picture
from ...conditions.base import Drop
from ...errors import InputError
from ...noise import Stream, uniform
from ...settings import Checked, Seed, Text, checked
from ...spaces import Space
from ..base import Data
from ..items import column, stack
from ..rows import Rows


@dataclass(frozen=True)
class View(Checked, ABC):
    """A picture of an item.  A new one is a frozen dataclass with its own `of` and `__call__`."""

    levels: ClassVar[bool] = False  # whether items must have levels, whose values are -1 to 1
    draws: ClassVar[bool] = False  # whether (seed, index) matter

    @abstractmethod
    def of(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape (C', *space') of the view of items of a shape (C, *space).

        Raises `InputError` for items that have no such view.
        """

    @abstractmethod
    def __call__(self, x: Tensor, index: Tensor, seed: int) -> Tensor:
        """The views of some items, each a function of itself and of its own (seed, index).

        Arguments:
            x: (B, C, *space), in the model's space.
            index: (B,), the items' numbers, no two alike in both splits of a data set.
            seed: of what is drawn, if anything is.

        Returns:
            (B, C', *space'), in the model's space, NaN where nothing is seen.
        """


class Choice(IntEnum):
    """What a view draws of an item: each has numbers of its own."""

    VIEW = 0
    KIND = 1
    PLACE = 2
    STROKES = 3
    BORDER = 4
    QUALITY = 5


def numbers(index: Tensor, size: int, seed: int, choice: Choice) -> Tensor:
    """`size` uniform numbers in (0, 1) for each of the items `index` (B,), functions of (seed, index): (B, size)."""
    return uniform(torch.empty(len(index), size), index, seed, *Stream.VIEW(int(choice)))


def put_back(x: Tensor, seen: Tensor) -> Tensor:
    """Samples with what is known of them as it is known: the pixels of `seen` that are there.

    It acts on rows of which some pixels are missing, as with `Hole` and `Border`: those of other views are of another
    kind than the item, and stay as they were drawn.

    Arguments:
        x: samples (B, C, *space).
        seen: what the model was told, (B, C, *space), NaN where nothing is known.

    Returns:
        (B, C, *space).

    Raises:
        InputError: a view of another shape.
    """
    if x.shape != seen.shape:
        raise InputError(f"seen is {tuple(seen.shape)}: give one pixel for each of samples {tuple(x.shape)}", "seen")
    gone = seen.isnan()
    holes = gone.flatten(1).any(1).reshape(-1, *[1] * (x.ndim - 1))
    return torch.where(holes & ~gone, seen.to(x), x)


@checked
def viewed(data: Data, view: View, name: Text = "seen", seed: Seed = 0, drop: Drop = 0.0, redraw: bool = True) -> Data:
    """A data set whose items come with one condition more, a `Picture` that is their view.

    Arguments:
        data: of items (C, *space); of values with levels the view is that of the middle of their bins.
        view: what is seen of an item.
        name: of the condition.
        seed: of what the view draws.
        drop: the chance with which training takes the picture away; 0: a model is always told it.
        redraw: a training sees each item by other numbers at every step (`redrawn`); else always by its own, as
            whoever reads the items does.

    Returns:
        A `Data`.

    Raises:
        InputError: items without such a view, with a condition of that name, or of several shapes; latents, which are
            no pictures.
    """
    if data.codec is not None:
        words = f"{view}: is of pictures, and the items of {data.name} are latents of them: leave it out"
        raise InputError(words, "view")
    if view.levels and data.levels is None:
        raise InputError(f"{view}: is of bytes, and the values of {data.name} have no levels: say levels=256", "view")
    if name in data.conditions:
        raise InputError(f"name={name!r}: the items of {data.name} come with a {name} already: give another", "name")
    if data.buckets:
        raise InputError(f"a view is of items of one shape, and {data.name} has several: say aspect=1", "view")
    kinds = {**data.conditions, name: Picture(view.of(data.shape), drop)}
    parts, start = [], 0
    for items in (data.train, data.test):
        known = {k: _Told(items, k) for k in data.conditions}
        parts.append(Viewed(items, {**known, name: _Seen(items, view, data.space, seed, start, redraw)}))
        start += len(items)
    return dataclasses.replace(data, train=parts[0], test=parts[1], conditions=kinds)


def redrawn(items: Dataset, raw: Tensor, cond: Mapping[str, Tensor], size: int, part: slice) -> dict[str, Tensor]:
    """Conditions of some items whose views are drawn anew, by torch's generator: for a step of a training.

    Arguments:
        items: which they are of, with views or without.
        raw: those items (b, *shape).
        cond: what they come with, b rows of each.
        size: of the whole batch, over all processes.
        part: which rows of it these are.

    Returns:
        b rows of each.
    """
    found = dict(cond)
    for name, seen in items.cond.items() if isinstance(items, Viewed) else ():
        if isinstance(seen, _Seen) and seen.redraw and seen.view.draws and name in cond:
            index = torch.randint(1 << 31, (size,))[part]
            found[name] = seen.view(seen.space.encode(raw), index, seen.seed)
    return found


class Viewed(Rows):
    """Items, and what they come with, columns that are computed when rows of them are asked for."""

    def __init__(self, items: Dataset, cond: Mapping[str, _Column]) -> None:
        self.items, self.cond, self.names = items, dict(cond), getattr(items, "names", None)

    def __len__(self) -> int:
        return len(self.items)

    def rows(self, index: np.ndarray) -> Tensor:
        return stack(self.items, index)


@dataclass(frozen=True)
class _Column(ABC):
    """Rows of some items, computed when they are asked for, in the way of a tensor."""

    items: Dataset

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int | slice | Tensor | np.ndarray) -> Tensor:
        if isinstance(index, int | np.integer):
            return self.of(np.array([index]) % len(self))[0]
        return self.of(np.arange(len(self))[index.numpy() if isinstance(index, Tensor) else index])

    @abstractmethod
    def of(self, index: np.ndarray) -> Tensor:
        """The rows of the items at `index` (n,)."""


@dataclass(frozen=True)
class _Told(_Column):
    """A condition that the items have."""

    name: str

    @property
    def large(self) -> bool:
        """Whether all of its values are more than are read at once."""
        return bool(getattr(getattr(self.items, "cond", {}).get(self.name), "large", False))

    def of(self, index):
        return column(self.items, self.name, index)


@dataclass(frozen=True)
class _Seen(_Column):
    """A view of the items, of which the first has the number `start`."""

    large: ClassVar[bool] = True  # as many numbers as the items

    view: View
    space: Space
    seed: int
    start: int
    redraw: bool

    def of(self, index):
        return self.view(self.space.encode(stack(self.items, index)), torch.from_numpy(self.start + index), self.seed)
