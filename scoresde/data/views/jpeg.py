"""Pictures as a JPEG file of low quality has them."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch

from ...errors import InputError
from ...settings import Range
from .base import Choice, View, numbers
from .hole import ordered

Quality = Annotated[int, Range(1, 100)]


@dataclass(frozen=True)
class Jpeg(View):
    """A picture after a JPEG file, by pillow: what is told for restoration.

    The values -1 to 1 are the bytes 0 to 255, and exactly so where they have 256 levels.

    Arguments:
        quality: least and most, pillow's, drawn for each item; Palette has 5 to 30.

    Raises:
        InputError: a least that is above its most; pillow is missing.
    """

    levels: ClassVar[bool] = True
    draws: ClassVar[bool] = True

    quality: tuple[Quality, Quality] = (5, 30)

    def __post_init__(self) -> None:
        object.__setattr__(self, "quality", ordered("quality", self.quality))
        super().__post_init__()
        try:
            import PIL.Image  # noqa: F401
        except ImportError as error:
            raise InputError("Jpeg needs pillow: pip install pillow") from error

    def of(self, shape):
        if len(shape) != 3 or shape[0] not in (1, 3):
            raise InputError(f"Jpeg: items of shape {shape} are no pictures of 1 or 3 channels")
        return tuple(shape)

    def __call__(self, x, index, seed):
        low, high = self.quality
        quality = low + (numbers(index, 1, seed, Choice.QUALITY)[:, 0] * (high - low + 1)).long()
        whole = ((x.cpu() + 1) * 128).floor().clamp(0, 255).byte().numpy()
        found = np.stack([_after(one, q) for one, q in zip(whole, quality.tolist(), strict=True)])
        return ((torch.from_numpy(found).to(x.dtype) + 0.5) / 128 - 1).to(x.device)


def _after(x: np.ndarray, quality: int) -> np.ndarray:
    """Bytes (C, H, W), as a JPEG file of that quality has them."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(x[0] if len(x) == 1 else x.transpose(1, 2, 0)).save(file, "JPEG", quality=quality)
    with Image.open(file) as image:
        y = np.array(image)
    return y[None] if len(x) == 1 else y.transpose(2, 0, 1)
