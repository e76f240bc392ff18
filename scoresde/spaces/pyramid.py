"""A picture at several resolutions at once, as one tensor without holes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import InputError
from ..settings import Checked, Count
from .affine import Affine
from .bins import Bins
from .folds import folded, unfolded


def parted(z: Tensor, channels: int) -> list[Tensor]:
    """The pictures of a pyramid z (B, C', *grid), of so many channels each, from the smallest."""
    found, start, f = [], 0, 1
    while start < z.shape[1]:
        width = channels * f ** (z.ndim - 2)
        found.append(unfolded(z[:, start : start + width], f))
        start, f = start + width, 2 * f
    return found


def joined(pictures: Sequence[Tensor]) -> Tensor:
    """Pictures from the smallest, each of twice the resolution of the one before, as a pyramid; inverse of `parted`."""
    return torch.cat([folded(x, 2**r) for r, x in enumerate(pictures)], 1)


def channels_of(shape: Sequence[int], resolutions: int) -> int:
    """The channels of one picture of pyramids of a shape (C', *grid).

    Raises:
        InputError: no pyramid of so many resolutions has this shape.
    """
    axes = len(shape) - 1
    parts = sum(2 ** (axes * r) for r in range(resolutions))
    if not 1 <= axes <= 3 or shape[0] % parts:
        words = f"a pyramid of {resolutions} resolutions has a multiple of {parts} channels"
        raise InputError(f"shape={tuple(shape)}: {words} (data=pyramid)", "shape")
    return shape[0] // parts


@dataclass(frozen=True)
class Pyramid(Checked):
    """What makes of a picture its pyramid, all of its resolutions as one tensor, and the picture of a pyramid again.

    The picture x_R of side d and its means x_r over squares, of side d / 2, d / 4, ..., lie on the grid of the
    smallest, each position of which has the pixels of all that lie there as channels:

        z = (x_1, fold_2(x_2), fold_4(x_3), ...)

    Nothing is padded, and the first channels are the pyramid of the smaller pictures alone.

    Arguments:
        shape: of a picture, (C, *space) with 1 to 3 space axes.
        resolutions: how many, R.
        levels: of the pictures' raw values; None: they are continuous.
        scale, shift: from raw values to the pictures' x, as in `Affine` and `Bins`.

    Raises:
        InputError: a space that cannot be halved R - 1 times.
    """

    shape: Sequence[Count]
    resolutions: Count = 2
    levels: Count | None = None
    scale: float = 1.0
    shift: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, "shape", tuple(self.shape))
        most = 2 ** (self.resolutions - 1)
        if not 2 <= len(self.shape) <= 4:
            raise InputError(f"shape={self.shape}: a pyramid needs (channels, *space) with 1 to 3 space axes", "shape")
        if any(s % most for s in self.shape[1:]):
            halves = f"{self.resolutions - 1} times"
            raise InputError(
                f"resolutions={self.resolutions}: {self.shape[1:]} cannot be halved {halves}", "resolutions"
            )

    @property
    def packed(self) -> tuple[int, ...]:
        """The shape of a pyramid, (C', *grid)."""
        most, axes = 2 ** (self.resolutions - 1), len(self.shape) - 1
        parts = sum(2 ** (axes * r) for r in range(self.resolutions))
        return (self.shape[0] * parts, *(s // most for s in self.shape[1:]))

    def scales(self, scale: float) -> Tensor:
        """b_r = scale^(r - 1) of resolution r, for each channel of a pyramid, (C', 1, ...)."""
        axes = len(self.shape) - 1
        each = [torch.full((self.shape[0] * 2 ** (axes * r),), scale**r) for r in range(self.resolutions)]
        return torch.cat(each).double().reshape(-1, *[1] * axes)

    def pack(self, x: Tensor) -> Tensor:
        """The pyramids (B, C', *grid) of pictures x (B, *shape), by means."""
        pool = getattr(F, f"avg_pool{len(self.shape) - 1}d")
        smaller = [x if r == 0 else pool(x, 2**r) for r in reversed(range(self.resolutions))]
        return joined(smaller)

    def unpack(self, z: Tensor) -> list[Tensor]:
        """The pictures of pyramids z (B, C', *grid), from the smallest."""
        return parted(z, self.shape[0])

    @property
    def space(self) -> Affine | Bins:
        """That of the pictures."""
        return Affine(self.scale, self.shift) if self.levels is None else Bins(self.levels, self.scale, self.shift)

    def compressed(self, raw: Tensor) -> Tensor:
        """The pyramids (B, C', *grid) of pictures' raw values (B, *shape); of levels the middle of each bin."""
        return self.pack(self.space.encode(raw))

    def restored(self, raw: Tensor) -> Tensor:
        """The raw values (*, *shape) of the largest picture of pyramids (*, C', *grid)."""
        flat = raw.reshape(-1, *self.packed)
        return self.space.decode(self.unpack(flat)[-1]).reshape(*raw.shape[: -len(self.packed)], *self.shape)

    def pictures(self, raw: Tensor) -> list[Tensor]:
        """The raw values of the pictures of all resolutions of pyramids (B, C', *grid), from the smallest."""
        return [self.space.decode(x) for x in self.unpack(raw)]
