"""Conditions that training makes for itself: no data set has them, and samples do without."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ..settings import Count, Positive
from .kinds import Picture, Vector


@dataclass(frozen=True)
class Estimate(Picture):
    """An estimate of x_0 that the model made before: self-conditioning (Chen, Zhang, Hinton, 2022, arXiv 2208.04202).

    Arguments:
        shape: that of the data; of vectors (D,) it is (D, 1).
    """

    given: ClassVar[bool] = False

    @classmethod
    def of(cls, shape: Sequence[Count]) -> "Estimate":
        """That of data of a shape."""
        return cls(tuple(shape) if len(shape) > 1 else (*shape, 1))

    def told(self, x0: Tensor) -> Tensor:
        """An estimate x0 (B, *shape) as the condition takes it, (B, C, *space): without its graph."""
        return x0.detach().reshape(len(x0), *self.shape)


@dataclass(frozen=True)
class Augmentation(Vector):
    """How an item was turned, moved or scaled before noise was added; missing: not at all.

    Karras et al. (2022), arXiv 2206.00364, appendix F.2.
    """

    given: ClassVar[bool] = False


@dataclass(frozen=True)
class Corruption(Vector):
    """How noisy or blurred the pictures are that a model is told: s, one number, 0 (as they are) where nobody says.

    With noise a picture z becomes z + s n, n ~ N(0, I): the noisy z of any diffusion, alpha z + sigma n, divided by
    alpha, with s = sigma / alpha.  So what is told does not depend on the SDE of the model that made z, whose x_t at
    any time is such a picture (truncated conditioning).  With blur s is the deviation of a Gaussian, in pixels of z.

    Ho, Saharia, Chan, Fleet, Norouzi, Salimans (2021), Cascaded Diffusion Models, arXiv 2106.15282, section 4.

    Arguments:
        size, mean, std, names: as `Vector` has them; `of` sets them.
        by: "noise" or "blur".
        most: the largest s of the training.
    """

    of_items: ClassVar[bool] = False

    size: Count = 1
    drop: float = 0.0
    by: Literal["noise", "blur"] = "noise"
    most: Positive = 1.0

    @classmethod
    def of(cls, by: Literal["noise", "blur"], most: float) -> "Corruption":
        """That of a training `by` noise or blur with s ~ U(0, `most`), whose mean and deviation a network sees away."""
        return cls(mean=(most / 2,), std=(most / math.sqrt(12),), by=by, most=most)

    def rows(self, name, value, n):
        found = super().rows(name, value, n).nan_to_num()
        if n and not 0 <= (bad := float(found.min() if found.min() < 0 else found.max())) <= self.most * (1 + 1e-6):
            raise self._refuse(name, f"is {bad:g}", f"numbers from 0 to {self.most:g}, as the model was trained")
        return found

    def missing(self, n: int, device: torch.device | str = "cpu") -> Tensor:
        """n rows of 0."""
        return torch.zeros(n, self.size, device=device)

    def corrupted(self, z: Tensor, s: Tensor, noise: Tensor | None = None) -> Tensor:
        """Pictures as noisy or blurred as s says, to the bit as they are where it is 0; missing pixels stay missing.

        Arguments:
            z: (B, C, *space), NaN where it is missing.
            s: (B, 1), 0 to `most`.
            noise: standard normal numbers like z; blur takes none.

        Returns:
            (B, C, *space).
        """
        s = s.to(z.device, z.dtype).reshape(-1, *[1] * (z.ndim - 1))
        if self.by == "noise":
            return torch.where(s > 0, z + s * noise, z)
        known = ~z.isnan()
        share = _blurred(known.to(z.dtype), s, self.most)
        found = _blurred(torch.where(known, z, 0.0), s, self.most) / share
        return torch.where(known & (s > 0), found, z)


def _blurred(x: Tensor, s: Tensor, most: float) -> Tensor:
    """x (B, C, *space) under a Gaussian of deviation s (B, 1, ...) pixels, what is beyond an edge as the edge is."""
    reach = math.ceil(3 * most)
    for axis in range(2, x.ndim):
        places, found, total = torch.arange(x.shape[axis], device=x.device), 0.0, 0.0
        for k in range(-reach, reach + 1):
            weight = torch.exp(-0.5 * (k / s.clamp_min(1e-3)) ** 2)
            found = found + weight * x.index_select(axis, (places + k).clamp(0, len(places) - 1))
            total = total + weight
        x = found / total
    return x
