"""Conditions that training makes for itself: no data set has them, nobody gives them, and samples do without."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..settings import Count
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
