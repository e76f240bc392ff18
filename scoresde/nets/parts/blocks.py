"""Blocks that networks share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor, nn

from .attention import CrossAttention, attention
from .runs import Block

if TYPE_CHECKING:
    from .conditioning import Embedded


class MLPBlock(Block):
    """A residual block of vectors, modulated by the level, and then attention to tokens of the width `context` > 0."""

    def __init__(self, width: int, dropout: float, context: int = 0):
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulate = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.SiLU(), nn.Dropout(dropout), nn.Linear(2 * width, width)
        )
        self.attend = CrossAttention(width, context, math.gcd(width, 4)) if context else None

    def forward(self, h: Tensor, level: Tensor, given: Embedded) -> Tensor:
        scale, shift = self.modulate(level).chunk(2, 1)
        h = h + self.mlp(self.norm(h) * (1 + scale) + shift)
        return h if self.attend is None else h + self.attend(h[:, None], given.tokens, given.mask)[:, 0]


def norm(channels: int, groups: int = 8) -> nn.Module:
    """A group norm of at most `groups` groups."""
    # Four channels a group at least: a group of one value would be normalised to nothing.
    return nn.GroupNorm(next(g for g in range(min(groups, channels // 4), 0, -1) if channels % g == 0), channels)


def zero(layer: nn.Module) -> nn.Module:
    """The layer, which begins at 0."""
    for p in layer.parameters():
        nn.init.zeros_(p)
    return layer


class ConvBlock(Block):
    """A residual block that sees the level; self-attention after it where `heads` > 0, and then attention to tokens of
    the width `context` > 0.

    Arguments:
        conv: the convolution of as many axes as x has.
        cin, cout: the channels before and after.
        level: the size of the level's embedding.
        dropout: the chance of a feature.
        heads: of attention; 0: none.
        context: the width of tokens; 0: none.
        groups: the most of a norm.
        add: the level is added before the second norm; if not, it scales and shifts what comes out of it.
        rescale: every sum of two branches is divided by sqrt(2), which keeps the variance.
        resample: `Halve` or `Double`, of both branches, behind the first norm.
        learned: the skip is a 1x1 convolution even where the channels stay.
    """

    def __init__(
        self,
        conv: type,
        cin: int,
        cout: int,
        level: int,
        dropout: float,
        heads: int,
        context: int = 0,
        groups: int = 8,
        add: bool = False,
        rescale: bool = False,
        resample: nn.Module | None = None,
        learned: bool = False,
    ):
        super().__init__()
        self.enter = nn.Sequential(norm(cin, groups), nn.SiLU(), conv(cin, cout, 3, padding=1))
        self.modulate = nn.Linear(level, cout if add else 2 * cout)
        self.norm = norm(cout, groups)
        self.leave = nn.Sequential(nn.SiLU(), nn.Dropout(dropout), zero(conv(cout, cout, 3, padding=1)))
        self.skip = conv(cin, cout, 1) if cin != cout or learned else nn.Identity()
        self.heads, self.add, self.rescale, self.resample = heads, add, rescale, resample
        if heads:
            self.attention_norm = norm(cout, groups)
            self.qkv, self.out = conv(cout, 3 * cout, 1), zero(conv(cout, cout, 1))
        self.cross = CrossAttention(cout, context, heads) if heads and context else None

    def forward(self, x: Tensor, level: Tensor, given: Embedded, size: Sequence[int] | None = None) -> Tensor:
        """x (B, cin, *space) -> (B, cout, *space), or `size` positions where it resamples."""
        if self.resample is None:
            h = self.enter(x)
        else:
            first, act, last = self.enter
            h, x = last(self.resample(act(first(x)), size)), self.resample(x, size)
        h = self._sum(self.skip(x), self.leave(self._modulated(h, level)))
        h = self._sum(h, self._attend(h)) if self.heads else h
        if self.cross is None:
            return h
        found = self.cross(h.flatten(2).transpose(1, 2), given.tokens, given.mask)
        return self._sum(h, found.transpose(1, 2).reshape(h.shape))

    def _modulated(self, h: Tensor, level: Tensor) -> Tensor:
        told = self.modulate(level).reshape(*level.shape[:1], -1, *[1] * (h.ndim - 2))
        if self.add:
            return self.norm(h + told)
        scale, shift = told.chunk(2, 1)
        return self.norm(h) * (1 + scale) + shift

    def _sum(self, a: Tensor, b: Tensor) -> Tensor:
        return (a + b) * 0.5**0.5 if self.rescale else a + b

    def _attend(self, x: Tensor) -> Tensor:
        q, k, v = (
            self.qkv(self.attention_norm(x)).flatten(2).unflatten(1, (3, self.heads, -1)).transpose(-1, -2).unbind(1)
        )
        h = attention(q, k, v)
        return self.out(h.transpose(-1, -2).reshape(x.shape))
