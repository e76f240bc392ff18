"""Data whose texts a frozen encoder has read."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ...conditions import Features, Text
from ...errors import InputError
from ...settings import Count, Whole, checked, nearest
from ...settings import Text as Filled
from ..base import Data
from ..items import beside, column

MOST = 64  # vectors of a text that are kept at most, unless a length is said
SPARE = 4  # vectors beyond those of the longest text
BLOCK = 4096  # items whose texts are read at once
LEAST = 1e-3  # the deviation of a number that hardly varies
Names = Annotated[Sequence[str] | None, "a list of names, or None for all that are text"]


@checked
def encoded(
    data: Data,
    encoder: Filled,
    names: Names = None,
    length: Count | None = None,
    layers: Whole = 0,
    weights: str = "",
    standardise: bool = False,
) -> Data:
    """Data whose conditions of text are the vectors that a frozen encoder gives, kept on disk for the next time.

    Every different text of all items is encoded once, before this returns.

    Arguments:
        data: with conditions that are `Text`, also in `Data.more`.
        encoder: a folder, an installed package or OWNER/NAME of the hub's cache: see `encoders.TextEncoder`.
        names: the conditions; None: all that are text.
        length: the most vectors of a text; None: 4 more than the longest has, up to 64.
        layers: of a transformer that reads them, trained with the network.
        weights: the print of the encoder's files, where it is known: another one is refused.
        standardise: whether networks see the vectors' numbers standardised, by the training texts.

    Returns:
        A `Data`; of its `judge` the texts are found again.

    Raises:
        InputError: a condition that is no text, or not there; the encoder is not on this machine, cannot be read, or is
            another; `transformers` is not installed.
    """
    names = [name for name, kind in data.conditions.items() if isinstance(kind, Text)] if names is None else names
    data = data.including(names)
    if wrong := [name for name in names if not isinstance(data.conditions.get(name), Text)]:
        there = [name for name, kind in data.conditions.items() if isinstance(kind, Text)]
        raise InputError(f"names={[*names]}: {wrong[0]} is no text of {data.name}{nearest(wrong[0], there)}", "names")
    for name in names:
        told = {"layers": layers, "standardise": standardise}
        data = _one(data, name, encoder, length, weights, told)
    return data


def as_told(data: Data, kinds: Mapping[str, object]) -> Data:
    """Data whose texts are encoded as a model takes them, of the kinds of its conditions."""
    for name, kind in kinds.items():
        if isinstance(kind, Features) and kind.encoder and isinstance(data.conditions.get(name), Text):
            told = {key: getattr(kind, key) for key in ("layers", "standardise", "mean", "std")}
            data = _one(data, name, kind.encoder, kind.length, kind.weights, told)
    return data


class Encoded:
    """The vectors (N, L, E) of items, float32, made when they are asked for of those of each different text."""

    large = True  # all of them at once may be more than fits in memory

    def __init__(self, texts: np.ndarray, kind: Features) -> None:
        self.kind = kind
        self.different, self.places = np.unique(texts, return_inverse=True)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int | Tensor) -> Tensor:
        index = torch.as_tensor(index)
        places = self.places[index.reshape(-1).numpy()]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a note of the data says that texts are cut
            found = self.kind.encode([self.different[k] for k in places])
        return found.reshape(*index.shape, *found.shape[1:])


def _one(data: Data, name: str, encoder: str, length: int | None, weights: str, told: Mapping[str, Any]) -> Data:
    from ...encoders import text_encoder  # which few data need

    kind: Text = data.conditions[name]
    parts = {part: texts_of(getattr(data, part), name, kind) for part in ("train", "test")}
    reader, texts = text_encoder(encoder), {*parts["train"], *parts["test"]}
    most = max((len(found) for found in reader(sorted(texts))), default=1)
    if told["standardise"] and told.get("mean") is None:
        told = {**told, **moments(reader(sorted({*parts["train"]} - {""})), reader.size)}
    length = length or min(most + SPARE, MOST)
    made = Features(length, reader.size, encoder, weights or reader.print, kind.drop, **told)
    own = {part: beside(getattr(data, part), {name: Encoded(words, made)}) for part, words in parts.items()}
    notes = data.notes
    if most > made.length:
        notes = (*notes, f"{name}: the longest text has {most} vectors, cut to {made.length}")
    judge = None if data.judge is None else _judged(data, name, made)
    return replace(data, **own, conditions={**data.conditions, name: made}, notes=notes, judge=judge)


def moments(vectors: Sequence[Tensor], size: int) -> dict[str, tuple[float, ...]]:
    """The mean and the deviation of each number of vectors (L, size), normalised as networks do it."""
    n, total, squares = 0, *torch.zeros(2, size, dtype=torch.float64)
    for start in range(0, len(vectors), BLOCK):
        h = torch.cat([*vectors[start : start + BLOCK]]).float()
        h = torch.nn.functional.layer_norm(h, (size,)).double()
        n, total, squares = n + len(h), total + h.sum(0), squares + h.square().sum(0)
    mean = total / max(n, 1)
    std = (squares / max(n, 1) - mean**2).clamp_min(LEAST**2).sqrt()
    return {key: tuple(float(f"{v:.6g}") for v in value.tolist()) for key, value in {"mean": mean, "std": std}.items()}


def texts_of(items: Dataset, name: str, kind: Text) -> np.ndarray:
    """The texts (N,) of all items' condition of a name."""
    blocks = np.array_split(np.arange(len(items)), max(1, -(-len(items) // BLOCK)))
    texts = [text for block in blocks for text in kind.decode(column(items, name, block))]
    return np.array(texts, dtype=object)


def _judged(data: Data, name: str, made: Features):
    """The data's judge, which reads the texts themselves."""
    kind, judge = data.conditions[name], data.judge

    def judged(raw: Tensor, cond: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        if name in cond:
            cond = {**cond, name: kind.encode(made.decode(cond[name]), name)}
        return judge(raw, cond)

    return judged
