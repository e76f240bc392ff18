"""What the families share: an objective on a data set with levels, and the model that a training of it gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scoresde import noise
from scoresde.data import Batch, Data, stack
from scoresde.likelihood import Discrete, Uniform
from scoresde.making import node_of
from scoresde.model import checkpoint
from scoresde.model.description import about
from scoresde.model.kept.state import load_state
from scoresde.model.trained.known import Known, facts
from scoresde.objectives import Objective


class Trained(Known, nn.Module):
    """A trained model of a family: its averaged module, which makes `generate(n, seed)` and perhaps `log_density`."""

    def __init__(self, net: nn.Module, facts: dict, step: int):
        nn.Module.__init__(self)
        self.net = net.eval().requires_grad_(False)
        self.know(facts, step)
        self.eval()

    @property
    def bare(self) -> nn.Module:
        return self.net

    @torch.no_grad()
    def generate(self, n: int, seed: int = 0) -> Tensor:
        """n samples in the data's own values, (n, *shape): sample i is a function of the seed and i."""
        index = torch.arange(n)
        found = [self.net.generate(part, seed) for part in index.split(256)]
        return torch.cat([x if x.dtype == torch.uint8 else self.decode(x) for x in found])


class Family(Objective):
    """A loss on items with levels, dequantised uniformly: v = 0..L-1 is (v + u) / L, u ~ U[0, 1), in [-1, 1].

    A subclass says its `kind`, the loss of each row in `forward`, and what else it draws in `more`.  Theis, van den
    Oord, Bethge (2016), arXiv 1511.01844.
    """

    kind: ClassVar[str]

    def __init__(self, product: nn.Module, data: Data):
        super().__init__()
        self.product, self.data = product, data

    def draw(self, batch: Batch, size: int, part: slice, turn: str = "") -> tuple:
        u = torch.rand(size, *self.data.shape, device=batch.x.device)[part]
        more = (v[part] for v in self.more(size, turn))
        return self.data.encode(batch.x, u), *more

    def more(self, size: int, turn: str) -> Sequence[Tensor]:
        """What else a batch of `size` rows draws."""
        return ()

    def held_out(self, most: int = 300) -> Tensor:
        """The first test items, raw."""
        return stack(self.data.test, range(min(most, len(self.data.test))))

    def begin(self, device):
        pass

    def look(self):
        self.forward(self.draw(Batch(stack(self.data.train, [0])), 1, slice(None), self.turns[0]), self.turns[0])

    def describe(self) -> dict[str, Any]:
        parts = {name: node_of(part) for name, part in self.named_children()}
        return {"kind": self.kind, **parts, "data": about(self.data)}

    def made(self, average, step):
        return Trained(average, self.facts, step)

    def load(self, folder):
        state = checkpoint.load(folder / "checkpoint.pt", needs=("step", "ema"))
        load_state(self.product, state["ema"])
        return self.made(self.product, state["step"])

    @property
    def facts(self):
        return facts(self.data)


def normals(index: Tensor, shape: Sequence[int], seed: int, draw: int = 0) -> Tensor:
    """eps (B, *shape), float32: that of row i is a function of seed, draw and index[i]."""
    return noise.normal(torch.empty(len(index), *shape), index, seed, 0, draw)


def uniforms(index: Tensor, shape: Sequence[int], seed: int, draw: int = 0) -> Tensor:
    """u (B, *shape) in [0, 1), likewise."""
    return noise.uniform(torch.empty(len(index), *shape), index, seed, 1, draw)


def dequantised(log_density, raw: Tensor, data: Data, seed: int = 0) -> Discrete:
    """The bound E_u log p(x(v + u)) + log(volume of a bin) on log P(v), one draw a row."""
    return Uniform().log_prob(log_density, raw, data, torch.arange(len(raw)), seed)


class Residual(nn.Module):
    """h + conv(dropout(silu(conv(silu(h))))), with group norms before where `norm`."""

    def __init__(self, channels: int, dropout: float = 0.0, norm: bool = True):
        super().__init__()
        make = lambda: nn.GroupNorm(8, channels) if norm else nn.Identity()
        conv = lambda: nn.Conv2d(channels, channels, 3, padding=1)
        first, second = nn.Sequential(make(), nn.SiLU(), conv()), nn.Sequential(make(), nn.SiLU())
        self.body = nn.Sequential(first, second, nn.Dropout(dropout), conv())

    def forward(self, h: Tensor) -> Tensor:
        return h + self.body(h)


class Doubled(nn.Module):
    """Twice the resolution, each pixel four times."""

    def forward(self, h: Tensor) -> Tensor:
        return F.interpolate(h, scale_factor=2, mode="nearest")
