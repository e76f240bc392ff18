"""A residual MLP with Fourier features."""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from torch import Tensor, nn

from ..conditions import Kind
from ..settings import LATER, Count, Positive, Range, Whole
from .base import Network
from .parts.blocks import MLPBlock
from .parts.conditioning import Conditioner, Embedded
from .parts.embedding import LevelEmbedding, Octave, Octaves


class MLP(Network):
    """A residual MLP for data of any shape, flattened: `net(x, c)`, x (B, *shape), c (B,) -> (B, *shape).

    The input is joined by random waves sin, cos(2 pi w x) with w ~ N(0, fourier_scale^2 / D), which let a small network
    follow fine structure (Tancik et al., 2020, arXiv 2006.10739); every block is modulated by c.

    Arguments:
        shape: of x.
        width: of each layer.
        blocks: the number of residual blocks.
        fourier: the number of waves.
        fourier_scale: their frequencies' scale.
        dropout: the chance of a feature within a block.
        octaves: n of the waves sin, cos(2^n pi x) of each entry that join too: for data of many levels.
        conditions: kinds by their names: it is then `net(x, c, cond)`; labels and vectors are added to the level's
            embedding, pictures join the input, and each block attends to tokens.
        outputs: how many tensors like x the answer is, side by side in its first axis.

    Raises:
        InputError: settings out of range.
    """

    def __init__(
        self,
        shape: Sequence[Count],
        width: Count = 128,
        blocks: Whole = 4,
        fourier: Whole = 32,
        fourier_scale: Positive = 1.0,
        dropout: Annotated[float, Range(0, below=1)] = 0.0,
        octaves: Sequence[Octave] = (),
        conditions: Mapping[str, Kind] | None = None,
        outputs: Annotated[Count, LATER] = 1,
    ):
        super().__init__()
        self.shape, self.outputs, size = tuple(shape), outputs, math.prod(shape)
        waves = torch.randn(size, fourier) * fourier_scale * 2 * math.pi / math.sqrt(size)
        self.register_buffer("waves", waves)
        self.embed = LevelEmbedding(width)
        self.octaves = Octaves(octaves)
        self.conditions, extra, context = dict(conditions or {}), 0, 0
        if conditions:
            self.conditioner = Conditioner(conditions, width, flat=True)
            extra, context = self.conditioner.channels, width if self.conditioner.sequences else 0
        self.enter = nn.Linear(size * self.octaves.factor + 2 * fourier + extra, width)
        self.blocks = nn.ModuleList(MLPBlock(width, dropout, context) for _ in range(blocks))
        self.leave = nn.Sequential(nn.LayerNorm(width), nn.SiLU(), nn.Linear(width, outputs * size))
        nn.init.zeros_(self.leave[-1].weight)
        nn.init.zeros_(self.leave[-1].bias)

    def forward(self, x: Tensor, c: Tensor, cond: Mapping[str, Tensor] | None = None) -> Tensor:
        flat, level = x.flatten(1), self.embed(c)
        angle = flat @ self.waves
        parts, given = [self.octaves(flat), angle.sin(), angle.cos()], Embedded()
        if self.conditions:
            given = self.conditioner(cond or {}, x)
            level = level if given.vector is None else level + given.vector
            parts += [] if given.channels is None else [given.channels]
        h = self.enter(torch.cat(parts, 1))
        for block in self.blocks:
            h = block(h, level, given)
        shape = x.shape if self.outputs == 1 else (len(x), self.outputs * self.shape[0], *self.shape[1:])
        return self.leave(h).reshape(shape)
