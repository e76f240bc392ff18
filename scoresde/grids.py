"""Time grids: functions (sde, steps, start, end) -> `steps + 1` decreasing times, a float64 tensor on the CPU."""

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .errors import InputError
from .sde import SDE

Grid = Callable[[SDE, int, float, float], Tensor]


def uniform(sde: SDE, steps: int, start: float, end: float) -> Tensor:
    """Uniform in t (Song et al., 2021, arXiv 2011.13456)."""
    return torch.linspace(start, end, steps + 1, dtype=torch.float64)


def quadratic(sde: SDE, steps: int, start: float, end: float) -> Tensor:
    """sqrt(t) uniform: finer toward the data (Song, Meng, Ermon, 2021, DDIM, arXiv 2010.02502)."""
    return torch.linspace(math.sqrt(start), math.sqrt(end), steps + 1, dtype=torch.float64).square()


def log_snr(sde: SDE, steps: int, start: float, end: float) -> Tensor:
    """Uniform in log-SNR, so sigma/alpha is a geometric sequence: the grid that others call exponential.

    Lu et al. (2022), DPM-Solver++, arXiv 2211.01095.
    """
    ends = sde.log_snr(torch.tensor([start, end], dtype=torch.float64))
    return sde.time(torch.linspace(float(ends[0]), float(ends[1]), steps + 1, dtype=torch.float64))


def _by_angle(sde: SDE, start: float, end: float, u: Tensor) -> Tensor:
    high, low = sde.angle(torch.tensor([start, end], dtype=torch.float64))
    return sde.time(-2 * torch.log(torch.tan(low + (high - low) * u)))


def angle(sde: SDE, steps: int, start: float, end: float) -> Tensor:
    """phi = phi_0 + (phi_T - phi_0) u^1.5 for u from 1 to 0, phi = atan(sigma / alpha): finer toward the data."""
    return _by_angle(sde, start, end, torch.linspace(1, 0, steps + 1, dtype=torch.float64) ** 1.5)


def uniform_angle(sde: SDE, steps: int, start: float, end: float) -> Tensor:
    """Uniform in phi = atan(sigma / alpha)."""
    return _by_angle(sde, start, end, torch.linspace(1, 0, steps + 1, dtype=torch.float64))


def cosine_angle(sde: SDE, steps: int, start: float, end: float) -> Tensor:
    """phi = phi_0 + (phi_T - phi_0) (1 + cos(pi u)) / 2, phi = atan(sigma / alpha): finer toward both ends."""
    u = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    return _by_angle(sde, start, end, (1 + torch.cos(math.pi * u)) / 2)


def karras(sde: SDE, steps: int, start: float, end: float, rho: float = 7.0) -> Tensor:
    """sigma/alpha uniform after the power 1/rho (Karras et al., 2022, arXiv 2206.00364, equation 5)."""
    high, low = torch.exp(-sde.log_snr(torch.tensor([start, end], dtype=torch.float64)) / 2) ** (1 / rho)
    u = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
    return sde.time(-2 * rho * torch.log(low + (high - low) * u))


def paper(sde: SDE, steps: int, start: float, end: float) -> Tensor:
    """The grid of the paper that the SDE comes from, by its name `sde.grid`: uniform in t, or Karras for EDM."""
    return GRIDS[sde.grid](sde, steps, start, end)


GRIDS: dict[str, Grid] = {
    "uniform": uniform,
    "quadratic": quadratic,
    "log_snr": log_snr,
    "exponential": log_snr,
    "angle": angle,
    "uniform_angle": uniform_angle,
    "cosine_angle": cosine_angle,
    "karras": karras,
    "paper": paper,
}


def times(grid: str | Grid | Sequence[float], sde: SDE, steps: int, start: float, end: float) -> list[float]:
    """The times of a grid given by name, by function, or as the times themselves; first `start`, last `end`.

    Raises `InputError` for an unknown name, times that do not decrease, or times outside [end, start].
    """
    if isinstance(grid, str):
        if grid == "fitted":
            raise InputError(
                "grid='fitted' needs the model: give what sampling.fit_grid(denoiser, ...) returns", "grid"
            )
        if grid not in GRIDS:
            words = f"choose one of {', '.join(GRIDS)}, or give the times themselves"
            raise InputError(f"grid={grid!r} is unknown: {words}", "grid")
        grid = GRIDS[grid]
    t = grid(sde, steps, start, end).tolist() if callable(grid) else [float(s) for s in grid]
    if callable(grid):
        t[0], t[-1] = start, end  # the ends to the bit, whatever the rounding in between
    if len(t) < 2 or not all(b < a for a, b in itertools.pairwise(t)):
        raise InputError(f"grid={t[:6]}: the times must decrease strictly, and be at least two", "grid")
    if t[0] > sde.t_max or t[-1] < 0:
        raise InputError(f"grid={t[:6]}: the times, {t[0]} to {t[-1]}, must lie in [0, {sde.t_max}]", "grid")
    return t
