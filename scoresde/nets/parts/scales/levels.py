"""The two halves of a U-Net, down and up: how its blocks are made, and where they stand."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from ....errors import InputError
from ..blocks import ConvBlock
from .resampling import Double, Halve

Space = tuple[int, ...]


@dataclass(frozen=True)
class Style:
    """How the blocks of a U-Net are made, whatever their width.

    Arguments:
        dims: the space axes.
        level, dropout, context, groups, add, rescale: as in `ConvBlock`.
        heads: of attention.
        head_channels: the channels of each head, which then sets their number; 0: `heads`.
        resampling: `conv`, `mean`, `residual` or `biggan`, as in `UNet`.
        taps: of the filter by which it resamples; none: means and neighbours.
    """

    dims: int
    level: int
    dropout: float = 0.0
    heads: int = 4
    head_channels: int = 0
    context: int = 0
    groups: int = 8
    add: bool = False
    rescale: bool = False
    resampling: str = "conv"
    taps: tuple[float, ...] = ()

    def conv(self, cin: int, cout: int, size: int = 3, stride: int = 1) -> nn.Module:
        """A convolution, padded."""
        return getattr(nn, f"Conv{self.dims}d")(cin, cout, size, stride=stride, padding=size // 2)

    def block(self, cin: int, cout: int, attend: bool, resample: nn.Module | None = None) -> ConvBlock:
        """A residual block; with attention behind it."""
        heads = max(1, cout // self.head_channels) if self.head_channels else self.heads
        learned = resample is not None and self.resampling == "biggan"
        options = (self.context, self.groups, self.add, self.rescale, resample, learned)
        conv = getattr(nn, f"Conv{self.dims}d")
        return ConvBlock(conv, cin, cout, self.level, self.dropout, heads if attend else 0, *options)

    def halve(self, cin: int, cout: int) -> nn.Module:
        """What halves the resolution between two levels."""
        if self.resampling == "conv":
            conv = self.conv(cin, cout, stride=2)
            return Halve(self.taps, conv) if self.taps else conv
        if self.resampling == "mean":
            return Halve(self.taps)
        return self.block(cin, cout, False, Halve(self.taps))

    def double(self, width: int) -> nn.Module:
        """What doubles it."""
        if self.resampling in ("conv", "mean"):
            return Double(self.taps, self.conv(width, width) if self.resampling == "conv" else None)
        return self.block(width, width, False, Double(self.taps))


@dataclass(frozen=True)
class Plan:
    """What stands at each level, from the finest.

    Arguments:
        widths: the channels.
        blocks: how many.
        attends: whether attention follows them.
        last_down, last_up: attention only behind the last block of a level.
        amid: attention between the two blocks in the middle; if not, as at the coarsest level.
        efficient: the resolution halves before the first level too, skips pass from blocks alone, there is no middle.
    """

    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    attends: tuple[bool, ...]
    last_down: bool = False
    last_up: bool = False
    amid: bool = False
    efficient: bool = False

    @property
    def first(self) -> int:
        """The first level that is coarser than what is before it."""
        return 0 if self.efficient else 1

    @property
    def middle(self) -> tuple[bool, ...]:
        """The blocks between the halves: whether attention follows."""
        return () if self.efficient else (True, False) if self.amid else self.attends[-1:] * 2


def descent(style: Style, plan: Plan, channels: int) -> tuple[nn.ModuleList, list[int], dict[int, int]]:
    """The half that goes down, behind a layer of so many channels.

    Returns:
        Its layers, the channels of each skip, and of the layers that halve the resolution {number: channels}.
    """
    down, skips, falls, width = nn.ModuleList(), [] if plan.efficient else [channels], {}, channels
    for i, (wide, blocks) in enumerate(zip(plan.widths, plan.blocks, strict=True)):
        if i >= plan.first:
            after = wide if plan.efficient and style.resampling != "mean" else width
            falls[len(down)] = after
            down.append(style.halve(width, after))
            width = after
            skips += [] if plan.efficient else [width]
        for n in range(blocks):
            down.append(style.block(width, wide, plan.attends[i] and (not plan.last_down or n == blocks - 1)))
            width = wide
            skips.append(width)
    return down, skips, falls


def ascent(style: Style, plan: Plan, skips: Sequence[int]) -> tuple[nn.ModuleList, list[int], list[int]]:
    """The half that goes up, which takes the skips.

    Returns:
        Its layers, and the numbers of the last of each level and of those that double the resolution.
    """
    up, ends, rises, skips = nn.ModuleList(), [], [], list(skips)
    width = plan.widths[-1]
    for i in reversed(range(len(plan.widths))):
        blocks = plan.blocks[i] + (not plan.efficient)
        for n in range(blocks):
            attend = plan.attends[i] and (not plan.last_up or n == blocks - 1)
            up.append(style.block(width + skips.pop(), plan.widths[i], attend))
            width = plan.widths[i]
        ends.append(len(up) - 1)
        if i >= plan.first:
            rises.append(len(up))
            up.append(style.double(width))
    return up, ends, rises


def check_settings(channels: int, heads: int, mults: Sequence[int], head_channels: int = 0) -> None:
    """Raises `InputError` for widths that cannot be grouped, or that the heads cannot share."""
    if channels % 8:
        raise InputError(f"channels={channels}: give a multiple of 8", "channels")
    if not head_channels and channels % heads:
        raise InputError(f"heads={heads}: give a divisor of channels={channels}", "heads")
    if head_channels and channels % head_channels:
        raise InputError(f"head_channels={head_channels}: give a divisor of channels={channels}", "head_channels")
    if not mults:
        raise InputError("mults=[]: give at least one whole number", "mults")


def attended(space: Space, levels: int, positions: int, factors: Sequence[int], efficient: bool) -> tuple[bool, ...]:
    """Whether there is attention at each level: at these factors of the resolution, or at so many positions at most.

    Raises `InputError` for a factor that is none of a level.
    """
    found, known = [], [2 ** (i + efficient) for i in range(levels)]
    if not set(factors) <= set(known):
        raise InputError(f"factors={list(factors)}: give some of {known}, as many as there are mults", "factors")
    for i in range(levels):
        if i or efficient:
            space = tuple((s + 1) // 2 for s in space)
        found.append(known[i] in factors if factors else math.prod(space) <= positions)
    return tuple(found)
