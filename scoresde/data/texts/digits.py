"""What a digit is, in words."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...conditions import Text
from ..base import More

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TEMPLATES = ("a handwritten {}", "the digit {}", "a {} written by hand", "{}")

LENGTH = 16  # tokens: room for a text that is none of these


def said(digit: int, number: int) -> str:
    """The caption of item `number` of its part, which is a digit: one of `TEMPLATES` after the other."""
    return TEMPLATES[number % len(TEMPLATES)].format(NAMES[digit])


def captions(train: Tensor, test: Tensor) -> Callable[[], More]:
    """What gives the captions of items, of their classes 0..9 (N,): "a handwritten three", see `said`."""

    def made() -> More:
        rows = [[said(digit, k) for k in range(len(TEMPLATES))] for digit in range(len(NAMES))]
        kind = Text.fitted((text for row in rows for text in row), length=LENGTH)
        table = torch.stack([kind.encode(row) for row in rows]).to(torch.int16)
        of = lambda y: table[y, torch.arange(len(y)) % len(TEMPLATES)]
        return More(of(train), of(test), kind)

    return made
