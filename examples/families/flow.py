"""A normalising flow of dequantised digits: an invertible network, whose log-density is exact."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import torch
from family import Family, normals
from torch import Tensor, nn
from torch.nn import functional as F

from scoresde.data import stack
from scoresde.nets.base import Network
from scoresde.settings import Count, Range

SETTINGS = {"lr": 5e-3, "batch_size": 128, "ema": 0.999, "weight_decay": 0.05}
EDGE = 0.02  # of the unit interval, which the logit keeps away from its ends


class Logit(nn.Module):
    """x in [-1, 1] -> logit(e + (1 - 2e) (x + 1) / 2).  Dinh, Sohl-Dickstein, Bengio (2017), arXiv 1605.08803."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = EDGE + (1 - 2 * EDGE) * (x + 1) / 2
        log_slope = math.log((1 - 2 * EDGE) / 2) - y.log() - (1 - y).log()
        return y.log() - (1 - y).log(), log_slope.flatten(1).sum(1)

    def inverse(self, z: Tensor) -> Tensor:
        return 2 * (torch.sigmoid(z) - EDGE) / (1 - 2 * EDGE) - 1


class Normalise(nn.Module):
    """h -> e^s (h + b) for each channel; `begin` makes the mean 0 and the deviation 1 on some items."""

    def __init__(self, channels: int):
        super().__init__()
        self.log_scale, self.shift = (nn.Parameter(torch.zeros(1, channels, 1, 1)) for _ in range(2))

    @torch.no_grad()
    def begin(self, h: Tensor) -> None:
        self.shift.copy_(-h.mean((0, 2, 3), keepdim=True))
        self.log_scale.copy_(-h.std((0, 2, 3), keepdim=True).clamp_min(1e-3).log())

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor]:
        return torch.exp(self.log_scale) * (h + self.shift), (self.log_scale.sum() * h[0, 0].numel()).expand(len(h))

    def inverse(self, h: Tensor) -> Tensor:
        return torch.exp(-self.log_scale) * h - self.shift


class Mix(nn.Module):
    """h -> W h over the channels of each pixel, W = P L U, P a fixed permutation, L with ones on the diagonal."""

    def __init__(self, channels: int):
        super().__init__()
        permutation, lower, upper = torch.linalg.lu(torch.linalg.qr(torch.randn(channels, channels))[0])
        self.register_buffer("permutation", permutation)
        self.register_buffer("sign", upper.diagonal().sign())
        self.log_size = nn.Parameter(upper.diagonal().abs().log())
        self.lower, self.upper = nn.Parameter(lower.tril(-1)), nn.Parameter(upper.triu(1))

    def _parts(self) -> tuple[Tensor, Tensor]:
        lower = self.lower.tril(-1) + torch.eye(len(self.lower)).to(self.lower)
        return lower, self.upper.triu(1) + torch.diag(self.sign * torch.exp(self.log_size))

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor]:
        lower, upper = self._parts()
        out = torch.einsum("ij,bjhw->bihw", self.permutation @ lower @ upper, h)
        return out, (self.log_size.sum() * h[0, 0].numel()).expand(len(h))

    def inverse(self, h: Tensor) -> Tensor:
        lower, upper = self._parts()
        flat = (self.permutation.T @ h.movedim(1, 0).flatten(1)).contiguous()
        flat = torch.linalg.solve_triangular(lower, flat, upper=False, unitriangular=True)
        flat = torch.linalg.solve_triangular(upper, flat, upper=True)
        return flat.unflatten(1, (len(h), *h.shape[2:])).movedim(0, 1)


