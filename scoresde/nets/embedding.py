"""Features of the noise level."""

import math

import torch
from torch import Tensor, nn


class LevelEmbedding(nn.Module):
    """c (B,) -> (B, features): sines and cosines of c = log(sigma / alpha), frequencies 0.1 to 8, and a small MLP.

    c runs over about [-10, 5], so the slowest wave is monotone over it and the fastest tells 0.1 apart.  The waves are
    in float32 whatever the autocast.
    """

    def __init__(self, features: int, waves: int = 32):
        super().__init__()
        self.register_buffer("frequencies", torch.exp(torch.linspace(math.log(0.1), math.log(8.0), waves)))
        self.mlp = nn.Sequential(nn.Linear(2 * waves, features), nn.SiLU(), nn.Linear(features, features))

    def forward(self, c: Tensor) -> Tensor:
        with torch.autocast(c.device.type, enabled=False):
            angle = c.float()[:, None] * self.frequencies.float()
            waves = torch.cat([angle.sin(), angle.cos()], 1)
        return self.mlp(waves.to(self.mlp[0].weight.dtype))
