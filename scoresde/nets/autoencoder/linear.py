"""The network of a linear autoencoder: one matrix down to the latents, and one up again."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...errors import InputError
from ...settings import Count
from ..base import Network


class LinearCodec(Network):
    """x (B, *shape) -> h = (A (x - mu), log std) (B, 2 latent), and z (B, latent) -> W z + mu, like x.

    With a `Gaussian` bottleneck q(z | x) = N(A (x - mu), diag std^2), one std for all x.  Latents are vectors.
    `latent.pca` fits it to data; it begins at 0 with std 1.

    Tipping, Bishop (1999), Probabilistic Principal Component Analysis.

    Arguments:
        shape: of x.
        latent: the size of z, below that of x.

    Raises:
        InputError: as many latents as numbers in x, or more.
    """

    def __init__(self, shape: Sequence[Count], latent: Count = 4):
        super().__init__()
        self.shape, self.latent = tuple(shape), latent
        size = math.prod(self.shape)
        if latent >= size:
            raise InputError(f"latent={latent}: give fewer than the {size} numbers of an item", "latent")
        self.mean = nn.Parameter(torch.zeros(size))
        self.into = nn.Parameter(torch.zeros(latent, size))
        self.back = nn.Parameter(torch.zeros(size, latent))
        self.log_std = nn.Parameter(torch.zeros(latent))

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Of z."""
        return (self.latent,)

    @property
    def last(self) -> nn.Parameter:
        """The weight W of the way up."""
        return self.back

    def down(self, x: Tensor) -> Tensor:
        """h (B, 2 latent) of x (B, *shape)."""
        mean = (x.flatten(1) - self.mean) @ self.into.T
        return torch.cat([mean, self.log_std.expand_as(mean)], 1)

    def up(self, z: Tensor) -> Tensor:
        """W z + mu (B, *shape) of z (B, latent)."""
        return (z @ self.back.T + self.mean).unflatten(1, self.shape)

    def forward(self, x: Tensor) -> Tensor:
        """h of x."""
        return self.down(x)
