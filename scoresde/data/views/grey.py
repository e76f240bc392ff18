"""Pictures without their colours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from ...errors import InputError
from ...settings import Range
from .base import View

LUMINANCE = 0.299, 0.587, 0.114  # ITU-R BT.601, as pillow's "L"


@dataclass(frozen=True)
class Grey(View):
    """The luminance of a picture of three colours, 0.299 R + 0.587 G + 0.114 B: what is told for colourisation.

    Arguments:
        repeat: in each of three channels, as views of a `Mixed` are; else in one.
        greys: how many there are, of the values -1 to 1: where there are few, several colours have the same; None: all.
    """

    repeat: bool = True
    greys: Annotated[int, Range(2, 2**16)] | None = None

    def of(self, shape):
        if len(shape) < 2 or shape[0] != 3:
            raise InputError(f"Grey: items of shape {shape} have no colours: give pictures of 3 channels")
        return (3 if self.repeat else 1), *shape[1:]

    def __call__(self, x, index, seed):
        red, green, blue = x.split(1, 1)
        grey = LUMINANCE[0] * red + LUMINANCE[1] * green + LUMINANCE[2] * blue
        if self.greys is not None:
            grey = 2 * (((grey + 1) / 2 * self.greys).floor().clamp(0, self.greys - 1) + 0.5) / self.greys - 1
        return grey.expand_as(x).clone() if self.repeat else grey
