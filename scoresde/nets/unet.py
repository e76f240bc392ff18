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
from .conditioning import Conditioner, CrossAttention, Embedded
from .embedding import LevelEmbedding, Octave, Octaves


class UNet(Network):
    """Residual blocks, attention and skips at several resolutions: `net(x, c)`, x (B, C, *space), c (B,) -> like x.

    The number of space axes (1, 2 or 3) is that of `shape` = (C, *space); any size will do, odd ones too.  Resolution
    halves between the entries of `mults`, which multiply `channels`; each has `blocks` residual blocks, followed by
    attention where the positions number at most `attention`.  The level c scales and shifts every block.
    `octaves` adds the waves of `Octaves` to the input's channels.  With `conditions`, kinds by their names, it is
    `net(x, c, cond)`: labels and vectors are added to the level's embedding, pictures are channels beside x, and where
    there is attention each block attends to tokens too.

    Ronneberger, Fischer, Brox (2015), arXiv 1505.04597; Ho et al. (2020), arXiv 2006.11239; Dhariwal, Nichol (2021),
    arXiv 2105.05233.  Raises `InputError` for data without a channel and one to three space axes.
    """

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
    ):
        super().__init__()
        shape, mults = tuple(shape), tuple(mults)
        if not 2 <= len(shape) <= 4:
            raise InputError(
                f"a U-Net needs data of shape (channels, *space) with 1 to 3 space axes, not {shape}: use net=mlp"
            )
        if channels % 8:
            raise InputError(f"channels={channels}: give a multiple of 8", "channels")
        if channels % heads:
            raise InputError(f"heads={heads}: give a divisor of channels={channels}", "heads")
        if not mults:
            raise InputError("mults=[]: give at least one whole number", "mults")
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
            return _Block(conv, cin, cout, level, dropout, heads if attend else 0, context)

        self.down, self.up, skips, width, space = nn.ModuleList(), nn.ModuleList(), [channels], channels, shape[1:]
        spaces = []
        for i, mult in enumerate(mults):
            if i:
                self.down.append(conv(width, width, 3, stride=2, padding=1))
                space = tuple((s + 1) // 2 for s in space)
                skips.append(width)
            spaces.append(space)
            for _ in range(blocks):
                self.down.append(block(width, mult * channels, space))
                width = mult * channels
                skips.append(width)
        self.middle = nn.ModuleList([block(width, width, space) for _ in range(2)])
        for i, mult in reversed(list(enumerate(mults))):
            for _ in range(blocks + 1):
                self.up.append(block(width + skips.pop(), mult * channels, spaces[i]))
                width = mult * channels
            if i:
                self.up.append(_Up(conv(width, width, 3, padding=1)))
        self.leave = nn.Sequential(_norm(width), nn.SiLU(), _zero(conv(width, shape[0], 3, padding=1)))

    def forward(self, x: Tensor, c: Tensor, cond: Mapping[str, Tensor] | None = None) -> Tensor:
        level, h, given = self.embed(c), self.octaves(x), Embedded()
        if self.conditions:
            given = self.conditioner(cond or {}, x)
            level = level if given.vector is None else level + given.vector
            h = h if given.channels is None else torch.cat([h, given.channels], 1)
        level, h = F.silu(level), self.enter(h)
        skips = [h]
        for layer in self.down:
            h = layer(h, level, given) if isinstance(layer, _Block) else layer(h)
            skips.append(h)
        for layer in self.middle:
            h = layer(h, level, given)
        for layer in self.up:
            if isinstance(layer, _Block):
                h = layer(torch.cat([h, skips.pop()], 1), level, given)
            else:
                h = layer(h, skips[-1].shape[2:])
        return self.leave(h)


def _norm(channels: int) -> nn.Module:
    # Four channels a group at least: a group of one value would be normalised to nothing.
    return nn.GroupNorm(min(8, channels // 4), channels)


def _zero(layer: nn.Module) -> nn.Module:
    for p in layer.parameters():
        nn.init.zeros_(p)
    return layer


class _Up(nn.Module):
    def __init__(self, conv: nn.Module):
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor, size: Sequence[int]) -> Tensor:
        return self.conv(F.interpolate(x, size=tuple(size), mode="nearest"))


class _Block(nn.Module):
    """A residual block, its second normalisation modulated by the level; self-attention after it where `heads` > 0,
    and then attention to tokens of the width `context` > 0."""

    def __init__(self, conv: type, cin: int, cout: int, level: int, dropout: float, heads: int, context: int = 0):
        super().__init__()
        self.enter = nn.Sequential(_norm(cin), nn.SiLU(), conv(cin, cout, 3, padding=1))
        self.modulate = nn.Linear(level, 2 * cout)
        self.norm = _norm(cout)
        self.leave = nn.Sequential(nn.SiLU(), nn.Dropout(dropout), _zero(conv(cout, cout, 3, padding=1)))
        self.skip = conv(cin, cout, 1) if cin != cout else nn.Identity()
        self.heads = heads
        if heads:
            self.attention_norm = _norm(cout)
            self.qkv, self.out = conv(cout, 3 * cout, 1), _zero(conv(cout, cout, 1))
        self.cross = CrossAttention(cout, context, heads) if heads and context else None

    def forward(self, x: Tensor, level: Tensor, given: Embedded) -> Tensor:
        scale, shift = self.modulate(level).reshape(*level.shape[:1], -1, *[1] * (x.ndim - 2)).chunk(2, 1)
        h = self.norm(self.enter(x)) * (1 + scale) + shift
        h = self.skip(x) + self.leave(h)
        h = h + self._attend(h) if self.heads else h
        if self.cross is None:
            return h
        found = self.cross(h.flatten(2).transpose(1, 2), given.tokens, given.mask)
        return h + found.transpose(1, 2).reshape(h.shape)

    def _attend(self, x: Tensor) -> Tensor:
        q, k, v = (
            self.qkv(self.attention_norm(x)).flatten(2).unflatten(1, (3, self.heads, -1)).transpose(-1, -2).unbind(1)
        )
        h = F.scaled_dot_product_attention(q, k, v)
        return self.out(h.transpose(-1, -2).reshape(x.shape))
