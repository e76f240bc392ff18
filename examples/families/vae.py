"""A variational autoencoder of digits, with a Gaussian latent and a likelihood of the levels themselves."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Annotated

import torch
from family import Doubled, Family, Residual, normals, uniforms
from torch import Tensor, nn
from torch.nn import functional as F

from scoresde.nets.base import Network
from scoresde.settings import Count, Positive, Range
from scoresde.spaces import Bins

SETTINGS = {"lr": 2e-3, "batch_size": 128, "ema": 0.999, "weight_decay": 0.05}


class VAE(Network):
    r"""z ~ N(0, I) of `latent` entries; P(v | z) = prod_i P_i(v_i | z), mixtures of `components` discretised logistics:

        P_i(v) = \sum_k w_k [F((x_v + h - m_k) / s_k) - F((x_v - h - m_k) / s_k)],    F the logistic function

    with x_v the middle and 2h the width of level v's bin; the first and the last bin reach to -inf and inf.  w, m, s of
    each pixel come from the decoder; q(z | v) = N(mean, diag std^2) from the encoder.

    Kingma, Welling (2014), arXiv 1312.6114; the logistics: Salimans et al. (2017), PixelCNN++, arXiv 1701.05517.
    """

    def __init__(
        self,
        shape: Sequence[Count],
        levels: Count,
        latent: Count = 16,
        channels: Annotated[int, Range(8, 2**12)] = 48,
        components: Count = 3,
        dropout: Annotated[float, Range(0, below=1)] = 0.2,
        least: Positive = 0.01,
    ):
        super().__init__()
        self.shape, self.latent, self.components, self.least = tuple(shape), latent, components, least
        self.space = Bins(levels)
        wide, side = 2 * channels, shape[1] // 4
        conv = lambda cin, cout, **more: nn.Conv2d(cin, cout, 3, padding=1, **more)
        self.encoder = nn.Sequential(
            *(conv(shape[0], channels), Residual(channels, dropout), conv(channels, channels, stride=2)),
            *(Residual(channels, dropout), conv(channels, wide, stride=2), nn.SiLU(), nn.Flatten()),
            *(nn.Dropout(dropout), nn.Linear(wide * side**2, 2 * latent)),
        )
        self.decoder = nn.Sequential(
            *(nn.Linear(latent, wide * side**2), nn.Unflatten(1, (wide, side, side)), nn.SiLU()),
            *(conv(wide, channels), Doubled(), Residual(channels, dropout), Doubled(), conv(channels, channels)),
            *(Residual(channels, dropout), nn.SiLU(), conv(channels, 3 * components * shape[0])),
        )

    def posterior(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """The mean and the log of the standard deviation of q(z | v), (B, latent) each."""
        mean, log_std = self.encoder(self.space.encode(raw)).chunk(2, 1)
        return mean, log_std.clamp(-8, 4)

    def log_levels(self, z: Tensor) -> Tensor:
        """log P_i(v | z) of every level, (B, *shape, L)."""
        out = self.decoder(z).unflatten(1, (self.shape[0], 3, self.components)).movedim((2, 3), (-2, -1))
        weight, mean, scale = (part.unsqueeze(-2) for part in out.unbind(-2))  # (B, *shape, 1, K)
        log_scale = math.log(self.least) + F.softplus(scale + 2)
        width = self.space.width
        edges = -1 + width * torch.arange(1, self.space.levels, device=z.device).unsqueeze(-1)
        place = (edges - mean) * torch.exp(-log_scale)  # (B, *shape, L - 1, K)
        below, above = F.logsigmoid(place), F.logsigmoid(-place)
        # F(b) - F(a) = F(b) (1 - F(a)) (1 - e^{a - b})
        gap = torch.log1p(-torch.exp(-width * torch.exp(-log_scale))).expand_as(place[..., 1:, :])
        inside = below[..., 1:, :] + above[..., :-1, :] + gap
        each = torch.cat([below[..., :1, :], inside, above[..., -1:, :]], -2)
        return torch.logsumexp(each + weight.log_softmax(-1), -1)

    def log_likelihood(self, raw: Tensor, z: Tensor) -> Tensor:
        """log P(v | z), (B,)."""
        return self.log_levels(z).gather(-1, raw.long().unsqueeze(-1)).flatten(1).sum(1)

    def log_prob(self, raw: Tensor, draws: int = 256, seed: int = 0) -> Tensor:
        """The bound of `importance_bound` on log P(v), (B,), row by row."""
        index, found = torch.arange(len(raw)), []
        for rows, part in zip(raw.split(4), index.split(4), strict=True):
            again = rows.repeat_interleave(draws, 0)
            log_p = lambda z, again=again: self.log_likelihood(again, z.flatten(0, 1)).unflatten(0, z.shape[:2])
            eps = normals(part, (draws, self.latent), seed, 1)
            found.append(importance_bound(*self.posterior(rows), eps, log_p))
        return torch.cat(found)

    def generate(self, index: Tensor, seed: int, means: bool = False) -> Tensor:
        """Levels drawn from P(v | z), or with `means` the levels nearest to the pixels' means, z ~ N(0, I)."""
        chance = self.log_levels(normals(index, (self.latent,), seed)).exp()
        if means:
            return (chance @ torch.arange(self.space.levels, dtype=chance.dtype)).round().to(torch.uint8)
        u = uniforms(index, (*self.shape, 1), seed)
        return (chance.cumsum(-1) < u).sum(-1).clamp_max(self.space.levels - 1).to(torch.uint8)


