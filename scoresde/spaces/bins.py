"""Values with levels: each is a bin of the model's space, of a known volume."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from ..errors import InputError
from ..sde import expand, widest
from ..settings import Range, check
from .affine import Affine, finite
from .base import Space


@dataclass(frozen=True)
class Bins(Space):
    r"""The integers v = 0..levels-1 as bins: $x = \text{scale} \cdot (v + u) / L + \text{shift}$, u in [0, 1).

    By default the unit cube of y = (v + u) / L goes to [-1, 1].  Level v lies at x_v = `first` + `width` v, the centre
    of its bin; the bin of an item has the volume prod |width_i|, by which a density becomes a probability.

    Arguments:
        levels: how many, 2 to 65536.
        scale, shift: numbers, or tensors that broadcast to the data's shape; scale may be negative.

    Raises:
        InputError: levels out of range; whatever `Affine` raises.
    """

    levels: int
    scale: float | Tensor = 2.0
    shift: float | Tensor = -1.0

    def __post_init__(self) -> None:
        check("levels", self.levels, Annotated[int, Range(2, 65536)])
        affine = Affine(self.scale, self.shift)
        for name in ("scale", "shift"):
            object.__setattr__(self, name, getattr(affine, name))
        object.__setattr__(self, "_affine", affine)

    @classmethod
    def of(cls, held: Any) -> Bins:
        """The bins of a data set or a model `held` (its `space`), or held itself.

        Raises `InputError` where there are no levels.
        """
        space = held if isinstance(held, Space) else held.space
        if isinstance(space, cls):
            return space
        raise InputError(
            f"levels=None of {getattr(held, 'name', type(space).__name__)}: a probability needs declared levels; "
            "report nats instead"
        )

    @property
    def width(self) -> float | Tensor:
        """Of a bin."""
        return self.scale / self.levels

    @property
    def first(self) -> float | Tensor:
        """x_0, the centre of the first bin."""
        return self.shift + self.width / 2

    def encode(self, raw: Tensor, u: float | Tensor | None = None) -> Tensor:
        """x of raw levels (*, *shape), float32.  u is by default the centre 0.5.

        It is kept $L 2^{-22}$ (6e-5 for 256 levels) away from the bin's edges, so that float32 rounding never moves a
        value to the next bin.
        """
        y, margin = raw.to(torch.float32), self.levels * 2.0**-22
        u = torch.as_tensor(0.5 if u is None else u, dtype=torch.float32, device=y.device)
        return self._affine((y + u.clamp(margin, 1 - margin)) / self.levels).to(raw.device, torch.float32)

    def dequantize(self, raw, generator=None):
        device = raw.device if generator is None else generator.device
        return self.encode(raw, torch.rand(raw.shape, generator=generator, device=device))

    def inverse(self, x: Tensor) -> Tensor:
        """The place y in the unit cube of x (*, *shape)."""
        return self._affine.inverse(x)

    def decode(self, x: Tensor) -> Tensor:
        r"""$\lfloor L y \rfloor$ of x (*, *shape), clamped to 0..L-1: uint8 up to 256 levels, int64 beyond them."""
        y = finite(self.inverse(x), x)
        return (y * self.levels).floor().clamp(0, self.levels - 1).to(raw_dtype(self.levels))

    def log_det(self, shape: tuple[int, ...]) -> float:
        return self._affine.log_det(shape)

    def log_volume(self, shape: tuple[int, ...]) -> float:
        """log of the volume of a bin in the model's space, sum_i log |width_i| over an item of `shape`, in nats."""
        return self.log_det(shape) - math.prod(shape) * math.log(self.levels)

    def place(self, raw: Tensor, u: float | Tensor = 0.5) -> Tensor:
        """x = first + width (v + u - 1/2) of raw values v (B, *shape), in the widest type of their device."""
        return _at(self.first, raw) + _at(self.width, raw) * (raw.to(widest(raw.device)) + u - 0.5)

    def nearest(self, x: Tensor) -> Tensor:
        """The level nearest to x (B, *shape), as a floating number in 0..levels-1."""
        v = (x.to(widest(x.device)) - _at(self.first, x)) / _at(self.width, x)
        return v.round().clamp(0, self.levels - 1)

    def half_widths(self, x: Tensor) -> Tensor | float:
        """|width| / 2, typed and placed like x."""
        return abs(_at(self.width, x)) / 2

    def log_prob(self, raw: Tensor, y: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """log P(v | y) of raw v given y = alpha x_v + sigma eps:

            P(v | y) = prod_i N(y_i; alpha x_{v_i}, sigma^2) / sum_j N(y_i; alpha x_j, sigma^2)

        the exact posterior of independent elements, all levels equally likely (Kingma et al., 2021, Variational
        Diffusion Models, arXiv 2107.00630).

        Arguments:
            raw: v (B, *shape), levels.
            y: (B, *shape), floating.
            alpha, sigma: () or (B,).

        Returns:
            (B,), in nats.
        """
        alpha, sigma = expand(alpha, y), expand(sigma, y)
        width = _at(self.width, y)
        place = (y / alpha - _at(self.first, y)) / width
        sharp = 0.5 * (alpha * width / sigma) ** 2
        total = torch.full_like(y, -math.inf)
        axis = place.unsqueeze(-1)
        for start in range(0, self.levels, 32):  # 65536 levels at once would be too many
            j = torch.arange(start, min(start + 32, self.levels), device=y.device)
            some = -torch.as_tensor(sharp, dtype=y.dtype, device=y.device).unsqueeze(-1) * (axis - j) ** 2
            total = torch.logaddexp(total, some.logsumexp(-1))
        return (-sharp * (place - raw.to(y.dtype)) ** 2 - total).flatten(1).sum(1)

    def log_mass(self, raw: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        """log of the mass of N(mean, std^2) in the bins of raw v, the first and the last of which have no outer end:

            P(v) = prod_i integral over the bin of v_i of N(x; mean_i, std_i^2) dx

        Ho, Jain, Abbeel (2020), arXiv 2006.11239, equation 13.

        Arguments:
            raw: v (B, *shape), levels.
            mean, std: (B, *shape), floating.

        Returns:
            (B,), in nats.
        """
        return self.log_masses(raw, mean, std).flatten(1).sum(1)

    def log_masses(self, raw: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        """The logs of the factors of `log_mass`, number by number.

        Arguments:
            raw: v (B, *shape), levels.
            mean, std: (B, *shape), or with more axes in front.

        Returns:
            Like mean, in nats.
        """
        width, v = _at(self.width, mean), raw.to(mean.dtype)
        place, s, far = (mean - _at(self.first, mean)) / width, std / abs(width), torch.full_like(mean, 1e8)
        low = torch.where(v <= 0, -far, (v - 0.5 - place) / s)
        high = torch.where(v >= self.levels - 1, far, (v + 0.5 - place) / s)
        under, over = torch.where(low > 0, -high, low), torch.where(low > 0, -low, high)  # the tail that is small
        top = torch.special.log_ndtr(over)
        share = torch.log(-torch.expm1((torch.special.log_ndtr(under) - top).clamp(max=-1e-12)))
        return top + share


def raw_dtype(levels: int) -> torch.dtype:
    """The dtype that raw values of so many levels are stored in."""
    return torch.uint8 if levels <= 256 else torch.int64


def _at(value: float | Tensor, x: Tensor) -> float | Tensor:
    return value.to(x.device, widest(x.device)) if torch.is_tensor(value) else value
