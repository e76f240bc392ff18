"""A network of one vector for each row: the half of a U-Net that goes down, or an MLP's blocks."""

from collections.abc import Sequence
from typing import Annotated

from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import InputError
from ..settings import LATER, Count, Range, Whole
from .base import Network
from .parts.blocks import ConvBlock, MLPBlock, norm, zero
from .parts.conditioning import Embedded
from .parts.embedding import LevelEmbedding, Octave, Octaves
from .parts.scales.levels import Plan, Style, attended, check_settings, descent


class Encoder(Network):
    """Numbers of x at a noise level, a classifier's logits: `net(x, c)`, x (B, *shape), c (B,) -> (B, outputs).

    For (C, *space) of one to three space axes it is the half of `UNet` that goes down, with its settings and its
    middle, the mean over the positions, and a linear layer.  For vectors (D,) it is the blocks of `MLP`, without that
    network's random waves: guidance takes the gradient of a classifier, which they make rough.

    Dhariwal, Nichol (2021), arXiv 2105.05233, section 4.

    Arguments:
        shape: of x, (D,) or (C, *space).
        outputs: how many numbers, the classes.
        channels, mults, blocks, attention, heads, dropout, octaves: as in `UNet`; for vectors `channels` is the width,
            and there are `blocks` for each entry of `mults`.
        zeros: the last layer begins at 0, as a classifier's does, which holds all classes alike; False: as torch has
            it, for an answer that is normalised.

    Raises:
        InputError: data of another number of axes, or settings that do not go together.
    """

    def __init__(
        self,
        shape: Sequence[Count],
        outputs: Count,
        channels: Annotated[int, Range(8, 2**16)] = 64,
        mults: Sequence[Count] = (1, 2),
        blocks: Count = 2,
        attention: Whole = 64,
        heads: Count = 4,
        dropout: Annotated[float, Range(0, below=1)] = 0.0,
        octaves: Sequence[Octave] = (),
        zeros: Annotated[bool, LATER] = True,
    ):
        super().__init__()
        self.shape, self.outputs = tuple(shape), outputs
        if not 1 <= len(self.shape) <= 4:
            raise InputError(f"shape={self.shape}: give (D,), or (channels, *space) with 1 to 3 space axes", "shape")
        check_settings(channels, heads, mults)
        self.octaves, self.zeros = Octaves(octaves), zeros
        if len(self.shape) == 1:
            self._of_vectors(channels, blocks * len(mults), dropout)
        else:
            self._of_space(channels, mults, blocks, attention, heads, dropout)

    def _of_vectors(self, width: int, blocks: int, dropout: float) -> None:
        self.embed = LevelEmbedding(width)
        self.enter = nn.Linear(self.shape[0] * self.octaves.factor, width)
        self.down = nn.ModuleList(MLPBlock(width, dropout) for _ in range(blocks))
        self.leave = nn.Sequential(nn.LayerNorm(width), nn.SiLU(), self._last(width))

    def _of_space(self, channels: int, mults: Sequence[int], blocks: int, attention: int, heads: int, dropout: float):
        style = Style(len(self.shape) - 1, 4 * channels, dropout, heads)
        attends = attended(self.shape[1:], len(mults), attention, (), False)
        plan = Plan(tuple(m * channels for m in mults), (blocks,) * len(mults), attends)
        self.embed = LevelEmbedding(style.level)
        self.enter = style.conv(self.shape[0] * self.octaves.factor, channels)
        self.down, skips, _ = descent(style, plan, channels)
        width = skips[-1]
        self.down.extend(style.block(width, width, attends[-1]) for _ in range(2))
        self.before = nn.Sequential(norm(width), nn.SiLU())
        self.leave = self._last(width)

    def _last(self, width: int) -> nn.Linear:
        layer = nn.Linear(width, self.outputs)
        return zero(layer) if self.zeros else layer

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """(B, outputs) of x (B, *shape) at c = log(sigma / alpha) (B,)."""
        if len(self.shape) == 1:
            level, given, h = self.embed(c), Embedded(), self.enter(self.octaves(x))
            for layer in self.down:
                h = layer(h, level, given)
            return self.leave(h)
        return self.leave(self.before(self.maps(x, c)[-1]).flatten(2).mean(2))

    def maps(self, x: Tensor, c: Tensor) -> list[Tensor]:
        """What each block answers, (B, C_l, *space_l), of x (B, C, *space) at c = log(sigma / alpha) (B,)."""
        level, given, h, found = F.silu(self.embed(c)), Embedded(), self.enter(self.octaves(x)), []
        for layer in self.down:
            h = layer(h, level, given) if isinstance(layer, ConvBlock) else layer(h)
            found += [h] if isinstance(layer, ConvBlock) else []
        return found
