"""Distributions of times, kept within an interval of noise levels."""

import math
from typing import Annotated

import torch
from torch import Tensor

from ..errors import InputError
from ..sde import SDE
from ..settings import Range
from .times import Times

Level = Annotated[float, Range(0, math.inf)]
Interval = tuple[Level, Level] | None  # of sigma / alpha
PARTS = 1024  # of an interval of u, in each of four rounds: to 1e-12


def check(interval: Interval) -> None:
    """Raises `InputError` for an empty interval."""
    if interval is not None and not interval[0] < interval[1]:
        low, high = interval
        raise InputError(f"interval=({low:g}, {high:g}): give (low, high) of sigma / alpha, low below high", "interval")


def span(times: Times, sde: SDE, t_min: float, interval: tuple[float, float]) -> tuple[float, float]:
    """The u between which `times` gives noise levels low <= sigma / alpha <= high: they are drawn uniformly there.

    Raises `InputError` where there is no such time.
    """
    found = _first(times, sde, t_min, interval[0], False), _first(times, sde, t_min, interval[1], True)
    if not found[0] < found[1]:
        low, high = interval
        raise InputError(f"interval=({low:g}, {high:g}): the loss has no times at these noise levels", "interval")
    return found


def _first(times: Times, sde: SDE, t_min: float, level: float, beyond: bool) -> float:
    """The first u of those whose times have at least this level, or with `beyond` a higher one; times grow with u."""
    low, high = 0.0, 1.0
    if level == 0 or level == math.inf:
        return 1.0 if beyond and level else 0.0
    c = math.log(level)
    for _ in range(4):
        u = torch.linspace(low, high, PARTS + 1, dtype=torch.float64)
        found = -sde.log_snr(times(sde, u.clamp(1e-12, 1 - 1e-12), t_min)) / 2
        first = int((found > c if beyond else found >= c).double().argmax()) if bool((found >= c).any()) else PARTS
        if first == 0:
            return low
        low, high = float(u[first - 1]), float(u[first])
    return high


def placed(times: Times, sde: SDE, u: Tensor, t_min: float, interval: tuple[float, float]) -> Tensor:
    """The times (B,) of u (B,) in (0, 1), of the distribution given that the level is within the interval."""
    low, high = span(times, sde, t_min, interval)
    return times(sde, low + (high - low) * u, t_min)
