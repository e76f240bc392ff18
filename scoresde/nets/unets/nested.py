"""Matryoshka's network: a U-Net within a U-Net, for pictures of several resolutions at once."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from torch import Tensor, nn

from ...conditions import Kind
from ...errors import InputError
from ...settings import Count, Range, Whole
from ...spaces.pyramid import channels_of, joined, parted
from ..base import Network
from ..parts.blocks import norm, zero
from ..parts.conditioning import Embedded
from ..parts.scales.levels import Style
from ..parts.scales.resampling import Double
from .unet import UNet


class NestedUNet(Network):
    """A U-Net of the smallest picture within ones of larger: `net(x, c)`, x (B, C', *grid) a pyramid -> like x.

    What the blocks at a larger resolution found is added, halved, to what enters the network within, which answers for
    its own pictures; its last features, doubled, go on to the larger one's.  So most of the work is at the smallest,
    each answer knows all pictures, and one training serves all of them (`data.pyramid`, which says how they lie in x).
    What leads inwards begins at 0: a network grows by entries of `outer`, and the answers of the one within are to the
    bit as they were (`train.start`, the paper's progressive training).

    Gu, Zhai, Zhang, Susskind, Jaitly (2023), Matryoshka Diffusion Models, arXiv 2310.15111.

    Arguments:
        shape: of x, (C', *grid) with 1 to 3 space axes.
        channels, mults, blocks, attention, heads: of the U-Net of the smallest picture, as in `UNet`.
        dropout: the chance of a feature within a block of that U-Net.
        outer: the channels at each larger resolution, multiples of 8, from the smaller one on; none: that U-Net alone.
        outer_blocks: residual blocks at each of these, on the way down and on the way up.
        conditions: as in `UNet`; all blocks see labels, vectors and the pooled vector of a sequence, those of the
            smallest picture attend to tokens, and pictures are channels beside the smallest.

    Raises:
        InputError: x is no pyramid of so many resolutions; settings that do not go together.
    """

    def __init__(
        self,
        shape: Sequence[Count],
        channels: Annotated[int, Range(8, 2**16)] = 32,
        mults: Sequence[Count] = (1, 2),
        blocks: Count = 1,
        attention: Whole = 64,
        heads: Count = 4,
        dropout: Annotated[float, Range(0, below=1)] = 0.0,
        outer: Sequence[Count] = (16,),
        outer_blocks: Count = 1,
        conditions: Mapping[str, Kind] | None = None,
    ):
        super().__init__()
        self.shape, self.conditions = tuple(shape), dict(conditions or {})
        self.pictured = channels_of(self.shape, len(outer) + 1)
        if wrong := [w for w in outer if w % 8]:
            raise InputError(f"outer={list(outer)}: give multiples of 8, not {wrong[0]}", "outer")
        smallest = (self.pictured, *self.shape[1:])
        self.inner = UNet(smallest, channels, mults, blocks, attention, heads, dropout, conditions=conditions)
        style = Style(len(self.shape) - 1, 4 * channels)
        entering, leaving = [channels, *outer], [mults[0] * channels, *outer]
        self.around = nn.ModuleList(
            Around(style, self.pictured, width, into, of, outer_blocks)
            for width, into, of in zip(outer, entering, leaving, strict=False)
        )

    def forward(self, x: Tensor, c: Tensor, cond: Mapping[str, Tensor] | None = None) -> Tensor:
        smallest, *larger = parted(x, self.pictured)
        entered, level, given = self.inner.told(smallest, c, cond)
        beside, skips = None, []
        for part, picture in reversed([*zip(self.around, larger, strict=True)]):
            beside, kept = part.inwards(picture, level, beside)
            skips.append(kept)
        answer, h = self.inner.within(entered, level, given, beside)
        answers = [answer]
        for part in self.around:
            answer, h = part.outwards(h, level, skips.pop())
            answers.append(answer)
        return joined(answers)


class Around(nn.Module):
    """What a U-Net has at one resolution above the network within.

    Arguments:
        style: of the blocks.
        pictured: channels of the picture, and of the answer.
        width: of the features here.
        into: of what is added to the features of the network within.
        of: of the features that it gives.
        blocks: on the way in, and on the way out.
    """

    def __init__(self, style: Style, pictured: int, width: int, into: int, of: int, blocks: int):
        super().__init__()
        self.enter = style.conv(pictured, width)
        self.down = nn.ModuleList(style.block(width, width, False) for _ in range(blocks))
        self.fall = zero(style.conv(width, into, stride=2))
        self.rise = Double((), style.conv(of, width))
        self.up = nn.ModuleList(style.block(2 * width, width, False) for _ in range(blocks))
        self.leave = nn.Sequential(norm(width), nn.SiLU(), zero(style.conv(width, pictured)))

    def inwards(self, picture: Tensor, level: Tensor, beside: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        """What is added to the features within, and what is kept for the way out; `beside` comes from without."""
        h, kept = self.enter(picture), []
        h = h if beside is None else h + beside
        for block in self.down:
            h = block(h, level, Embedded())
            kept.append(h)
        return self.fall(h), kept

    def outwards(self, h: Tensor, level: Tensor, kept: list[Tensor]) -> tuple[Tensor, Tensor]:
        """The answer and the features here, of the features within."""
        h = self.rise(h, kept[-1].shape[2:])
        for block, skip in zip(self.up, reversed(kept), strict=True):
            h = block(torch.cat([h, skip], 1), level, Embedded())
        return self.leave(h), h
