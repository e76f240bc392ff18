"""Progressive input and output: a small picture beside each level of a U-Net, as in NCSN++.

Karras et al. (2020), arXiv 1912.04958, section 4; Song et al. (2021), arXiv 2011.13456, appendix H.
"""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from ..blocks import norm, zero
from .levels import Style
from .resampling import Double, Halve

Input = Literal["none", "skip", "residual"]
Output = Literal["none", "skip", "residual"]


class InputSkip(nn.Module):
    """Behind each halving: the input, halved too, through a 1x1 convolution, is added to h."""

    def __init__(self, style: Style, pictured: int, width: int):
        super().__init__()
        self.halve, self.conv = Halve(style.taps), style.conv(pictured, width, size=1)

    def forward(self, picture: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        picture = self.halve(picture)
        return picture, h + self.conv(picture)


class InputResidual(nn.Module):
    """Behind each halving: what went before, halved by a convolution, is added to h, and is the picture of the next."""

    def __init__(self, style: Style, pictured: int, width: int):
        super().__init__()
        conv = style.conv(pictured, width, stride=2)
        self.halve, self.rescale = Halve(style.taps, conv) if style.taps else conv, style.rescale

    def forward(self, picture: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = self.halve(picture) + h
        h = h * 0.5**0.5 if self.rescale else h
        return h, h


class OutputSkip(nn.Module):
    """At the end of each level: a picture of h, added to the coarser one doubled; the last is the answer."""

    def __init__(self, style: Style, pictured: int, width: int, first: bool):
        super().__init__()
        self.up = None if first else Double(style.taps)
        self.head = nn.Sequential(norm(width, style.groups), nn.SiLU(), zero(style.conv(width, pictured)))

    def forward(self, picture: Tensor | None, h: Tensor) -> tuple[Tensor, Tensor]:
        found = self.head(h)
        return (found if self.up is None else self.up(picture, h.shape[2:]) + found), h


class OutputResidual(nn.Module):
    """At the end of each level: the coarser picture, doubled with a convolution, is added to h, and is the next."""

    def __init__(self, style: Style, pictured: int, width: int, first: bool):
        super().__init__()
        self.rescale, conv = style.rescale, style.conv(pictured, width)
        self.up = None if first else Double(style.taps, conv)
        self.head = nn.Sequential(norm(width, style.groups), nn.SiLU(), conv) if first else None

    def forward(self, picture: Tensor | None, h: Tensor) -> tuple[Tensor, Tensor]:
        if self.head is not None:
            return self.head(h), h
        h = self.up(picture, h.shape[2:]) + h
        h = h * 0.5**0.5 if self.rescale else h
        return h, h


def inputs(kind: Input, style: Style, pictured: int, widths: Sequence[int]) -> nn.ModuleList:
    """One of each halving, of `pictured` channels of the input; `widths` are the channels behind them."""
    if kind == "none":
        return nn.ModuleList()
    if kind == "skip":
        return nn.ModuleList(InputSkip(style, pictured, width) for width in widths)
    before = [pictured, *widths][: len(widths)]
    return nn.ModuleList(InputResidual(style, a, b) for a, b in zip(before, widths, strict=True))


def outputs(kind: Output, style: Style, pictured: int, widths: Sequence[int]) -> nn.ModuleList:
    """One of each level, from the coarsest, of `widths` channels; `pictured` are those of the answer."""
    if kind == "none":
        return nn.ModuleList()
    if kind == "skip":
        return nn.ModuleList(OutputSkip(style, pictured, width, not i) for i, width in enumerate(widths))
    before = [widths[0], *widths][: len(widths)]
    return nn.ModuleList(
        OutputResidual(style, a, b, not i) for i, (a, b) in enumerate(zip(before, widths, strict=True))
    )
