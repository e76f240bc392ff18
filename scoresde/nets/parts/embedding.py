"""Features of the noise level, and of the input."""

import math
from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from ...settings import Range, checked

Octave = Annotated[int, Range(-20, 20)]
Level = Literal["level", "sinusoidal", "fourier"]


class LevelEmbedding(nn.Module):
    """c (B,) -> (B, features): sines and cosines of c = log(sigma / alpha), and a small MLP.

    c runs over about [-10, 5].  The waves are in float32 whatever the autocast.

    Arguments:
        features: how many numbers.
        waves: the number of frequencies.
        kind: `level`: geometric from 0.1 to 8, the slowest wave is monotone over the range and the fastest tells 0.1
            apart; `sinusoidal`: DDPM's, 10^(-4 i / (waves - 1)) for a time of 1000 steps (Ho et al., 2020, arXiv
            2006.11239), of which a range of 20 in c takes the place: 50 times those; `fourier`: drawn, 2 pi N(0, 16^2),
            as in NCSN++ (Song et al., 2021, arXiv 2011.13456).
    """

    def __init__(self, features: int, waves: int = 32, kind: Level = "level"):
        super().__init__()
        self.register_buffer("frequencies", frequencies(waves, kind))
        self.mlp = nn.Sequential(nn.Linear(2 * waves, features), nn.SiLU(), nn.Linear(features, features))

    def forward(self, c: Tensor) -> Tensor:
        return self.mlp(waves(c, self.frequencies).to(self.mlp[0].weight.dtype))


def frequencies(waves: int, kind: Level = "level") -> Tensor:
    """Of the waves of c, by the kind of `LevelEmbedding`."""
    if kind == "fourier":
        return 2 * math.pi * 16 * torch.randn(waves)
    low, high = (0.1, 8.0) if kind == "level" else (50e-4, 50.0)
    return torch.exp(torch.linspace(math.log(low), math.log(high), waves))


def waves(c: Tensor, frequencies: Tensor) -> Tensor:
    """Sines and cosines (B, 2 waves) of c (B,), in float32 whatever the autocast."""
    with torch.autocast(c.device.type, enabled=False):
        angle = c.float()[:, None] * frequencies.float()
        return torch.cat([angle.sin(), angle.cos()], 1)


class Octaves(nn.Module):
    """x (B, C, ...) -> (B, C (1 + 2 k), ...): x and the waves sin, cos(2^n pi x) for the k numbers n in `octaves`.

    They show a network differences of x of about 2^-n that the weights of its first layer are too small for, and, in
    bfloat16, that the rounding of x itself hides: for 256 levels in [-1, 1] a level is one wave of n = 8, half a wave
    of n = 7.  In float32 at least, whatever the autocast.  Kingma et al. (2021), Variational Diffusion Models, arXiv
    2107.00630, section 4.2.
    """

    @checked
    def __init__(self, octaves: Sequence[Octave] = ()):
        super().__init__()
        self.octaves = tuple(octaves)

    @property
    def factor(self) -> int:
        """How many times the channels of x the answer has."""
        return 1 + 2 * len(self.octaves)

    def forward(self, x: Tensor) -> Tensor:
        if not self.octaves:
            return x
        with torch.autocast(x.device.type, enabled=False):
            angles = [2.0**n * math.pi * x.to(torch.promote_types(x.dtype, torch.float32)) for n in self.octaves]
            waves = [wave(angle).to(x.dtype) for angle in angles for wave in (torch.sin, torch.cos)]
        return torch.cat([x, *waves], 1)
