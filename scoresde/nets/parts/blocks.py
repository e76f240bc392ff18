"""Blocks that networks share, and the half of a U-Net that goes down."""

import math
from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import InputError
from .attention import CrossAttention
from .conditioning import Embedded
from .runs import Block

Space = tuple[int, ...]


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


def norm(channels: int) -> nn.Module:
    """A group norm."""
    # Four channels a group at least: a group of one value would be normalised to nothing.
    return nn.GroupNorm(min(8, channels // 4), channels)


def zero(layer: nn.Module) -> nn.Module:
    """The layer, which begins at 0."""
    for p in layer.parameters():
        nn.init.zeros_(p)
    return layer


class ConvBlock(Block):
    """A residual block, its second normalisation modulated by the level; self-attention after it where `heads` > 0,
    and then attention to tokens of the width `context` > 0."""

    def __init__(self, conv: type, cin: int, cout: int, level: int, dropout: float, heads: int, context: int = 0):
        super().__init__()
        self.enter = nn.Sequential(norm(cin), nn.SiLU(), conv(cin, cout, 3, padding=1))
        self.modulate = nn.Linear(level, 2 * cout)
        self.norm = norm(cout)
        self.leave = nn.Sequential(nn.SiLU(), nn.Dropout(dropout), zero(conv(cout, cout, 3, padding=1)))
        self.skip = conv(cin, cout, 1) if cin != cout else nn.Identity()
        self.heads = heads
        if heads:
            self.attention_norm = norm(cout)
            self.qkv, self.out = conv(cout, 3 * cout, 1), zero(conv(cout, cout, 1))
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


def check_settings(channels: int, heads: int, mults: Sequence[int]) -> None:
    """Raises `InputError` for widths that cannot be grouped, or that the heads cannot share."""
    if channels % 8:
        raise InputError(f"channels={channels}: give a multiple of 8", "channels")
    if channels % heads:
        raise InputError(f"heads={heads}: give a divisor of channels={channels}", "heads")
    if not mults:
        raise InputError("mults=[]: give at least one whole number", "mults")


def descent(
    conv: type,
    block: Callable[[int, int, Space], nn.Module],
    channels: int,
    mults: Sequence[int],
    blocks: int,
    space: Space,
) -> tuple[nn.ModuleList, list[int], list[Space]]:
    """`blocks` of block(channels in, channels out, space) for each entry of `mults`, the space halved between them.

    Also the channels before the first layer and after each, and the space of each entry.
    """
    down, widths, spaces = nn.ModuleList(), [channels], []
    for i, mult in enumerate(mults):
        if i:
            down.append(conv(widths[-1], widths[-1], 3, stride=2, padding=1))
            space = tuple((s + 1) // 2 for s in space)
            widths.append(widths[-1])
        spaces.append(space)
        for _ in range(blocks):
            down.append(block(widths[-1], mult * channels, space))
            widths.append(mult * channels)
    return down, widths, spaces
