"""What a data set is: raw items, split in two, and the exact map from raw values to the model's space and back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Generator, Tensor
from torch.utils.data import Dataset

from ..errors import InputError
from ..settings import check
from . import look
from .checks import Levels
from .items import item, raw_dtype

NARROW = 8.0  # shift of x = scale y + shift up to which float32 computes it to about 1e-6
SCALES = (1e-30, 1e30)  # scales that float32 computes with, and so do their inverses


@dataclass(frozen=True)
class Affine:
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
        if self.wide:
            y = _double(y)
            return _like(self.scale, y) * (y - _like(-self.shift / self.scale, y))
        return _like(self.scale, y) * y + _like(self.shift, y)

    def inverse(self, x: Tensor) -> Tensor:
        r"""$y = (x - \text{shift}) / \text{scale}$."""
        if self.wide:
            x = _double(x)
            return x / _like(self.scale, x) + _like(-self.shift / self.scale, x)
        return (x - _like(self.shift, x)) / _like(self.scale, x)

    def log_det(self, shape: tuple[int, ...]) -> float:
        r"""$\log |\det \partial x / \partial y| = \sum_i \log |\text{scale}_i|$ over an item of `shape`, in nats."""
        scale = torch.as_tensor(self.scale, dtype=torch.float64)
        return scale.abs().log().expand(tuple(shape)).sum().item()


LONG = (torch.float64, torch.int32, torch.int64, torch.uint32, torch.uint64)
CUBE = Affine(2.0, -1.0)  # from the unit cube to [-1, 1]: the model space of every data set with levels


@dataclass(frozen=True)
class Data:
    r"""Raw items and how they become the model's $x$.

    Arguments:
        name: what to call it.
        train, test: datasets of raw tensors of `shape`, or of tuples (first entry) or dicts (key "x") that hold one.
        transform: from the unit cube (with levels) or from raw units (without) to the model's space.
        levels: raw values are the integers 0..levels-1; None: they are continuous.
        labels: a class 0, 1, ... for each item of train and of test, int64 (N,); None: there are none.
        columns: the names of the entries of an item of shape (D,); None: they have none.
        notes: what was guessed, changed or left out in reading it, a line each.

    The datasets of images have `names`, a list of the files' paths below the folder, in the order of the items.

    Raises:
        InputError: levels is not an integer in 2..65536; labels of another number than the items.
    """

    name: str
    train: Dataset
    test: Dataset
    transform: Affine
    levels: int | None = None
    labels: tuple[Tensor, Tensor] | None = None
    columns: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check("levels", self.levels, Levels)
        for items, labels in zip((self.train, self.test), self.labels or (), strict=False):
            if len(items) != len(labels):
                raise InputError(f"{self.name} has {len(items)} items and {len(labels)} labels: give one for each")

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """The shape of one item."""
        return tuple(item(self.train[0]).shape)

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits of a hash of shape, levels, transform and items: see `look.fingerprint`."""
        return look.fingerprint(self)

    @cached_property
    def log_det(self) -> float:
        r"""$\log |\det \partial x / \partial y|$ in nats, $y$ in the unit cube (levels) or in raw units (no levels)."""
        return self.transform.log_det(self.shape)

    def encode(self, raw: Tensor, u: float | Tensor | None = None) -> Tensor:
        r"""Raw (*, *shape) to the model's space, float32: $x = T((r + u) / L)$ with $L$ levels, else $x = T(r)$.

        u in [0, 1) is the place within the bin, by default its centre 0.5. It is kept $L 2^{-22}$ (6e-5 for 256 levels)
        away from the bin's edges, so that float32 rounding never moves a value to the next bin.

        Without levels float64 and integers of 32 bits and more are transformed in float64, and then rounded.
        """
        y = _double(raw) if self.levels is None and raw.dtype in LONG else raw.to(torch.float32)
        if self.levels is not None:
            margin = self.levels * 2.0**-22
            u = torch.as_tensor(0.5 if u is None else u, dtype=torch.float32, device=y.device)
            y = (y + u.clamp(margin, 1 - margin)) / self.levels
        return self.transform(y).to(raw.device, torch.float32)

    def dequantize(self, raw: Tensor, generator: Generator | None = None) -> Tensor:
        r"""`encode` with $u \sim U[0, 1)$ per element, drawn on the generator's device; without levels `encode`."""
        if self.levels is None:
            return self.encode(raw)
        device = raw.device if generator is None else generator.device
        return self.encode(raw, torch.rand(raw.shape, generator=generator, device=device))

    def decode(self, x: Tensor) -> Tensor:
        r"""The inverse of `encode`: $y = T^{-1}(x)$, and with levels $\lfloor L y \rfloor$ clamped to 0..L-1.

        Returns uint8 up to 256 levels, int64 beyond them; without levels x's own dtype, or float64 for units that need
        it (`Affine.wide`).

        Raises:
            FloatingPointError: x or what becomes of it is not finite.
        """
        y = self.transform.inverse(x)
        if not y.isfinite().all():
            bad, of = int((~y.isfinite()).sum()), "" if x.isfinite().all() else ", nor were they in the model's space"
            raise FloatingPointError(f"{bad} of {y.numel()} values of {self.name} are not finite in its own units{of}")
        if self.levels is None:
            return y
        return (y * self.levels).floor().clamp(0, self.levels - 1).to(raw_dtype(self.levels))


def _double(x: Tensor) -> Tensor:
    return (x.cpu() if x.device.type == "mps" else x).double()  # MPS has no float64


def _like(value: float | Tensor, x: Tensor) -> float | Tensor:
    return value.to(device=x.device, dtype=x.dtype) if isinstance(value, Tensor) else value


def _brief(value: float | Tensor) -> str:
    return f"tensor{tuple(value.shape)}" if isinstance(value, Tensor) and value.ndim else f"{float(value):g}"
