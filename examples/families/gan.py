"""A generative adversarial network of digits: a critic and a generator that take turns.  It has no likelihood."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from family import Family, normals
from torch import Tensor, nn
from torch.nn import functional as F

from scoresde.nets.base import Network
from scoresde.settings import Count, Range, Scale

SETTINGS = {"lr": 1e-3, "betas": (0.0, 0.99), "batch_size": 64, "ema": 0.999, "weight_decay": 0.0, "clip": 10.0}


class Generator(Network):
    """z ~ N(0, I) of `latent` entries -> x (B, *shape) in [-1, 1], its sides multiples of 4."""

    def __init__(self, shape: Sequence[Count], latent: Count = 32, channels: Annotated[int, Range(8, 2**12)] = 32):
        super().__init__()
        self.latent, side, up = latent, shape[1] // 4, {"kernel_size": 4, "stride": 2, "padding": 1}
        self.body = nn.Sequential(
            *(nn.Linear(latent, 4 * channels * side**2), nn.Unflatten(1, (4 * channels, side, side)), nn.SiLU()),
            *(nn.ConvTranspose2d(4 * channels, 2 * channels, **up), nn.GroupNorm(8, 2 * channels), nn.SiLU()),
            *(nn.ConvTranspose2d(2 * channels, channels, **up), nn.GroupNorm(8, channels), nn.SiLU()),
            *(nn.Conv2d(channels, shape[0], 3, padding=1), nn.Tanh()),
        )

    def forward(self, z: Tensor) -> Tensor:
        return self.body(z)

    def generate(self, index: Tensor, seed: int) -> Tensor:
        """Samples (B, *shape) in the model's space."""
        return self(normals(index, (self.latent,), seed))


class Critic(Network):
    """x (B, *shape) -> (B,): the logit that x is real."""

    def __init__(self, shape: Sequence[Count], channels: Annotated[int, Range(8, 2**12)] = 32):
        super().__init__()
        side, down = shape[1] // 4, {"kernel_size": 4, "stride": 2, "padding": 1}
        self.body = nn.Sequential(
            *(nn.Conv2d(shape[0], channels, 3, padding=1), nn.SiLU()),
            *(nn.Conv2d(channels, 2 * channels, **down), nn.SiLU()),
            *(nn.Conv2d(2 * channels, 4 * channels, **down), nn.SiLU(), nn.Flatten()),
            nn.Linear(4 * channels * side**2, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)[:, 0]


class Adversarial(Family):
    """The non-saturating losses, with a penalty on the critic's gradient at real items only (R1):

        critic     softplus(f(g(z))) + softplus(-f(x)) + gamma / 2 |grad f(x)|^2
        generator  softplus(-f(g(z)))

    Goodfellow et al. (2014), arXiv 1406.2661; the penalty: Mescheder, Geiger, Nowozin (2018), arXiv 1801.04406.
    """

    kind, turns = "gan", ("critic", "generator")

    def __init__(self, product: Generator, critic: Critic, data, gamma: Scale = 1.0):
        super().__init__(product, data)
        self.critic, self.gamma = critic, gamma

    def trained(self, turn):
        return list({"critic": self.critic, "generator": self.product}[turn].parameters())

    def more(self, size, turn):
        return (torch.randn(size, self.product.latent),)

    def forward(self, drawn, turn):
        x, z = drawn
        if turn == "generator":
            return F.softplus(-self.critic(self.product(z)))
        x = x.requires_grad_()
        real, made = self.critic(x), self.critic(self.product(z).detach())
        (slope,) = torch.autograd.grad(real.sum(), x, create_graph=True)
        return F.softplus(made) + F.softplus(-real) + self.gamma / 2 * slope.square().flatten(1).sum(1)

    def describe(self):
        return super().describe() | {"gamma": self.gamma}


def objective(data, gamma: float = 1.0, **settings) -> Adversarial:
    """What is trained."""
    return Adversarial(Generator(data.shape, **settings), Critic(data.shape), data, gamma)
