"""The data set: pictures of shapes, and a sentence for each."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import partial
from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor

from ....conditions.text import Text
from ....errors import InputError
from ....settings import Count, OneOf, Range, Seed, brief, checked
from ....spaces import Bins
from ...base import Data
from ...rows import Rows
from .drawing import pictures
from .reading import follows
from .scene import COLOURS, MOST, SHAPES, Scene, drawn
from .words import captions, told

Pair = Sequence[Annotated[str, OneOf((*COLOURS, *SHAPES))]]
HELD_OUT = (("green", "triangle"), ("red", "star"), ("blue", "ring"), ("yellow", "cross"))
FITTED = 4096  # captions that the tokenizer is fitted to


@checked
def scenes(
    size: Literal[16, 32, 64] = 16,
    shapes: Annotated[int, Range(1, MOST)] | Sequence[Annotated[int, Range(1, MOST)]] = 2,
    n: Count = 200_000,
    test: Count = 2000,
    unseen: Sequence[Pair] = HELD_OUT,
    seed: Seed = 0,
) -> Data:
    """Coloured shapes on white, drawn by rule, each with its "caption": "a small red circle above a large blue square".

    Six shapes, six colours, two sizes, at places where none overlap; the sentence says what is true of the first and of
    each other one.  Nothing is kept: picture i of a seed is drawn when it is asked for, and that of 16 pixels is that
    of 64, made smaller.  `Data.judge` reads pictures, and tells whether they follow their sentences.

    Arguments:
        size: pixels of a side.
        shapes: how many there are, or a list of numbers that are alike often.
        n, test: how many pictures there are to train on and to test with.
        unseen: colours and shapes, as pairs, that are never together in training; every second test picture has one.
        seed: of all.

    Returns:
        A `Data` of bytes (3, size, size).

    Raises:
        InputError: a pair of `unseen` is no colour and shape, or none is left; `tokenizers` is not installed.
    """
    counts = [shapes] if isinstance(shapes, int) else list(shapes)
    if not counts:
        raise InputError("shapes=[]: give one number at least", "shapes")
    known, held = _pairs(unseen)
    train = Scenes(n, size, partial(drawn, seed=seed, counts=counts, pairs=known))
    tested = Scenes(test, size, partial(_mixed, seed=seed, counts=counts, known=known, held=held))
    kind = Text.fitted(train.captions(np.arange(min(n, FITTED))))
    for part in (train, tested):
        part.cond = {"caption": Captions(part, kind)}
    return Data(
        f"scenes{size}", train, tested, Bins(256), conditions={"caption": kind}, judge=partial(_judge, kind, held)
    )


class Scenes(Rows):
    """n pictures, which are drawn when they are asked for; `draw` gives the scenes of numbers (B,)."""

    def __init__(self, n: int, size: int, draw: Callable[[Tensor], Scene]) -> None:
        self.n, self.size, self.draw = n, size, draw

    def __len__(self) -> int:
        return self.n

    def rows(self, index: np.ndarray) -> Tensor:
        return pictures(self.scene(index), self.size)

    def scene(self, index: np.ndarray | Tensor) -> Scene:
        """What the pictures of these numbers hold."""
        return self.draw(torch.as_tensor(index))

    def captions(self, index: np.ndarray | Tensor) -> list[str]:
        """Their sentences."""
        return captions(self.scene(index))


class Captions:
    """The sentences of scenes as tokens (N, L), made when they are asked for: `captions[index]`."""

    def __init__(self, scenes: Scenes, kind: Text) -> None:
        self.scenes, self.kind = scenes, kind

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int | Tensor) -> Tensor:
        index = torch.as_tensor(index)
        found = self.kind.encode(self.scenes.captions(index.reshape(-1)))
        return found.reshape(*index.shape, -1)


def _pairs(unseen: Sequence[Pair]) -> tuple[Tensor, Tensor]:
    """The colours and shapes that training may have together, and those that it may not: (K, 2), (L, 2)."""
    held = []
    for pair in unseen:
        if len(pair) != 2 or pair[0] not in COLOURS or pair[1] not in SHAPES:
            raise InputError(
                f"unseen={brief(list(pair))}: give a colour and a shape, such as [green, triangle]", "unseen"
            )
        held.append((COLOURS.index(pair[0]), SHAPES.index(pair[1])))
    every = itertools.product(range(len(COLOURS)), range(len(SHAPES)))
    known = [pair for pair in every if pair not in held]
    if not known:
        raise InputError("unseen: every colour is held out with every shape: leave some to train on", "unseen")
    as_rows = lambda pairs: torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2)
    return as_rows(known), as_rows(held)


def _mixed(index: Tensor, seed: int, counts: Sequence[int], known: Tensor, held: Tensor) -> Scene:
    """Test scenes: of those with odd numbers each has a pair that training has not."""
    plain = drawn(index, seed, counts, known, stream=1)
    if not len(held):
        return plain
    other, odd = drawn(index, seed, counts, torch.cat([known, held]), held, stream=1), index % 2 == 1
    pick = lambda a, b: torch.where(odd.reshape(-1, *[1] * (a.ndim - 1)), b, a)
    return Scene(*(pick(getattr(plain, f.name), getattr(other, f.name)) for f in fields(Scene)))


def _judge(kind: Text, held: Tensor, raw: Tensor, cond: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Which pictures follow their captions (B,), by attribute, and by whether training had what the caption says."""
    sentences, pairs = kind.decode(cond["caption"]), {(c, s) for c, s in held.tolist()}
    new = torch.tensor([any((c, s) in pairs for _, c, s in told(text).shapes) for text in sentences])
    found, nothing = follows(raw, sentences), torch.tensor(float("nan"))
    if not pairs:
        return found
    split = {"seen": ~new, "unseen": new}
    return {
        f"{name}_{part}": torch.where(rows, value, nothing)
        for part, rows in split.items()
        for name, value in found.items()
    }
