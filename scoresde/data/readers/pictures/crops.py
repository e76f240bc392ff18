"""Which part of an image is kept, and what is told of it: its original's size, where it is cropped, its shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ....conditions import Kind, Vector
from ....errors import InputError
from ....noise import Stream, uniform
from . import pixels

NAMES = {"size": ("height", "width"), "crop": ("top", "left"), "target": ("height", "width")}


@dataclass(frozen=True)
class Crops:
    """What is kept of n images.

    `shapes` (height, width) that there are; `which` (n,) of them each image has; `corner` (n, 2), top and left in
    pixels of the resized image; `size` (n, 2), height and width of the original.
    """

    shapes: tuple[tuple[int, int], ...]
    which: np.ndarray
    corner: Tensor
    size: Tensor

    def of(self, index: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """The shape and the corner of one of them."""
        top, left = self.corner[index].tolist()
        return self.shapes[self.which[index]], (top, left)

    def told(self, train: np.ndarray) -> tuple[dict[str, Tensor], dict[str, Kind]]:
        """The conditions "size" and "crop", and "target" where there are several shapes, and the kinds of them.

        Arguments:
            train: the places of the training items, by which they are scaled.
        """
        target = torch.tensor(self.shapes)[torch.from_numpy(self.which)]
        values = {"size": self.size.float(), "crop": self.corner.float()}
        values |= {"target": target.float()} if len(self.shapes) > 1 else {}
        kinds: dict[str, Kind] = {}
        for name, value in values.items():
            own = value[torch.from_numpy(train)].double()
            std = own.std(0, correction=0)
            kinds[name] = Vector(2, own.mean(0), torch.where(std > 0, std, 1.0), NAMES[name])
        return values, kinds


def shapes_of(size: int, aspect: float, multiple: int) -> tuple[tuple[int, int], ...]:
    """Shapes (height, width) of about the area of size x size, which is the first: sides are multiples of a number, and
    the longer is at most `aspect` times the shorter.

    Podell et al. (2023), SDXL, arXiv 2307.01952, section 2.3.

    Raises:
        InputError: a size that is no multiple.
    """
    if aspect == 1:
        return ((size, size),)
    if size % multiple:
        raise InputError(f"size={size}: with an aspect give a multiple of multiple={multiple}", "size")
    found = [(size, size)]
    for short in range(multiple, size, multiple):
        long = multiple * round(size**2 / short / multiple)
        found += [(short, long), (long, short)] if long <= aspect * short else []
    return tuple(found)


def crops_of(headers: Sequence[pixels.Header], shapes: Sequence[tuple[int, int]], seed: int, anywhere: bool) -> Crops:
    """What is kept of images: each is resized to cover that of the shapes whose proportion is nearest to its own.

    Arguments:
        headers: of n images.
        shapes: (height, width) that there are.
        seed: of the places.
        anywhere: whether the place is uniform, a function of the seed and the image's number, or the centre.

    Returns:
        A `Crops`.
    """
    size = np.array([header.size[::-1] for header in headers])
    proportion = np.log(size[:, 0] / size[:, 1])
    which = np.abs(proportion[:, None] - [[math.log(h / w) for h, w in shapes]]).argmin(1)
    target = np.array(shapes)[which]
    pairs = zip(size, target, strict=True)
    shown = np.array([pixels.resized((w, h), (tw, th))[::-1] for (h, w), (th, tw) in pairs])
    room = torch.from_numpy(shown - target)
    if anywhere:
        u = uniform(torch.empty(len(size), 2, dtype=torch.float64), torch.arange(len(size)), seed, *Stream.CROP())
        corner = (u * (room + 1)).long()
    else:
        corner = room // 2
    return Crops(tuple(shapes), which, corner, torch.from_numpy(size))
