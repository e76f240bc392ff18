"""Latents decoded some at a time, and in tiles where one item is too large."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...answers import answered
from ...errors import InputError
from ...settings import Checked, Count, Whole


@dataclass(frozen=True)
class Tiles(Checked):
    """Latents are decoded in tiles of `size` a side, neighbours of which share `overlap`, where they are blended.

    A tile counts nothing in the outer quarter of what it shares, and more and more in the half within.  So a decoder
    that sees no further than this quarter gives what it gives of the whole; one with norms over all places sees further
    and gives something close.

    Arguments:
        size: latents a side; axes that are shorter are not cut.
        overlap: latents a side that neighbours share; None: a quarter of the size.

    Raises:
        InputError: an overlap that is not less than the size.
    """

    size: Count
    overlap: Whole | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.overlap is not None and self.overlap >= self.size:
            raise InputError(f"overlap={self.overlap}: give less than the size, {self.size}", "overlap")

    @property
    def shared(self) -> int:
        """The overlap."""
        return self.size // 4 if self.overlap is None else self.overlap

    def _starts(self, length: int) -> list[int]:
        """Where the tiles of an axis of so many latents (`length`) begin."""
        if length <= self.size:
            return [0]
        last = length - self.size
        return [*range(0, last, self.size - self.shared), last]

    def _weights(self, start: int, length: int, factor: int) -> Tensor:
        """How much each pixel of a tile counts along an axis of `length` latents, `factor` pixels each."""
        size = min(self.size, length)
        place = (torch.arange(size * factor) + 0.5) / factor
        margin = self.shared / 4
        rises = lambda away: ((away - margin) / max(self.shared - 2 * margin, 1e-6)).clamp(0, 1)
        one = torch.ones(size * factor)
        before = rises(place) if start > 0 else one
        return before * (rises(size - place) if start + size < length else one)

    def decoded(self, up: Callable[[Tensor], Tensor], z: Tensor, shape: Sequence[int]) -> Tensor:
        """Decodes latents.

        Arguments:
            up: what decodes a tile.
            z: (B, latent, *small).
            shape: of what one item becomes, (C, *space).

        Returns:
            (B, *shape).

        Raises:
            InputError: `up` gives another shape than that of a tile.
        """
        small = z.shape[2:]
        factors = [n // m for n, m in zip(shape[1:], small, strict=True)]
        total, weight = z.new_zeros(len(z), *shape), z.new_zeros(1, 1, *shape[1:])
        for corner in itertools.product(*map(self._starts, small)):
            lengths = [min(self.size, n) for n in small]
            part = z[(..., *(slice(i, i + n) for i, n in zip(corner, lengths, strict=True)))]
            wanted = (len(z), shape[0], *(n * f for n, f in zip(lengths, factors, strict=True)))
            x = answered(up(part), wanted, "the decoder of a tile of its latents")
            w = z.new_ones(())
            for start, n, f in zip(corner, small, factors, strict=True):
                w = w[..., None] * self._weights(start, n, f).to(z)
            place = (..., *(slice(i * f, i * f + n * f) for i, n, f in zip(corner, lengths, factors, strict=True)))
            total[place] += w * x
            weight[place] += w
        return total / weight
