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

from ....conditions import Vector
from ....conditions.text import Text
from ....errors import InputError
from ....settings import LATER, Count, OneOf, Range, Seed, brief, checked
from ....spaces import Bins
from ...base import Data
from ...rows import Rows
from .drawing import pictures
from .framing import Framed, Framing, centred, framed, taken
from .reading import follows, placed
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
    micro: Annotated[bool, LATER] = False,
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
        micro: whether they are resized and cropped from originals of other sides, the shapes in the middle of each, and
            come with "size", height and width of the original in its pixels, and "crop", top and left of what is kept,
            in pixels of the original once its shorter side is `size` (Podell et al., 2023, arXiv 2307.01952).  An
            original is square or longer by a half or all of its shorter side, of a half of the picture's pixels, as
            many, or four times as many each way.  The judge says too whether the shapes are whole, and centred.

    Returns:
        A `Data` of bytes (3, size, size).

    Raises:
        InputError: a pair of `unseen` is no colour and shape, or none is left; `tokenizers` is not installed.
    """
    counts = [shapes] if isinstance(shapes, int) else list(shapes)
    if not counts:
        raise InputError("shapes=[]: give one number at least", "shapes")
    known, held = _pairs(unseen)
    frames = [partial(framed, seed=seed, side=size, test=part) if micro else None for part in (False, True)]
    train = Scenes(n, size, partial(drawn, seed=seed, counts=counts, pairs=known), frames[0])
    tested = Scenes(test, size, partial(_mixed, seed=seed, counts=counts, known=known, held=held), frames[1])
    kind = Text.fitted(train.captions(np.arange(min(n, FITTED))))
    kinds = {"caption": kind} | (_micro(train) if micro else {})
    for part in (train, tested):
        part.cond = {"caption": Captions(part, kind)}
        part.cond |= {name: part.framing(name) for name in kinds if name != "caption"}
    judge = partial(_judge, kind, held, micro)
    return Data(f"scenes{size}", train, tested, Bins(256), conditions=kinds, judge=judge)


class Scenes(Rows):
    """n pictures, which are drawn when they are asked for: `draw` gives the scenes of numbers (B,), and `frame`, if it
    is there, how they are taken."""

    def __init__(
        self, n: int, size: int, draw: Callable[[Tensor], Scene], frame: Callable[[Tensor], Framing] | None = None
    ) -> None:
        self.n, self.size, self.draw, self.frame = n, size, draw, frame

    def __len__(self) -> int:
        return self.n

    def rows(self, index: np.ndarray) -> Tensor:
        scene = self.scene(index)
        return pictures(scene, self.size) if self.frame is None else taken(scene, self.frame(_whole(index)), self.size)

    def scene(self, index: np.ndarray | Tensor) -> Scene:
        """What the originals of these numbers hold."""
        scene = self.draw(_whole(index))
        return scene if self.frame is None else centred(scene)

    def framing(self, name: str) -> Framed:
        """What is told of how all are taken: "size" or "crop"."""
        field = {"size": "original", "crop": "crop"}[name]
        return Framed(self.n, lambda index: getattr(self.frame(index), field))

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


def _whole(index: np.ndarray | Tensor) -> Tensor:
    return torch.as_tensor(index)


def _micro(scenes: Scenes) -> dict[str, Vector]:
    """The kinds of what scenes are told of their originals, with the mean and the deviation of the first of them."""
    found = {}
    for name, names in (("size", ("height", "width")), ("crop", ("top", "left"))):
        rows = scenes.framing(name)[torch.arange(min(scenes.n, FITTED))].double()
        std = rows.std(0, correction=0)
        found[name] = Vector(2, rows.mean(0), torch.where(std > 0, std, 1.0), names)
    return found


def _judge(kind: Text, held: Tensor, micro: bool, raw: Tensor, cond: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Which pictures follow their captions (B,), by attribute, and by whether training had what the caption says; and
    which hold their shapes whole, and centred."""
    own = placed(raw) if micro else {}
    return own | (_followed(kind, held, raw, cond) if "caption" in cond or not micro else {})


def _followed(kind: Text, held: Tensor, raw: Tensor, cond: Mapping[str, Tensor]) -> dict[str, Tensor]:
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
