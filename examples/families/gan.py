"""A generative adversarial network of digits: a critic and a generator that take turns.  It has no likelihood."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from family import Doubled, Family, Residual, normals
from torch import Tensor, nn
from torch.nn import functional as F

from scoresde.nets.base import Network
from scoresde.settings import Count, Range, Scale

SETTINGS = {"lr": 1e-3, "betas": (0.0, 0.99), "batch_size": 64, "ema": 0.999, "weight_decay": 0.0, "clip": 10.0}


class Generator(Network):
    """z ~ N(0, I) of `latent` entries -> x (B, *shape) in [-1, 1]."""

    def __init__(
        self, shape: Sequence[Count], latent: Count = 32, channels: Annotated[int, Range(8, 2**12)] = 48
    ):
        super().__init__()
        self.latent, wide, side = latent, 2 * channels, shape[1] // 4
        conv = lambda cin, cout: nn.Conv2d(cin, cout, 3, padding=1)
        self.body = nn.Sequential(
            *(nn.Linear(latent, wide * side**2), nn.Unflatten(1, (wide, side, side)), nn.SiLU()),
            *(conv(wide, channels), Doubled(), Residual(channels), Doubled(), Residual(channels)),
            *(nn.SiLU(), conv(channels, shape[0]), nn.Tanh()),
        )

    def forward(self, z: Tensor) -> Tensor:
        return self.body(z)

    def generate(self, index: Tensor, seed: int) -> Tensor:
        """Samples (B, *shape) in the model's space."""
        return self(normals(index, (self.latent,), seed))


class Critic(Network):
    """x (B, *shape) -> (B,): the logit that x is real."""

    def __init__(self, shape: Sequence[Count], channels: Annotated[int, Range(8, 2**12)] = 48):
        super().__init__()
        wide, side = 2 * channels, shape[1] // 4
        conv = lambda cin, cout, **more: nn.Conv2d(cin, cout, 3, padding=1, **more)
        self.body = nn.Sequential(
            *(conv(shape[0], channels), Residual(channels, norm=False), conv(channels, channels, stride=2)),
            *(Residual(channels, norm=False), conv(channels, wide, stride=2), nn.SiLU(), nn.Flatten()),
            nn.Linear(wide * side**2, 1),
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