class Couple(nn.Module):
    """(a, b) -> (a, e^{s(a)} b + t(a)), the channels in halves; s is within -`most` and `most`, and 0 at first."""

    def __init__(self, channels: int, width: int, dropout: float, most: float = 2.0):
        super().__init__()
        self.kept, self.most = channels // 2, most
        conv = lambda cin, cout: nn.Conv2d(cin, cout, 3, padding=1)
        self.net = nn.Sequential(
            *(conv(self.kept, width), nn.SiLU(), nn.Dropout(dropout), conv(width, width), nn.SiLU()),
            *(nn.Dropout(dropout), conv(width, 2 * (channels - self.kept))),
        )
        for p in self.net[-1].parameters():
            nn.init.zeros_(p)

    def _map(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift = self.net(kept).chunk(2, 1)
        return self.most * torch.tanh(log_scale / self.most), shift

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor]:
        kept, moved = h[:, : self.kept], h[:, self.kept :]
        log_scale, shift = self._map(kept)
        return torch.cat([kept, moved * torch.exp(log_scale) + shift], 1), log_scale.flatten(1).sum(1)

    def inverse(self, h: Tensor) -> Tensor:
        kept, moved = h[:, : self.kept], h[:, self.kept :]
        log_scale, shift = self._map(kept)
        return torch.cat([kept, (moved - shift) * torch.exp(-log_scale)], 1)


class Flow(Network):
    r"""f = the logit, squares of 2 x 2 pixels as channels, then `steps` times normalise, mix, couple:

        log p(x) = log N(f(x); 0, I) + log |det df / dx|, the log-determinants of all layers added up

    Dinh, Sohl-Dickstein, Bengio (2017), Real NVP, arXiv 1605.08803; Kingma, Dhariwal (2018), Glow, arXiv 1807.03039.
    """

    def __init__(
        self,
        shape: Sequence[Count],
        steps: Count = 12,
        width: Count = 48,
        dropout: Annotated[float, Range(0, below=1)] = 0.1,
    ):
        super().__init__()
        self.shape, channels = tuple(shape), 4 * shape[0]
        layers = [(Normalise(channels), Mix(channels), Couple(channels, width, dropout)) for _ in range(steps)]
        self.first, self.layers = Logit(), nn.ModuleList([layer for step in layers for layer in step])

    def forward(self, x: Tensor, begin: bool = False) -> tuple[Tensor, Tensor]:
        """z (B, 4 C, H/2, W/2) and log |det dz / dx| (B,) of x (B, C, H, W); with `begin` the scales are set by x."""
        h, total = self.first(x)
        h = F.pixel_unshuffle(h, 2)
        for layer in self.layers:
            if begin and isinstance(layer, Normalise):
                layer.begin(h)
            h, log_det = layer(h)
            total = total + log_det
        return h, total

    def inverse(self, z: Tensor) -> Tensor:
        """x of z."""
        for layer in reversed(self.layers):
            z = layer.inverse(z)
        return self.first.inverse(F.pixel_shuffle(z, 2))

    def log_density(self, x: Tensor) -> Tensor:
        """log p(x) in nats, (B,)."""
        z, log_det = self(x)
        return log_det - 0.5 * (z.square() + math.log(2 * math.pi)).flatten(1).sum(1)

    def generate(self, index: Tensor, seed: int) -> Tensor:
        """Samples (B, *shape) in the model's space."""
        return self.inverse(normals(index, (4 * self.shape[0], self.shape[1] // 2, self.shape[2] // 2), seed))


class Likelihood(Family):
    """-log p(x) of dequantised items, in nats."""

    kind = "flow"

    def begin(self, device):
        first = stack(self.data.train, range(min(512, len(self.data.train))))
        u = torch.rand(first.shape, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            self.product(self.data.encode(first, u).to(device), begin=True)

    def forward(self, drawn, turn=""):
        return -self.product.log_density(*drawn)

    @torch.no_grad()
    def check(self, average: Flow) -> dict[str, float]:
        raw = self.held_out()
        u = torch.rand(raw.shape, generator=torch.Generator().manual_seed(1))
        nats = average.log_density(self.data.encode(raw, u)).mean() + self.data.log_det
        return {"validation": math.log2(self.data.levels) - float(nats) / (raw[0].numel() * math.log(2))}


def objective(data, **settings) -> Likelihood:
    """What is trained."""
    return Likelihood(Flow(data.shape, **settings), data)
