"""A residual MLP with Fourier features."""

import math
from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor, nn

from ..settings import Count, Positive, Range, Whole
from .base import Network
from .embedding import LevelEmbedding, Octave, Octaves


class MLP(Network):
    """A residual MLP for data of any shape, flattened: `net(x, c)`, x (B, *shape), c (B,) -> (B, *shape).

    The input is joined by `fourier` random waves sin, cos(2 pi w x) with w ~ N(0, fourier_scale^2 / D), which let a
    small network follow fine structure (Tancik et al., 2020, arXiv 2006.10739); every block is modulated by c.
    `octaves` adds the waves of `Octaves` of each entry.
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
    ):
        super().__init__()
        self.shape, size = tuple(shape), math.prod(shape)
        waves = torch.randn(size, fourier) * fourier_scale * 2 * math.pi / math.sqrt(size)
        self.register_buffer("waves", waves)
        self.embed = LevelEmbedding(width)
        self.octaves = Octaves(octaves)
        self.enter = nn.Linear(size * self.octaves.factor + 2 * fourier, width)
        self.blocks = nn.ModuleList(_Block(width, dropout) for _ in range(blocks))
        self.leave = nn.Sequential(nn.LayerNorm(width), nn.SiLU(), nn.Linear(width, size))
        nn.init.zeros_(self.leave[-1].weight)
        nn.init.zeros_(self.leave[-1].bias)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        flat = x.flatten(1)
        angle = flat @ self.waves
        h, level = self.enter(torch.cat([self.octaves(flat), angle.sin(), angle.cos()], 1)), self.embed(c)
        for block in self.blocks:
            h = block(h, level)
        return self.leave(h).reshape(x.shape)


class _Block(nn.Module):
    def __init__(self, width: int, dropout: float):
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulate = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.SiLU(), nn.Dropout(dropout), nn.Linear(2 * width, width)
        )

    def forward(self, h: Tensor, level: Tensor) -> Tensor:
        scale, shift = self.modulate(level).chunk(2, 1)
        return h + self.mlp(self.norm(h) * (1 + scale) + shift)
