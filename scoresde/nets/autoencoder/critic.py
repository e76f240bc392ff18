"""The network that tells true pictures from an autoencoder's, patch by patch."""

from collections.abc import Sequence
from typing import Annotated

from torch import Tensor, nn

from ...errors import InputError
from ...settings import Count, Range
from ..base import Network
from ..parts.blocks import norm


class PatchCritic(Network):
    """x (B, C, *space) -> a logit for each patch (B, 1, *small): is it of a true picture.

    Convolutions of size 4 that halve the resolution, then one that answers; each number sees a patch alone.

    Isola, Zhu, Zhou, Efros (2017), arXiv 1611.07004; Esser, Rombach, Ommer (2021), arXiv 2012.09841.

    Arguments:
        shape: of x, (C, *space) with 1 to 3 space axes, of 2^layers pixels at least.
        channels: of the first layer, twice as many in each that follows.
        layers: that halve the resolution.

    Raises:
        InputError: data without a channel and one to three space axes, or too small.
    """

    def __init__(self, shape: Sequence[Count], channels: Annotated[int, Range(8, 2**16)] = 32, layers: Count = 2):
        super().__init__()
        self.shape = tuple(shape)
        if not 2 <= len(self.shape) <= 4 or min(self.shape[1:]) < 2**layers:
            words = f"give (channels, *space) with 1 to 3 space axes of {2**layers} pixels at least"
            raise InputError(f"shape={self.shape}: {words}", "shape")
        conv = getattr(nn, f"Conv{len(self.shape) - 1}d")
        parts, width = [conv(self.shape[0], channels, 4, stride=2, padding=1), nn.LeakyReLU(0.2)], channels
        for _ in range(layers - 1):
            parts += [conv(width, 2 * width, 4, stride=2, padding=1), norm(2 * width), nn.LeakyReLU(0.2)]
            width *= 2
        self.body = nn.Sequential(*parts, conv(width, 1, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)