class Autoencoding(Family):
    """The evidence lower bound, -log P(v | z) + KL(q(z | v) || N(0, I)), z drawn once from q for each row."""

    kind = "vae"

    def draw(self, batch, size, part, turn=""):
        return batch.x, torch.randn(size, self.product.latent, device=batch.x.device)[part]

    def forward(self, drawn, turn=""):
        raw, eps = drawn
        mean, log_std = self.product.posterior(raw)
        z = mean + log_std.exp() * eps
        return divergence(mean, log_std) - self.product.log_likelihood(raw, z)

    @torch.no_grad()
    def check(self, average: VAE) -> dict[str, float]:
        raw = self.held_out()
        mean, log_std = average.posterior(raw)
        z = mean + log_std.exp() * normals(torch.arange(len(raw)), (average.latent,), 0)
        kl, bits = divergence(mean, log_std), 1 / (raw[0].numel() * math.log(2))
        return {"validation": float((kl - average.log_likelihood(raw, z)).mean()) * bits, "kl": float(kl.mean())}


def divergence(mean: Tensor, log_std: Tensor) -> Tensor:
    """KL(N(mean, std^2) || N(0, I)) in nats, (B,)."""
    return 0.5 * (mean.square() + torch.exp(2 * log_std) - 1 - 2 * log_std).sum(1)


def importance_bound(mean: Tensor, log_std: Tensor, eps: Tensor, log_p: Callable[[Tensor], Tensor]) -> Tensor:
    r"""log 1/k \sum_j P(v | z_j) N(z_j; 0, I) / q(z_j | v), z_j = mean + std eps_j: (B,), on average below log P(v).

    mean, log_std (B, d), eps (B, k, d), log_p (B, k, d) -> (B, k).  Each more draw tightens it on average.  Burda,
    Grosse, Salakhutdinov (2016), arXiv 1509.00519.
    """
    z = mean[:, None] + log_std.exp()[:, None] * eps
    ratio = (log_std[:, None] + 0.5 * (eps.square() - z.square())).sum(-1)  # log N(z; 0, I) / q(z | v)
    return torch.logsumexp(log_p(z) + ratio, 1) - math.log(eps.shape[1])


def objective(data, **settings) -> Autoencoding:
    """What is trained."""
    return Autoencoding(VAE(data.shape, data.levels, **settings), data)
