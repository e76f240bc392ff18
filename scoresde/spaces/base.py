"""What a space is."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Generator, Tensor


class Space(ABC):
    """Raw values (*, *shape) <-> the model's space, exactly: x = encode(raw), raw = decode(x).

    `levels`: raw values are the integers 0..levels-1; None: they are continuous.
    """

    levels: int | None = None

    @abstractmethod
    def encode(self, raw: Tensor, u: float | Tensor | None = None) -> Tensor:
        """The model's space of raw values (*, *shape), float32.

        u in [0, 1), a number or of the shape of raw, is the place within a bin, where there are bins.
        """

    @abstractmethod
    def decode(self, x: Tensor) -> Tensor:
        """Raw values of x (*, *shape), the inverse of `encode`.  Raises `FloatingPointError` for what is not finite."""

    @abstractmethod
    def inverse(self, x: Tensor) -> Tensor:
        """The inverse of the map itself at x (*, *shape): raw units, or with levels a place y in the unit cube."""

    @abstractmethod
    def log_det(self, shape: tuple[int, ...]) -> float:
        """log |det dx/dy| over an item of `shape`, in nats; y in raw units, or with levels in the unit cube."""

    def dequantize(self, raw: Tensor, generator: Generator | None = None) -> Tensor:
        """`encode` of raw values, with levels at a place u ~ U[0, 1) for each element.

        The numbers are drawn on the device of the generator; None: torch's own, on that of raw.
        """
        return self.encode(raw)
