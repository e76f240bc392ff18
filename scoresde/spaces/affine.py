"""Continuous values, scaled and shifted."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..errors import InputError
from .base import Space

NARROW = 8.0  # shift of x = scale y + shift up to which float32 computes it to about 1e-6
SCALES = (1e-30, 1e30)  # scales that float32 computes with, and so do their inverses
LONG = (torch.float64, torch.int32, torch.int64, torch.uint32, torch.uint64)


@dataclass(frozen=True)
class Affine(Space):
    r"""The map $x = \text{scale} \cdot y + \text{shift}$, element by element.

    Where a shift above 8 or an extreme scale would cost float32 more than about 1e-6, it computes in float64, as
    $x = \text{scale} \cdot (y - l)$ with $l = -\text{shift} / \text{scale}$, and gives float64.

    Arguments:
        scale: a number, or a tensor that broadcasts to the data's shape; finite and nonzero.
        shift: likewise; finite.

    Raises:
        InputError: scale is zero, or either of them is not finite.
    """

    scale: float | Tensor = 1.0
    shift: float | Tensor = 0.0

    def __post_init__(self) -> None:
        for name in ("scale", "shift"):
            value = getattr(self, name)
            value = value.detach().cpu().double() if isinstance(value, Tensor) else float(value)
            found = torch.as_tensor(value, dtype=torch.float64)
            if not found.isfinite().all() or (name == "scale" and (found == 0).any()):
                most = " and not zero" if name == "scale" else ""
                raise InputError(f"{name}={_brief(value)}: must be finite{most}", name)
            object.__setattr__(self, name, value)

    @cached_property
    def wide(self) -> bool:
        """Whether it needs float64."""
        scale, shift = (torch.as_tensor(v, dtype=torch.float64).abs() for v in (self.scale, self.shift))
        return bool((shift > NARROW).any() or (scale < SCALES[0]).any() or (scale > SCALES[1]).any())

    def __call__(self, y: Tensor) -> Tensor:
        """x of y (*, *shape) in raw units, in y's type, or in float64 where `wide`."""
        if self.wide:
            y = double(y)
            return _like(self.scale, y) * (y - _like(-self.shift / self.scale, y))
        return _like(self.scale, y) * y + _like(self.shift, y)

    def inverse(self, x: Tensor) -> Tensor:
        r"""$y = (x - \text{shift}) / \text{scale}$."""
        if self.wide:
            x = double(x)
            return x / _like(self.scale, x) + _like(-self.shift / self.scale, x)
        return (x - _like(self.shift, x)) / _like(self.scale, x)

    def encode(self, raw: Tensor, u: float | Tensor | None = None) -> Tensor:
        """x of raw values (*, *shape), float32; u has no use here.

        float64 and integers of 32 bits and more are mapped in float64, and then rounded.
        """
        y = double(raw) if raw.dtype in LONG else raw.to(torch.float32)
        return self(y).to(raw.device, torch.float32)

    def decode(self, x: Tensor) -> Tensor:
        """y of x (*, *shape) in x's own type, or in float64 where the units need it (`wide`)."""
        return finite(self.inverse(x), x)

    def log_det(self, shape: tuple[int, ...]) -> float:
        r"""$\log |\det \partial x / \partial y| = \sum_i \log |\text{scale}_i|$ over an item of `shape`, in nats."""
        scale = torch.as_tensor(self.scale, dtype=torch.float64)
        return scale.abs().log().expand(tuple(shape)).sum().item()


def finite(y: Tensor, x: Tensor) -> Tensor:
    """y, that of x.  Raises `FloatingPointError` if it is not finite."""
    if not y.isfinite().all():
        bad, of = int((~y.isfinite()).sum()), "" if x.isfinite().all() else ", nor were they in the model's space"
        raise FloatingPointError(f"{bad} of {y.numel()} values are not finite in the data's own units{of}")
    return y


def double(x: Tensor) -> Tensor:
    """float64, which MPS has not."""
    return (x.cpu() if x.device.type == "mps" else x).double()


def _like(value: float | Tensor, x: Tensor) -> float | Tensor:
    return value.to(device=x.device, dtype=x.dtype) if isinstance(value, Tensor) else value


def _brief(value: float | Tensor) -> str:
    return f"tensor{tuple(value.shape)}" if isinstance(value, Tensor) and value.ndim else f"{float(value):g}"
