"""A U-Net for series, images and volumes."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...conditions import Kind
from ...errors import InputError
from ...settings import LATER, Count, Range, Whole
from ..base import Network
from ..parts.blocks import ConvBlock, norm, zero
from ..parts.conditioning import Conditioner, Embedded
from ..parts.embedding import Level, LevelEmbedding, Octave, Octaves
from ..parts.scales import progressive
from ..parts.scales.levels import Plan, Style, ascent, attended, check_settings, descent
from ..parts.scales.resampling import check_taps

Resampling = Literal["conv", "mean", "residual", "biggan"]


class UNet(Network):
    """Residual blocks, attention and skips at several resolutions: `net(x, c)`, x (B, C, *space), c (B,) -> like x.

    Resolution halves between the entries of `mults`; any size will do, odd ones too.  The level c = log(sigma / alpha)
    enters every block.  As it stands it is a small network of its own; `presets` are those of the field: DDPM's,
    improved DDPM's, DDPM++, NCSN++, ADM's and Imagen's.

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
        block_mults: the factors of `blocks`, one for each resolution; none: 1.
        factors: of the resolution, 2 for a half, at which attention follows, and once in the middle, in place of
            `attention`.
        attend: behind `each` block, only behind the last of a resolution on the way up (`last_up`) or on both (`last`).
        head_channels: the channels of each head, a divisor of `channels`, in place of `heads`; 0: `heads` of them.
        groups: the most groups of a norm.
        embedding: the waves of c: `level`, `sinusoidal`, `fourier` (`LevelEmbedding`).
        modulation: how the level enters a block: it may `scale_shift` what comes out of its second norm (Nichol,
            Dhariwal, 2021, arXiv 2102.09672), or `add` before it.
        resampling: a strided `conv`, and up the nearest and a convolution; the `mean` and the nearest, without weights;
            within a `residual` block, or with a 1x1 convolution on its skip too, as in `biggan` (Brock et al., 2019,
            arXiv 1809.11096).
        fir: taps of a filter in place of means and neighbours, [1, 3, 3, 1]; none: no filter.
        rescale: sums of two branches are divided by sqrt(2).
        progressive_input, progressive_output: a picture beside each level, `skip` or `residual`, or `none`.
        efficient: the resolution halves before the first level too, skips pass from blocks alone, there is no middle
            (Saharia et al., 2022, arXiv 2205.11487).
        outputs: how many tensors like x the answer is, side by side in its channels.

    Raises:
        InputError: data without a channel and one to three space axes, or settings that do not go together.
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
        block_mults: Annotated[Sequence[Count], LATER] = (),
        factors: Annotated[Sequence[Count], LATER] = (),
        attend: Annotated[Literal["each", "last_up", "last"], LATER] = "each",
        head_channels: Annotated[Whole, LATER] = 0,
        groups: Annotated[Count, LATER] = 8,
        embedding: Annotated[Level, LATER] = "level",
        modulation: Annotated[Literal["scale_shift", "add"], LATER] = "scale_shift",
        resampling: Annotated[Resampling, LATER] = "conv",
        fir: Annotated[Sequence[float], LATER] = (),
        rescale: Annotated[bool, LATER] = False,
        progressive_input: Annotated[progressive.Input, LATER] = "none",
        progressive_output: Annotated[progressive.Output, LATER] = "none",
        efficient: Annotated[bool, LATER] = False,
        outputs: Annotated[Count, LATER] = 1,
    ):
        super().__init__()
        self.shape, self.outputs, self.octaves = tuple(shape), outputs, Octaves(octaves)
        _check(self.shape, mults, block_mults, fir)
        check_settings(channels, heads, mults, head_channels)
        waves = {"level": 32, "sinusoidal": channels // 2, "fourier": channels}[embedding]
        self.embed = LevelEmbedding(4 * channels, waves, embedding)
        self.conditions, extra, context = dict(conditions or {}), 0, 0
        if conditions:
            self.conditioner = Conditioner(conditions, 4 * channels)
            extra, context = self.conditioner.channels, 4 * channels if self.conditioner.sequences else 0
        made = (heads, head_channels, context, groups, modulation == "add", rescale, resampling, tuple(fir))
        style = Style(len(self.shape) - 1, 4 * channels, dropout, *made)
        depths = tuple(blocks * m for m in block_mults or [1] * len(mults))
        attends = attended(self.shape[1:], len(mults), attention, factors, efficient)
        widths = tuple(m * channels for m in mults)
        plan = Plan(widths, depths, attends, attend == "last", attend != "each", bool(factors), efficient)
        self._layers(style, plan, channels, self.shape[0] * self.octaves.factor + extra)
        self._pictures(style, plan, progressive_input, progressive_output)

    def _layers(self, style: Style, plan: Plan, channels: int, entering: int) -> None:
        width, self.efficient = plan.widths[-1], plan.efficient
        self.enter = style.conv(entering, channels)
        self.down, skips, falls = descent(style, plan, channels)
        middle = nn.ModuleList(style.block(width, width, attend) for attend in plan.middle)
        self.up, ends, rises = ascent(style, plan, skips)
        self.middle = middle  # last: optimizers kept in checkpoints know parameters by their order
        self.falls, self.ends, self.rises = falls, frozenset(ends), frozenset(rises)

    def _pictures(self, style: Style, plan: Plan, into: progressive.Input, out: progressive.Output) -> None:
        """The last layer, and what stands beside the others."""
        answer, width = self.outputs * self.shape[0], plan.widths[0]
        self.leave = nn.Identity()
        if out != "skip":
            self.leave = nn.Sequential(norm(width, style.groups), nn.SiLU(), zero(style.conv(width, answer)))
        self.into = progressive.inputs(into, style, self.enter.in_channels, list(self.falls.values()))
        self.out = progressive.outputs(out, style, answer, plan.widths[::-1])

    def forward(self, x: Tensor, c: Tensor, cond: Mapping[str, Tensor] | None = None) -> Tensor:
        return self.within(*self.told(x, c, cond))[0]

    def told(self, x: Tensor, c: Tensor, cond: Mapping[str, Tensor] | None = None) -> tuple[Tensor, Tensor, Embedded]:
        """What `within` takes.

        Arguments:
            x, c, cond: as in `forward`.

        Returns:
            What enters the first layer (B, C', *space), what blocks see of the level (B, 4 channels), the conditions.
        """
        level, h, given = self.embed(c), self.octaves(x), Embedded()
        if self.conditions:
            given = self.conditioner(cond or {}, x)
            level = level if given.vector is None else level + given.vector
            h = h if given.channels is None else torch.cat([h, given.channels], 1)
        return h, F.silu(level), given

    def within(self, h: Tensor, level: Tensor, given: Embedded, beside: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The answer, and the features that the last layer makes it of.

        Arguments:
            h, level, given: what `told` gave.
            beside: (B, channels, *space), added behind the first layer; None: nothing.

        Returns:
            (B, outputs C, *space), and (B, mults[0] channels, *space).
        """
        h, skips, spaces = self._down(h, level, given, beside)
        for layer in self.middle:
            h = layer(h, level, given)
        return self._up(h, skips, spaces, level, given)

    def _down(
        self, h: Tensor, level: Tensor, given: Embedded, beside: Tensor | None
    ) -> tuple[Tensor, list[Tensor], list[torch.Size]]:
        picture, h = h, self.enter(h)
        h = h if beside is None else h + beside
        skips, spaces = [] if self.efficient else [h], []
        for i, layer in enumerate(self.down):
            falls = i in self.falls
            spaces += [h.shape[2:]] if falls else []
            h = layer(h, level, given) if isinstance(layer, ConvBlock) else layer(h)
            if falls and self.into:
                picture, h = self.into[len(spaces) - 1](picture, h)
            skips += [] if falls and self.efficient else [h]
        return h, skips, spaces

    def _up(
        self, h: Tensor, skips: list[Tensor], spaces: list[torch.Size], level: Tensor, given: Embedded
    ) -> tuple[Tensor, Tensor]:
        picture, heads = None, iter(self.out)
        for i, layer in enumerate(self.up):
            if i in self.rises:
                space = spaces.pop()
                h = layer(h, level, given, space) if isinstance(layer, ConvBlock) else layer(h, space)
            else:
                h = layer(torch.cat([h, skips.pop()], 1), level, given)
            if i in self.ends and self.out:
                picture, h = next(heads)(picture, h)
        return self.leave(picture if isinstance(self.leave, nn.Identity) else h), h


def _check(shape: tuple[int, ...], mults: Sequence[int], block_mults: Sequence[int], fir: Sequence[float]) -> None:
    if not 2 <= len(shape) <= 4:
        raise InputError(
            f"a U-Net needs data of shape (channels, *space) with 1 to 3 space axes, not {shape}: take an MLP"
        )
    if block_mults and len(block_mults) != len(mults):
        words = f"give a whole number for each of mults={list(mults)}"
        raise InputError(f"block_mults={list(block_mults)}: {words}", "block_mults")
    check_taps(fir)
