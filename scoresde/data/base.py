"""What a data set is: raw items, split in two, and the exact map from raw values to the model's space and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Generator, Tensor
from torch.utils.data import Dataset, Subset, TensorDataset

from ..errors import InputError
from .checks import check_levels


@dataclass(frozen=True)
class Affine:
    r"""The map $x = \text{scale} \cdot y + \text{shift}$, element by element.

    Arguments:
        scale: a number, or a tensor that broadcasts to the data's shape; finite and nonzero.
        shift: likewise; finite.

    Raises:
        InputError: scale is zero, or either of them is not finite (as float32).
    """

    scale: float | Tensor = 1.0
    shift: float | Tensor = 0.0

    def __post_init__(self) -> None:
        scale, shift = (torch.as_tensor(v, dtype=torch.float32) for v in (self.scale, self.shift))
        if not scale.isfinite().all() or (scale == 0).any():
            raise InputError(f"scale={_brief(self.scale)}: must be finite and not zero")
        if not shift.isfinite().all():
            raise InputError(f"shift={_brief(self.shift)}: must be finite")

    def __call__(self, y: Tensor) -> Tensor:
        return _like(self.scale, y) * y + _like(self.shift, y)

    def inverse(self, x: Tensor) -> Tensor:
        r"""$y = (x - \text{shift}) / \text{scale}$."""
        return (x - _like(self.shift, x)) / _like(self.scale, x)

    def log_det(self, shape: tuple[int, ...]) -> float:
        r"""$\log |\det \partial x / \partial y| = \sum_i \log |\text{scale}_i|$ over an item of `shape`, in nats."""
        scale = torch.as_tensor(self.scale, dtype=torch.float64)
        return scale.abs().log().expand(tuple(shape)).sum().item()


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

    Raises:
        InputError: levels is not an integer in 2..65536; labels of another number than the items.
    """

    name: str
    train: Dataset
    test: Dataset
    transform: Affine
    levels: int | None = None
    labels: tuple[Tensor, Tensor] | None = None

    def __post_init__(self) -> None:
        check_levels(self.levels)
        for items, labels in zip((self.train, self.test), self.labels or (), strict=False):
            if len(items) != len(labels):
                raise InputError(f"{self.name} has {len(items)} items and {len(labels)} labels: give one for each")

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """The shape of one item."""
        return tuple(item(self.train[0]).shape)

    @cached_property
    def log_det(self) -> float:
        r"""$\log |\det \partial x / \partial y|$ in nats, $y$ in the unit cube (levels) or in raw units (no levels)."""
        return self.transform.log_det(self.shape)

    def encode(self, raw: Tensor, u: float | Tensor | None = None) -> Tensor:
        r"""Raw (*, *shape) to the model's space, float32: $x = T((r + u) / L)$ with $L$ levels, else $x = T(r)$.

        u in [0, 1) is the place within the bin, by default its centre 0.5. It is kept $L 2^{-22}$ (6e-5 for 256 levels)
        away from the bin's edges, so that float32 rounding never moves a value to the next bin.
        """
        y = raw.to(torch.float32)
        if self.levels is not None:
            margin = self.levels * 2.0**-22
            u = torch.as_tensor(0.5 if u is None else u, dtype=torch.float32, device=y.device)
            y = (y + u.clamp(margin, 1 - margin)) / self.levels
        return self.transform(y)

    def dequantize(self, raw: Tensor, generator: Generator | None = None) -> Tensor:
        r"""`encode` with $u \sim U[0, 1)$ per element, drawn on the generator's device; without levels `encode`."""
        if self.levels is None:
            return self.encode(raw)
        device = raw.device if generator is None else generator.device
        return self.encode(raw, torch.rand(raw.shape, generator=generator, device=device))

    def decode(self, x: Tensor) -> Tensor:
        r"""The inverse of `encode`: $y = T^{-1}(x)$, and with levels $\lfloor L y \rfloor$ clamped to 0..L-1.

        Returns uint8 up to 256 levels, int64 beyond them, x's own dtype without levels.
        """
        y = self.transform.inverse(x)
        if self.levels is None:
            return y
        return (y * self.levels).floor().clamp(0, self.levels - 1).to(raw_dtype(self.levels))


class Tensors(Dataset):
    """The rows of one tensor x (N, *shape), in memory."""

    def __init__(self, x: Tensor) -> None:
        self.x = x

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> Tensor:
        return self.x[index]


def item(entry) -> Tensor:
    """The tensor of a dataset's entry: the entry itself, the first of a tuple, or what a dict has under "x".

    Raises:
        InputError: there is no tensor at that place.
    """
    if isinstance(entry, Tensor):
        return entry
    if isinstance(entry, Mapping):
        if "x" not in entry:
            raise InputError(f"a dataset's item is a dict with keys {list(entry)}: the tensor must be under 'x'")
        return item(entry["x"])
    if isinstance(entry, (tuple, list)) and entry:
        return item(entry[0])
    kind = f"{type(entry).__module__}.{type(entry).__name__}".removeprefix("builtins.")
    raise InputError(f"a dataset's item is a {kind}: must be a tensor, a tuple that starts with one or a dict with 'x'")


def stack(dataset: Dataset, indices) -> Tensor:
    """The items at `indices` (any sequence of integers) as one tensor (len(indices), *shape).

    Raises:
        InputError: an item has another shape than the first of them, or has no tensor (see `item`).
    """
    indices = np.array(indices.tolist() if isinstance(indices, Tensor) else indices, dtype=np.int64)
    if isinstance(dataset, Tensors):
        return dataset.x[torch.from_numpy(indices)]
    if type(dataset) is TensorDataset:
        return dataset.tensors[0][torch.from_numpy(indices)]
    if type(dataset) is Subset:
        return stack(dataset.dataset, np.asarray(dataset.indices)[indices])
    items = [item(dataset[i]) for i in indices.tolist()]
    for i, x in zip(indices, items, strict=True):
        if x.shape != items[0].shape:
            shapes = f"{tuple(items[0].shape)}, item {i} {tuple(x.shape)}"
            raise InputError(f"the dataset's item {indices[0]} has shape {shapes}: all must have the same")
    return torch.stack(items)


def raw_dtype(levels: int) -> torch.dtype:
    """The dtype that raw values of so many levels are stored in."""
    return torch.uint8 if levels <= 256 else torch.int64


def _like(value: float | Tensor, x: Tensor) -> float | Tensor:
    return value.to(device=x.device, dtype=x.dtype) if isinstance(value, Tensor) else value


def _brief(value: float | Tensor) -> str:
    return f"tensor{tuple(value.shape)}" if isinstance(value, Tensor) and value.ndim else f"{float(value):g}"
