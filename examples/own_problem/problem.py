"""A problem of one's own: an SDE, a network and a data set.  This file is all the Python there is to write."""

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

import scoresde


@dataclass(frozen=True)
class Fade(scoresde.SDE):
    """alpha = exp(-rate t^2), sigma = t: two functions of time, and the rest is derived.

    None of the toolkit's SDEs; the inverse of its log-SNR has no elementary form and is found numerically.
    """

    rate: float = 5.3
    t_min: float = 1e-3
    t_max: float = 1.0

    def log_alpha(self, t):
        return -self.rate * t.square()

    def log_sigma(self, t):
        return t.log()


class Waves(Dataset):
    """Series of shape (1, 16): a sine of random phase, with 1 to 2 periods, and a little noise."""

    def __init__(self, n: int = 10000, noise: float = 0.1, seed: int = 0):
        generator = torch.Generator().manual_seed(seed)
        phase, periods = torch.rand(2, n, 1, 1, generator=generator)
        angle = 2 * math.pi * (phase + (1 + periods) * torch.arange(16) / 16)
        self.x = math.sqrt(2) * angle.sin() + noise * torch.randn(n, 1, 16, generator=generator)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> Tensor:
        return self.x[i]


class Net(nn.Module):
    """net(x, c): x (B, 1, 16) of about unit variance, c (B,) the log of the noise-to-signal ratio, to (B, 1, 16)."""

    def __init__(self, channels: int = 64, blocks: int = 4):
        super().__init__()
        conv = partial(nn.Conv1d, kernel_size=5, padding=2)
        self.level = nn.Sequential(nn.Linear(3, channels), nn.SiLU(), nn.Linear(channels, channels))
        self.enter = conv(1, channels)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.GroupNorm(4, channels), conv(channels, channels), nn.SiLU(), conv(channels, channels))
            for _ in range(blocks)
        )
        self.leave = conv(channels, 1)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        level = self.level(torch.stack([c / 4, c.sin(), c.cos()], 1))[:, :, None]
        h = self.enter(x)
        for block in self.blocks:
            h = h + block(h + level)
        return self.leave(h)
