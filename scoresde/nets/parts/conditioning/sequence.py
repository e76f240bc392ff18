"""Tokens as a network takes them: a sequence to attend to, and a vector."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ....conditions import Features, Tokens
from ..transformer import TransformerBlock

HEAD = 64  # features of a head of attention, at most


class Sequence(nn.Module):
    """Tokens (B, L) to features (B, L, width), which of them are there (B, L), and one vector (B, width) of all.

    The embeddings of tokens and places go through the kind's `layers` of a transformer, which is trained with the
    network that reads what it gives (GLIDE; Nichol et al., 2021, arXiv 2112.10741).  The vector is that of all places,
    in order, 0 where there is no token, through two layers; without `layers`, that of the mean over those that are
    there, which hardly knows their order.  A sequence of which nothing is known has one token, the null.
    """

    ordered = False  # whether the vector knows the places without layers

    def __init__(self, kind: Tokens | Features, width: int):
        super().__init__()
        self.table, self.place = self._table(kind, width), nn.Embedding(kind.length, width)
        self.null = nn.Parameter(0.02 * torch.randn(width))
        places = kind.length if kind.layers or self.ordered else 1
        self.pool = nn.Sequential(nn.Linear(places * width, width), nn.SiLU(), nn.Linear(width, width))
        heads = math.gcd(width, max(1, width // HEAD))
        self.blocks = nn.ModuleList(TransformerBlock(width, heads) for _ in range(kind.layers))
        self.norm = nn.LayerNorm(width) if kind.layers else nn.Identity()

    def _table(self, kind: Tokens, width: int) -> nn.Module:
        return nn.Embedding(kind.vocabulary, width)

    def _embedded(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, L, width), and which are there (B, L)."""
        return self.table(value.clamp_min(0)), value >= 0

    def forward(self, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h, mask = self._embedded(value)
        first = torch.arange(value.shape[1], device=value.device) == 0
        null = ~mask.any(1, keepdim=True) & first
        h = h + self.place.weight[: value.shape[1]]
        h = torch.where(null[..., None], self.null.to(h.dtype), h)
        mask = mask | null
        for block in self.blocks:
            h = block(h, mask=mask)
        h = self.norm(h)
        weights = mask.to(h.dtype)[..., None]
        if self.blocks or self.ordered:
            return h, mask, self.pool((weights * h).flatten(1))
        return h, mask, self.pool(F.silu(h).mul(weights).sum(1) / weights.sum(1))


class Encoded(Sequence):
    """The same of vectors (B, L, E), NaN where there are none (Saharia et al., 2022, arXiv 2205.11487).

    Each is normalised, and where the kind says so standardised, as what a word says may be in numbers that hardly vary.
    The first may be of the whole, as `encoders.TextEncoder` has it; the vector knows the places of all.
    """

    ordered = True

    def _table(self, kind: Features, width: int) -> nn.Module:
        standard = [Standard(kind.mean, kind.std)] if kind.standardise else []
        return nn.Sequential(nn.LayerNorm(kind.size, elementwise_affine=False), *standard, nn.Linear(kind.size, width))

    def _embedded(self, value: Tensor) -> tuple[Tensor, Tensor]:
        mask = ~value.isnan().any(2)
        known = torch.where(mask[..., None], value, 0.0).to(self.null.dtype)
        return self.table(known), mask


class Standard(nn.Module):
    """(h - mean) / std, of E numbers each, which the kind has: they are not saved."""

    def __init__(self, mean: Iterable[float], std: Iterable[float]):
        super().__init__()
        self.register_buffer("mean", torch.tensor([*mean]), persistent=False)
        self.register_buffer("std", torch.tensor([*std]), persistent=False)

    def forward(self, h: Tensor) -> Tensor:
        return (h - self.mean.to(h.dtype)) / self.std.to(h.dtype)
