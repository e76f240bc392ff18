"""Columns of text as tokens, by a tokenizer that is fitted to the training items."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor

from ...conditions import Text
from ...errors import InputError
from ..plain import Unfit

Read = tuple[Tensor, Text, list[str]]  # the tokens of all items, their kind, and notes
FITTED = 2**16  # texts of training items, evenly spaced, that a tokenizer is fitted to
NARROW = {torch.int16: 2**15, torch.int32: 2**31}  # types that tokens are kept in, and how many they can tell apart


def read(name: str, words: np.ndarray, train: np.ndarray, kind: Text | None = None) -> Read:
    """The tokens of the texts (N,) of all items, their kind, and notes; the empty text is a missing one.

    Arguments:
        name: of the condition.
        words: texts, "" where there is none.
        train: the places of the training items, whose texts a tokenizer is fitted to.
        kind: that of the tokens; None: it is fitted.

    Raises:
        Unfit: the training items have no text.
        InputError: the package `tokenizers` is not installed.
    """
    if kind is None:
        own = [word for word in words[train] if word and not word.isspace()]
        if not own:
            raise Unfit("no training item has text")
        kind = Text.fitted(own[:: -(-len(own) // FITTED)])
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        rows = kind.encode(list(words), name)
    dtype = next(dtype for dtype, most in NARROW.items() if kind.vocabulary <= most)
    return rows.to(dtype), kind, [str(one.message) for one in said]


def as_words(name: str, value: Tensor | np.ndarray) -> np.ndarray:
    """Values (N,) as texts, numbers too: "3", "2.5"; "" where they are missing.  Raises `InputError` for others."""
    if isinstance(value, np.ndarray):
        return value
    if value.ndim != 1:
        raise InputError(f"condition {name} is {value.dtype} {tuple(value.shape)}: text is one for each item", name)
    return np.array(["" if v != v else f"{v:.12g}" for v in value.tolist()], dtype=object)
