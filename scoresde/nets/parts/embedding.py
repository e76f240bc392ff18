"""Features of the noise level, and of the input."""

import math
from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor, nn

from ...settings import Range, checked

Octave = Annotated[int, Range(-20, 20)]


class LevelEmbedding(nn.Module):
    """c (B,) -> (B, features): sines and cosines of c = log(sigma / alpha), frequencies 0.1 to 8, and a small MLP.

    c runs over about [-10, 5], so the slowest wave is monotone over it and the fastest tells 0.1 apart.  The waves are
    in float32 whatever the autocast.
    """

    def __init__(self, features: int, waves: int = 32):
        super().__init__()
        self.register_buffer("frequencies", frequencies(waves))
        self.mlp = nn.Sequential(nn.Linear(2 * waves, features), nn.SiLU(), nn.Linear(features, features))

    def forward(self, c: Tensor) -> Tensor:
        return self.mlp(waves(c, self.frequencies).to(self.mlp[0].weight.dtype))


def frequencies(waves: int) -> Tensor:
    """Of the waves of c, 0.1 to 8."""
    return torch.exp(torch.linspace(math.log(0.1), math.log(8.0), waves))


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
