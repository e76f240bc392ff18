"""What lies between the encoder and the decoder of an autoencoder: a Gaussian for each latent, a book of codes, or
nothing."""

import math
from typing import Annotated, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...settings import Count, Range, Scale
from ..base import Network

LEAST, MOST = -10.0, 4.0  # of log std
SILENT = 0.01  # nats of a channel of latents, the mean over its places, below which it says nothing


class Coded(NamedTuple):
    """z (B, latent, *space); what it costs each row (B,), in nats of all its numbers or in a loss's own units; and of a
    codebook which codes there are (B, *space), and h on their sphere, None else."""

    z: Tensor
    cost: Tensor
    codes: Tensor | None = None
    h: Tensor | None = None


class Gaussian(Network):
    """q(z | x) = N(mean, diag std^2), both from h, and KL(q || N(0, I)) = sum (mean^2 + std^2 - 1 - log std^2) / 2.

    Kingma, Welling (2014), arXiv 1312.6114.

    Arguments:
        latent: the channels of z; h has twice as many.
    """

    def __init__(self, latent: Count = 4):
        super().__init__()
        self.latent, self.features = latent, 2 * latent

    def posterior(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """The mean and log std (B, latent, *space) of h."""
        mean, log_std = h.chunk(2, 1)
        return mean, log_std.clamp(LEAST, MOST)

    def divergence(self, h: Tensor) -> Tensor:
        """The KL of each number of h (B, 2 latent, *space), in nats: (B, latent, *space)."""
        mean, log_std = self.posterior(h)
        return (mean.square() + (2 * log_std).exp() - 1) / 2 - log_std

    def silent(self, h: Tensor) -> Tensor:
        """Which channels say less than 0.01 nats a place of h (B, 2 latent, *space), (latent,): they collapsed."""
        return self.divergence(h).reshape(len(h), self.latent, -1).mean((0, 2)) < SILENT

    def forward(self, h: Tensor, eps: Tensor | None = None) -> Coded:
        """z = mean + std eps of h (B, 2 latent, *space), and the KL; without eps the mean."""
        mean, log_std = self.posterior(h)
        z = mean if eps is None else mean + log_std.exp() * eps
        return Coded(z, self.divergence(h).flatten(1).sum(1))


class Plain(Network):
    """z = h: the encoder answers with the latents themselves, which cost nothing.

    Arguments:
        latent: the channels of z and of h.
    """

    def __init__(self, latent: Count = 4):
        super().__init__()
        self.latent, self.features = latent, latent

    def forward(self, h: Tensor, eps: Tensor | None = None) -> Coded:
        """z of h (B, latent, *space); eps has no use here."""
        return Coded(h, h.new_zeros(len(h)))


class Codebook(Network):
    """The nearest of `size` codes e_k in place of each vector of h: z = e_k, k = argmin |h - e_k|.

    Gradients pass it as if it were not there; the cost is |sg(h) - e_k|^2 + commitment |h - sg(e_k)|^2, the mean over
    numbers.  Codes and h lie on the unit sphere times sqrt(latent), which keeps more codes in use (Yu et al., 2022,
    arXiv 2110.04627).

    van den Oord, Vinyals, Kavukcuoglu (2017), arXiv 1711.00937.

    Arguments:
        latent: the channels of z and of h.
        size: how many codes.
        commitment: the weight that keeps h near its code.
    """

    def __init__(self, latent: Count = 4, size: Annotated[int, Range(2, 2**20)] = 256, commitment: Scale = 0.25):
        super().__init__()
        self.latent, self.features, self.size, self.commitment = latent, latent, size, commitment
        self.book = nn.Parameter(torch.randn(size, latent))

    def sphere(self, h: Tensor, dim: int = 1) -> Tensor:
        """h (B, latent, ...), whose vectors lie along the axis dim, on the sphere of radius sqrt(latent)."""
        return math.sqrt(self.latent) * F.normalize(h, dim=dim, eps=1e-6)

    def vectors(self, codes: Tensor) -> Tensor:
        """The codes (B, *space) by their numbers, as z (B, latent, *space)."""
        return self.sphere(self.book, 1)[codes].movedim(-1, 1)

    def nearest(self, h: Tensor) -> Tensor:
        """The number of the nearest code of each vector of h (B, latent, *space): (B, *space)."""
        vectors = self.sphere(h).movedim(1, -1)
        return (vectors @ self.sphere(self.book, 1).T.to(vectors.dtype)).argmax(-1)

    def forward(self, h: Tensor, eps: Tensor | None = None) -> Coded:
        """z of h (B, latent, *space), the cost, and the codes; eps has no use here."""
        codes, h = self.nearest(h), self.sphere(h)
        z = self.vectors(codes).to(h.dtype)
        cost = (h.detach() - z).square() + self.commitment * (h - z.detach()).square()
        return Coded(h + (z - h).detach(), cost.flatten(1).mean(1), codes, h.detach())
