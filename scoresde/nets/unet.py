"""A U-Net for series, images and volumes."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..conditions import Kind
from ..errors import InputError
from ..settings import Count, Range, Whole
from .base import Network
from .parts.blocks import ConvBlock, check_settings, descent, norm, zero
from .parts.conditioning import Conditioner, Embedded
from .parts.embedding import LevelEmbedding, Octave, Octaves


class UNet(Network):
    """Residual blocks, attention and skips at several resolutions: `net(x, c)`, x (B, C, *space), c (B,) -> like x.

    Resolution halves between the entries of `mults`; any size will do, odd ones too.  The level c scales and shifts
    every block.

    Ronneberger, Fischer, Brox (2015), arXiv 1505.04597; Ho et al. (2020), arXiv 2006.11239; Dhariwal, Nichol (2021),
    arXiv 2105.05233.

    Arguments:
        shape: of x, (C, *space) with 1 to 3 space axes.
        channels: of the first layer, a multiple of 8.
        mults: the factors of `channels`, one for each resolution.
        blocks: residual blocks for each of them.
        attention: the most positions at which attention follows a block.
        heads: of attention, a divisor of `channels`.
        dropout: the chance of a feature within a block.
        octaves: n of the waves sin, cos(2^n pi x) of each channel that join the input: for data of many levels.
        conditions: kinds by their names: it is then `net(x, c, cond)`; labels and vectors are added to the level's
            embedding, pictures are channels beside x, and where there is attention each block attends to tokens too.
        outputs: how many tensors like x the answer has, side by side in its channels.

    Raises:
        InputError: data without a channel and one to three space axes, or settings that do not go together.
    """

    later = ("outputs",)

    def __init__(
        self,
        shape: Sequence[Count],
        channels: Annotated[int, Range(8, 2**16)] = 64,
        mults: Sequence[Count] = (1, 2),
        blocks: Count = 2,
        attention: Whole = 64,
        heads: Count = 4,
        dropout: Annotated[float, Range(0, below=1)] = 0.0,
        octaves: Sequence[Octave] = (),
        conditions: Mapping[str, Kind] | None = None,
        outputs: Count = 1,
    ):
        super().__init__()
        shape, mults = tuple(shape), tuple(mults)
        if not 2 <= len(shape) <= 4:
            raise InputError(
                f"a U-Net needs data of shape (channels, *space) with 1 to 3 space axes, not {shape}: take an MLP"
            )
        check_settings(channels, heads, mults)
        dims, level = len(shape) - 1, 4 * channels
        conv = getattr(nn, f"Conv{dims}d")
        self.embed = LevelEmbedding(level)
        self.octaves = Octaves(octaves)
        self.conditions, extra, context = dict(conditions or {}), 0, 0
        if conditions:
            self.conditioner = Conditioner(conditions, level)
            extra, context = self.conditioner.channels, level if self.conditioner.sequences else 0
        self.enter = conv(shape[0] * self.octaves.factor + extra, channels, 3, padding=1)

        def block(cin: int, cout: int, space: tuple[int, ...]) -> nn.Module:
            attend = torch.Size(space).numel() <= attention
            return ConvBlock(conv, cin, cout, level, dropout, heads if attend else 0, context)

        self.down, skips, spaces = descent(conv, block, channels, mults, blocks, shape[1:])
        self.up, width, space = nn.ModuleList(), skips[-1], spaces[-1]
        self.middle = nn.ModuleList([block(width, width, space) for _ in range(2)])
        for i, mult in reversed(list(enumerate(mults))):
            for _ in range(blocks + 1):
                self.up.append(block(width + skips.pop(), mult * channels, spaces[i]))
                width = mult * channels
            if i:
                self.up.append(_Up(conv(width, width, 3, padding=1)))
        self.leave = nn.Sequential(norm(width), nn.SiLU(), zero(conv(width, outputs * shape[0], 3, padding=1)))

    def forward(self, x: Tensor, c: Tensor, cond: Mapping[str, Tensor] | None = None) -> Tensor:
        """The answer of the network.

        Arguments:
            x: (B, C, *space).
            c: log(sigma / alpha) (B,).
            cond: tensors by name with B rows each; what is absent is missing.

        Returns:
            (B, outputs * C, *space).
        """
        level, h, given = self.embed(c), self.octaves(x), Embedded()
        if self.conditions:
            given = self.conditioner(cond or {}, x)
            level = level if given.vector is None else level + given.vector
            h = h if given.channels is None else torch.cat([h, given.channels], 1)
        level, h = F.silu(level), self.enter(h)
        skips = [h]
        for layer in self.down:
            h = layer(h, level, given) if isinstance(layer, ConvBlock) else layer(h)
            skips.append(h)
        for layer in self.middle:
            h = layer(h, level, given)
        for layer in self.up:
            if isinstance(layer, ConvBlock):
                h = layer(torch.cat([h, skips.pop()], 1), level, given)
            else:
                h = layer(h, skips[-1].shape[2:])
        return self.leave(h)


class _Up(nn.Module):
    def __init__(self, conv: nn.Module):
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor, size: Sequence[int]) -> Tensor:
        return self.conv(F.interpolate(x, size=tuple(size), mode="nearest"))
