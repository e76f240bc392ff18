"""Where the levels of discrete data lie in the model's space, and which of them a noisy value came from."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import InputError
from ...sde import expand, widest


@dataclass(frozen=True)
class Levels:
    """The `count` levels v = 0, 1, ... of every element lie at x_v = first + width v, each the centre of its bin.

    `first` and `width` are numbers or tensors that broadcast to the shape of one item; `width` may be negative.
    """

    count: int
    first: float | Tensor
    width: float | Tensor

    @classmethod
    def of(cls, data) -> Levels:
        """The levels of a data set with `levels`, `shape` and `encode(raw)`; `InputError` where it declares none."""
        if data.levels is None:
            raise InputError(
                f"levels=None of data {data.name}: a probability needs declared levels; report nats instead"
            )
        first = data.encode(torch.zeros(data.shape)).double()
        last = data.encode(torch.full(data.shape, data.levels - 1.0)).double()
        return cls(data.levels, first, (last - first) / (data.levels - 1))

    def place(self, raw: Tensor, u: float | Tensor = 0.5) -> Tensor:
        """x = first + width (v + u - 1/2) of raw values v (B, *shape) at the place u in [0, 1) of their bins."""
        return _at(self.first, raw) + _at(self.width, raw) * (raw.to(widest(raw.device)) + u - 0.5)

    def raw(self, x: Tensor) -> Tensor:
        """The level nearest to x (B, *shape), as a floating number in 0..count-1."""
        v = (x.to(widest(x.device)) - _at(self.first, x)) / _at(self.width, x)
        return v.round().clamp(0, self.count - 1)

    def log_volume(self, shape: tuple[int, ...]) -> float:
        """log of the volume of a bin in the model's space, sum_i log |width_i| over an item of `shape`, in nats."""
        return torch.as_tensor(self.width, dtype=torch.float64).abs().log().expand(tuple(shape)).sum().item()

    def half_widths(self, x: Tensor) -> Tensor | float:
        """|width| / 2, typed and placed like x."""
        return abs(_at(self.width, x)) / 2

    def log_prob(self, raw: Tensor, y: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """log P(v | y) of raw v (B, *shape) given y = alpha x_v + sigma eps: (B,), in nats.

            P(v | y) = prod_i N(y_i; alpha x_{v_i}, sigma^2) / sum_j N(y_i; alpha x_j, sigma^2)

        the exact posterior of independent elements, all levels equally likely (Kingma et al., 2021, Variational
        Diffusion Models, arXiv 2107.00630).  alpha, sigma: () or (B,).
        """
        alpha, sigma = expand(alpha, y), expand(sigma, y)
        width = _at(self.width, y)
        place = (y / alpha - _at(self.first, y)) / width
        sharp = 0.5 * (alpha * width / sigma) ** 2
        total = torch.full_like(y, -math.inf)
        axis = place.unsqueeze(-1)
        for start in range(0, self.count, 32):  # 65536 levels at once would be too many
            j = torch.arange(start, min(start + 32, self.count), device=y.device)
            some = -torch.as_tensor(sharp, dtype=y.dtype, device=y.device).unsqueeze(-1) * (axis - j) ** 2
            total = torch.logaddexp(total, some.logsumexp(-1))
        return (-sharp * (place - raw.to(y.dtype)) ** 2 - total).flatten(1).sum(1)


def _at(value: float | Tensor, x: Tensor) -> float | Tensor:
    return value.to(x.device, widest(x.device)) if torch.is_tensor(value) else value
