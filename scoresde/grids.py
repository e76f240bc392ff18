"""Time grids: functions (sde, steps, start, end) -> `steps + 1` decreasing times, a float64 tensor on the CPU."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .denoiser.moments import Moments
from .errors import InputError
from .sde import SDE
from .settings import brief, matches

Grid = Callable[[SDE, int, float, float], Tensor]


def uniform(sde: SDE, steps: int, start: float, end: float) -> Tensor:
    """Uniform in t (Song et al., 2021, arXiv 2011.13456).

    Arguments:
        sde, steps, start, end: as in `times`.

    Returns:
        (steps + 1,) decreasing times, float64.
    """
    return torch.linspace(start, end, steps + 1, dtype=torch.float64)


def quadratic(sde: SDE, steps: int, start: float, end: float) -> Tensor:
    """sqrt(t) uniform: finer toward the data (Song, Meng, Ermon, 2021, DDIM, arXiv 2010.02502).

    Arguments:
        sde, steps, start, end: as in `times`.

    Returns:
        (steps + 1,) decreasing times, float64.
    """
    return torch.linspace(math.sqrt(start), math.sqrt(end), steps + 1, dtype=torch.float64).square()


def log_snr(sde: SDE, steps: int, start: float, end: float) -> Tensor:
    """Uniform in log-SNR, so sigma/alpha is a geometric sequence: the grid that others call exponential.

    Lu et al. (2022), DPM-Solver++, arXiv 2211.01095.

    Arguments:
        sde, steps, start, end: as in `times`.

    Returns:
        (steps + 1,) decreasing times, float64.
    """
    ends = sde.log_snr(torch.tensor([start, end], dtype=torch.float64))
    return sde.time(torch.linspace(float(ends[0]), float(ends[1]), steps + 1, dtype=torch.float64))


def _by_angle(sde: SDE, start: float, end: float, u: Tensor) -> Tensor:
    high, low = sde.angle(torch.tensor([start, end], dtype=torch.float64))
    return _at(sde, low + (high - low) * u)


def _at(sde: SDE, phi: Tensor) -> Tensor:
    return sde.time(-2 * torch.log(torch.tan(phi)))


def angle(sde: SDE, steps: int, start: float, end: float) -> Tensor:
    """phi = phi_0 + (phi_T - phi_0) u^1.5 for u from 1 to 0, phi = atan(sigma / alpha): finer toward the data.

    Arguments:
        sde, steps, start, end: as in `times`.

    Returns:
        (steps + 1,) decreasing times, float64.
    """
    return _by_angle(sde, start, end, torch.linspace(1, 0, steps + 1, dtype=torch.float64) ** 1.5)


def uniform_angle(sde: SDE, steps: int, start: float, end: float) -> Tensor:
    """Uniform in phi = atan(sigma / alpha).

    Arguments:
        sde, steps, start, end: as in `times`.

    Returns:
        (steps + 1,) decreasing times, float64.
    """
    return _by_angle(sde, start, end, torch.linspace(1, 0, steps + 1, dtype=torch.float64))


def cosine_angle(sde: SDE, steps: int, start: float, end: float) -> Tensor:
    """phi = phi_0 + (phi_T - phi_0) (1 + cos(pi u)) / 2, phi = atan(sigma / alpha): finer toward both ends.

    Arguments:
        sde, steps, start, end: as in `times`.

    Returns:
        (steps + 1,) decreasing times, float64.
    """
    u = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    return _by_angle(sde, start, end, (1 + torch.cos(math.pi * u)) / 2)


def information(
    sde: SDE, steps: int, start: float, end: float, moments: Moments | None = None, free: bool = False
) -> Tensor:
    """Finer toward the data, toward the noise too if steps are many, and where Gaussian data would become known.

    With phi = atan(sigma / alpha),

        phi = phi_0 + (phi_T - phi_0) ((1 - a) u^p + a (1 - cos pi u) / 2)

    for u from 1 to 0, where a and p depend on the number of steps.  Given `moments`, the share of steps below phi is

        (1 - w) u + w (exp(-I / c) - exp(-I_0 / c)) / (exp(-I_T / c) - exp(-I_0 / c))

    with `Moments.information` I, where modes part: c = sqrt(8 + d / 2) nats for d directions that matter.  The unit of
    sigma / alpha is then `Moments.reach`^0.15, and the last interval longer.  All numbers were fitted to mixtures of 2
    to 256 dimensions and four trained networks.

    Arguments:
        sde, steps, start, end: as in `times`.
        moments: those of the data; None: not known.
        free: with moments, one interval more, the first, which is shorter and costs no evaluation.

    Returns:
        (steps + 1,) decreasing times, float64; one more if `free`.
    """
    scale = 1.0 if moments is None else moments.reach**0.15
    high, low = sde.angle(torch.tensor([start, end], dtype=torch.float64)).tan().div(scale).atan().tolist()
    a, p = max(1 - 180 / steps**2, 0.0), 1.8 + 0.5 / steps
    angle = lambda u: low + (high - low) * ((1 - a) * u**p + a * (1 - np.cos(math.pi * u)) / 2)
    if moments is None:
        return _at(sde, torch.from_numpy(angle(np.linspace(1, 0, steps + 1))))
    u = np.linspace(0, 1, 513)
    phi = np.arctan(scale * np.tan(angle(u)))
    variances, w = moments.deviations.expand(moments.directions).square(), min(0.25, 0.75 / math.sqrt(steps))
    c = math.sqrt(8 + float(variances.sum() ** 2 / variances.square().sum()) / 2)
    known = np.exp(-moments.information(np.tan(phi)) / c)
    share = (1 - w) * u + w * (known - known[0]) / max(known[-1] - known[0], 1e-300)
    lengths = np.ones(steps + free)
    lengths[0] *= 0.15 + 2.9 / steps if free else 1.0
    lengths[-1] *= 1 + min(0.5, 4 / steps)
    below = 1 - np.concatenate([[0.0], lengths.cumsum() / lengths.sum()])
    return _at(sde, torch.from_numpy(np.interp(below, share, phi)))


def karras(sde: SDE, steps: int, start: float, end: float, rho: float = 7.0) -> Tensor:
    """sigma/alpha uniform after the power 1/rho (Karras et al., 2022, arXiv 2206.00364, equation 5).

    Arguments:
        sde, steps, start, end: as in `times`.
        rho: the larger, the finer toward the data.

    Returns:
        (steps + 1,) decreasing times, float64.
    """
    high, low = torch.exp(-sde.log_snr(torch.tensor([start, end], dtype=torch.float64)) / 2) ** (1 / rho)
    u = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
    return sde.time(-2 * rho * torch.log(low + (high - low) * u))


def paper(sde: SDE, steps: int, start: float, end: float) -> Tensor:
    """The grid of the paper that the SDE comes from, by its name `sde.grid`: uniform in t, or Karras for EDM.

    Arguments:
        sde, steps, start, end: as in `times`.

    Returns:
        (steps + 1,) decreasing times, float64.
    """
    return GRIDS[sde.grid](sde, steps, start, end)


GRIDS: dict[str, Grid] = {
    "uniform": uniform,
    "quadratic": quadratic,
    "log_snr": log_snr,
    "exponential": log_snr,
    "angle": angle,
    "uniform_angle": uniform_angle,
    "cosine_angle": cosine_angle,
    "information": information,
    "karras": karras,
    "paper": paper,
}


def _asked(grid: Grid, sde: SDE, steps: int, start: float, end: float) -> list[float]:
    found = grid(sde, steps, start, end)
    if not matches(found, Sequence[Any]) or len(found) < steps + 1:
        raise InputError(f"grid answers with {brief(found)}: it must give {steps + 1} times at least", "grid")
    return [start, *(float(t) for t in found[1:-1]), end]  # the ends to the bit, whatever the rounding in between


def times(grid: str | Grid | Sequence[float], sde: SDE, steps: int, start: float, end: float) -> list[float]:
    """The times of a grid given by name, by function, or as the times themselves.

    Arguments:
        grid: a name in `GRIDS`, a function (sde, steps, start, end) -> times, or decreasing times.
        sde: whose times they are.
        steps: the number of intervals, unless the times themselves are given.
        start, end: the first time, the larger one, and the last.

    Returns:
        The decreasing times; those of a name or a function begin with `start` and end with `end`, to the bit.

    Raises:
        InputError: an unknown name, an answer that is no list of steps + 1 times, times that do not decrease, or times
            outside [0, t_max].
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
    t = _asked(grid, sde, steps, start, end) if callable(grid) else [float(s) for s in grid]
    if len(t) < 2 or not all(b < a for a, b in itertools.pairwise(t)):
        raise InputError(f"grid={t[:6]}: the times must decrease strictly, and be at least two", "grid")
    if t[0] > sde.t_max or t[-1] < 0:
        raise InputError(f"grid={t[:6]}: the times, {t[0]} to {t[-1]}, must lie in [0, {sde.t_max}]", "grid")
    return t
