"""What a data set is: items in two splits, the space of their values, and what each item comes with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import InitVar, dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor
from torch.utils.data import Dataset

from ..conditions import Kind, Label
from ..errors import InputError
from ..spaces import Affine, Bins, Space
from . import look
from .items import beside, collate, column, item


@dataclass(frozen=True)
class More:
    """A condition that is made when it is asked for: its values for the items of train and of test, its kind, notes."""

    train: Tensor
    test: Tensor
    kind: Kind
    notes: tuple[str, ...] = ()


def of_parts(
    make: Callable[[], tuple[Tensor, Kind, Iterable[str]]], index: tuple[np.ndarray, np.ndarray]
) -> Callable[[], More]:
    """What gives a condition of the items of two parts, places of rows, of what gives that of all rows."""

    def made() -> More:
        values, kind, notes = make()
        return More(*(values[torch.from_numpy(part)] for part in index), kind, tuple(notes))

    return made


@dataclass(frozen=True)
class Data:
    """Raw items, what each comes with, and how they become the model's x.

    The datasets of images have `names`, a list of the files' paths below the folder, in the order of the items.

    Arguments:
        name: what to call it.
        train, test: datasets of raw tensors of `shape`, or of dicts: that tensor under "x", conditions by their names.
        space: from raw values to the model's space: `Affine`, or `Bins` for the integers 0..levels-1.
        levels: short for `Bins` of that many levels, with the scale and the shift of an `Affine`.
        conditions: what items come with, by name: the kind of each.  A model takes those that it is asked to.
        columns: the names of the entries of an item of shape (D,); None: they have none.
        notes: what was guessed, changed or left out in reading it, a line each.
        judge: of raw items (B, *shape) and their conditions by name, by attribute whether an item is what it was told
            to be, (B,) of 0 to 1, NaN where nothing is said; None: nobody knows.
        more: by name what gives conditions that are made when they are asked for: see `including`.
        codec: what makes of items raw values of something else, as an autoencoder does of latents: its `restored(raw)`
            is what `decode` gives, of its `shape` and `levels`; None: items are what they are.
        origin: with a codec the data that the items were made of, whose raw values it gives.
        buckets: more training items, a dataset for each other shape; a batch of a training is of one shape.  All but
            the training sees `train` and `test` alone.

    Raises:
        InputError: levels is not an integer in 2..65536; an item that lacks one of the conditions.
    """

    name: str
    train: Dataset
    test: Dataset
    space: Space
    levels: InitVar[int | None] = None
    conditions: Mapping[str, Kind] = field(default_factory=dict)
    columns: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    judge: Callable[[Tensor, Mapping[str, Tensor]], Mapping[str, Tensor]] | None = None
    more: Mapping[str, Callable[[], More]] = field(default_factory=dict)
    codec: Any = None
    origin: Data | None = None
    buckets: tuple[Dataset, ...] = ()

    def __post_init__(self, levels: int | None) -> None:
        if levels is not None and isinstance(self.space, Affine):
            object.__setattr__(self, "space", Bins(levels, self.space.scale, self.space.shift))
        object.__setattr__(self, "levels", self.space.levels)
        if "x" in self.conditions:
            raise InputError("a condition cannot be called x, which is the item's own value", "conditions")
        for name, kind in self.conditions.items():
            for split in (self.train, self.test, *self.buckets):
                if len(split):
                    self._check(name, kind, split)

    def _check(self, name: str, kind: Kind, items: Dataset) -> None:
        try:
            kind.rows(name, collate(items, [0], {name: kind}).cond[name], 1)
        except (KeyError, TypeError) as error:
            raise InputError(f"{self.name}: its items have no condition {name}", "conditions") from error

    def including(self, names: Iterable[str]) -> Data:
        """The same data with those of its conditions in `more` that have one of these names; other names are ignored.

        Raises:
            InputError: text without the package `tokenizers`.
        """
        found = {name: self.more[name]() for name in dict.fromkeys(names) if name in self.more}
        if not found:
            return self
        own = lambda part: beside(getattr(self, part), {name: getattr(made, part) for name, made in found.items()})
        kinds = {**self.conditions, **{name: made.kind for name, made in found.items()}}
        rest = {name: make for name, make in self.more.items() if name not in found}
        notes = (*self.notes, *(words for made in found.values() for words in made.notes))
        return replace(self, train=own("train"), test=own("test"), conditions=kinds, more=rest, notes=notes)

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """The shape of one item."""
        return tuple(item(self.train[0]).shape)

    @property
    def outer(self) -> Data:
        """The data whose raw values `decode` gives: its `origin`, or itself."""
        return self if self.origin is None else self.origin

    @cached_property
    def labels(self) -> tuple[Tensor, Tensor] | None:
        """The classes, int64 (N,), of the items of train and of test by the condition "label"; None: some have none."""
        if not isinstance(self.conditions.get("label"), Label):
            return None
        found = tuple(column(part, "label") for part in (self.train, self.test))
        return None if any(bool((y < 0).any()) for y in found) else found

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits of a hash of shape, levels, transform and items: see `look.fingerprint`."""
        return look.fingerprint(self)

    @cached_property
    def counts(self) -> Tensor | None:
        """How often each level is there, float64 (levels,), in up to 8192 training items; None: no levels."""
        return look.counts(self)

    @cached_property
    def log_det(self) -> float:
        r"""$\log |\det \partial x / \partial y|$ in nats, $y$ in the unit cube (levels) or in raw units (no levels)."""
        return self.space.log_det(self.shape)

    def encode(self, raw: Tensor, u: float | Tensor | None = None) -> Tensor:
        """Raw (*, *shape) to the model's space, float32, at u within a bin: see `Affine.encode`, `Bins.encode`."""
        return self.space.encode(raw, u)

    def dequantize(self, raw: Tensor, generator: Generator | None = None) -> Tensor:
        """`encode` of raw (*, *shape), with levels at u ~ U[0, 1) for each element, drawn on the generator's device."""
        return self.space.dequantize(raw, generator)

    def decode(self, x: Tensor) -> Tensor:
        """The inverse of `encode`: see `Affine.decode`, `Bins.decode`; with a codec what that makes of it.

        Raises:
            FloatingPointError: x or what becomes of it is not finite.
        """
        try:
            raw = self.space.decode(x)
            return raw if self.codec is None else self.codec.restored(raw)
        except FloatingPointError as error:
            raise FloatingPointError(str(error).replace("values are", f"values of {self.name} are")) from None
