"""How strongly a model is guided: a number, one for each row, or a function of the time; in an interval of noise."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from numbers import Real
from typing import Annotated, Any

import torch
from torch import Tensor

from ..answers import answered
from ..denoiser import device_of, rows
from ..errors import InputError
from ..sde import expand, widest
from ..settings import Range, brief
from .base import beside, per_row

Strength = float | Tensor | Callable[[float], float]  # a number, (B,), or a function of t
Level = Annotated[float, Range(0, math.inf)]
Interval = tuple[Level, Level] | None  # of sigma / alpha
How = Callable[[Tensor, Tensor, Any], Tensor]


@dataclass(frozen=True)
class Scale:
    """w at a time: `value` where low < sigma / alpha <= high of the `interval`, and 1 elsewhere."""

    value: Strength
    interval: Interval = None
    name: str = "scale"

    @classmethod
    def of(cls, value: Strength, denoiser: torch.nn.Module, interval: Interval = None, name: str = "scale") -> "Scale":
        """One that is checked.  Raises `InputError`."""
        if interval is not None and not interval[0] < interval[1]:
            raise InputError(f"interval={brief(interval)}: give (low, high) of sigma / alpha, low below", "interval")
        if isinstance(value, Tensor):
            if value.ndim > 1 or value.is_complex() or not value.numel() or not bool(value.isfinite().all()):
                words = "give a number, finite numbers (B,) with one for each sample, or a function of t"
                raise InputError(f"{name}={brief(value)}: {words}", name)
            device = device_of(denoiser)
            value = float(value) if value.numel() == 1 else value.detach().to(device, widest(device))
        elif not callable(value):
            value = _number(value, name, f"{name}={brief(value)}")
        return cls(value, None if interval is None else tuple(map(float, interval)), name)

    @property
    def rows(self) -> int | None:
        """How many it has of its own."""
        return len(self.value) if isinstance(self.value, Tensor) else None

    def select(self, rows: Tensor) -> "Scale":
        """That of some of its rows."""
        own = isinstance(self.value, Tensor)
        return replace(self, value=self.value[rows.to(self.value.device)]) if own else self

    def at(self, x: Tensor, t: float | Tensor, alpha: float | Tensor, sigma: float | Tensor) -> float | Tensor:
        """w for x (B, *shape) at t, where alpha and sigma are those given: (B,), or a number, which it always is where
        all rows have 0 or 1."""
        value = self._asked(x, t) if callable(self.value) else self._kept
        if isinstance(value, Tensor):
            value = beside(value, x, self.name)
        if self.interval is None:
            return value
        low, high = self.interval
        inside = (low * alpha < sigma) & (sigma <= high * alpha)
        if not isinstance(inside, Tensor) or not inside.ndim:
            return value if bool(inside) else 1.0
        return _settled(torch.where(inside.to(x.device), rows(value, x, widest(x.device)), 1.0))

    @cached_property
    def _kept(self) -> float | Tensor:
        # Once for all steps: a look at a tensor waits for its device.
        return _settled(self.value) if isinstance(self.value, Tensor) else self.value

    def _asked(self, x: Tensor, t: float | Tensor) -> float | Tensor:
        ask = lambda u: _number(self.value(u), self.name, f"{self.name} at t={u:g} answers with ", answers=True)
        if isinstance(t, Tensor) and t.ndim:
            return _settled(torch.tensor([ask(u) for u in t.tolist()], dtype=widest(x.device), device=x.device))
        return ask(float(t))


def _number(value: Any, name: str, words: str, answers: bool = False) -> float:
    if isinstance(value, Tensor) and value.numel() == 1:
        value = value.item()
    if not isinstance(value, Real) or isinstance(value, bool) or not math.isfinite(value):
        raise InputError(f"{words}{brief(value) if answers else ''}: give a finite number", name)
    return float(value)


def _settled(value: Tensor) -> float | Tensor:
    """The number 0 or 1 that all rows have; else the rows."""
    return next((w for w in (0.0, 1.0) if bool((value == w).all())), value)


def plain(one: Tensor, base: Tensor, w: Any) -> Tensor:
    """base + w (one - base)."""
    return base + w * (one - base)


def led(one: Tensor, base: Tensor, w: float | Tensor, how: How = plain) -> Tensor:
    """how(one, base, w) for w a number or (B,); `one` and `base` themselves, to the bit, in rows where w is 1 and 0."""
    found = answered(how(one, base, expand(w, one)), one.shape, "how")
    if isinstance(w, Tensor):
        found = torch.where(per_row(w == 1, one), one, found)
        found = torch.where(per_row(w == 0, one), base, found)
    return found
