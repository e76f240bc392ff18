"""How a scene is taken: the side of its original, what lies beside it, and where it is cropped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ....noise import Stream, uniform
from .drawing import pictures
from .scene import SIDE, WIDTH, Scene

BESIDE = (0, 8, 16)  # sixteenths by which an original is wider than high, or higher than wide
FINER = (0.5, 1.0, 4.0)  # pixels of an original's shorter side, per pixel of the picture


@dataclass(frozen=True)
class Framing:
    """How B scenes are taken.

    `original` (B, 2): height and width of the original, in its pixels; `crop` (B, 2): top and left of what is kept, in
    pixels of the original once its shorter side is that of the picture; `beside` (B, 2): height and width of what lies
    beside the scene, in sixteenths.
    """

    original: Tensor
    crop: Tensor
    beside: Tensor


def framed(index: Tensor, seed: int, side: int, test: bool = False) -> Framing:
    """How the scenes of these numbers are taken.

    An original is square or, upright or across, longer by a half or by all of its shorter side, each alike often; it
    has a half of the pixels that the picture has, as many, or four times as many in each direction; and the place where
    it is cropped is uniform.

    Arguments:
        index: (B,), the numbers of scenes.
        seed: of all.
        side: pixels of the picture's.
        test: whether they are of that split.

    Returns:
        A `Framing`.
    """
    u = uniform(torch.empty(len(index), 4, dtype=torch.float64), index, seed, *Stream.CROP(int(test)))
    more = torch.tensor(BESIDE)[(u[:, 0] * len(BESIDE)).long()]
    across = u[:, 1] < 0.5
    beside = torch.stack([more * ~across, more * across], 1)
    shown = (SIDE + beside) * (side // SIDE)  # in pixels of the picture
    crop = (u[:, 3:] * (shown - side + 1)).long()
    finer = torch.tensor(FINER)[(u[:, 2] * len(FINER)).long()]
    return Framing((shown * finer[:, None]).long(), crop, beside)


def centred(scene: Scene) -> Scene:
    """Scenes whose shapes as a whole lie in the middle, to half a sixteenth."""
    there, width = scene.shape >= 0, torch.tensor(WIDTH)[scene.size.clamp_min(0)]
    moved = []
    for place in (scene.x, scene.y):
        low = torch.where(there, place, SIDE).amin(1, keepdim=True)
        high = torch.where(there, place + width, 0).amax(1, keepdim=True)
        moved.append(torch.where(there, place + (SIDE - low - high) // 2, place))
    return replace(scene, x=moved[0], y=moved[1])


def taken(scene: Scene, framing: Framing, side: int) -> Tensor:
    """Scenes in the middle of their originals as pictures, bytes (B, 3, side, side).

    An original is drawn, resized (means of pixels where it shrinks, bilinear where it grows) so that its shorter side
    is that of the picture, and cropped.
    """
    unit, margin = side // SIDE, max(BESIDE) // 2
    whole = pictures(scene, side, margin)
    small = framing.original.amin(1) < side
    if bool(small.any()):
        coarse = F.avg_pool2d(whole[small].float(), 2).round()
        grown = F.interpolate(coarse, scale_factor=2.0, mode="bilinear", align_corners=False)
        whole[small] = grown.round().to(torch.uint8)
    first = (margin - framing.beside // 2) * unit + framing.crop
    rows, columns = (first[:, k, None] + torch.arange(side) for k in range(2))
    place = torch.arange(len(whole))[:, None, None], slice(None), rows[:, :, None], columns[:, None]
    return whole[place].permute(0, 3, 1, 2).contiguous()


class Framed:
    """A number pair of how scenes are taken, (N, 2), made when it is asked for: `value[index]`.

    Arguments:
        n: how many there are.
        of: gives the pairs of numbers (B,).
    """

    def __init__(self, n: int, of: Callable[[Tensor], Tensor]) -> None:
        self.n, self.of = n, of

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int | Tensor | np.ndarray) -> Tensor:
        index = torch.as_tensor(index)
        return self.of(index.reshape(-1)).float().reshape(*index.shape, 2)
