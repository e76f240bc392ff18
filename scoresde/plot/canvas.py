"""Axes, colours and words of the plots: one style for all of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..denoiser import Denoiser
from ..errors import InputError
from ..sde import SDE

# Colours that people who see red and green alike tell apart (Okabe, Ito, 2008).
BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#555555"
DENSITY = "Blues"
WIDE = 4.0  # times that n = sqrt(alpha^2 + sigma^2) grows, from which on x / n is drawn
LINES = [r"$x_1$", r"$x_2$"]
Limits = tuple[tuple[float, float], ...]


def frame(axes: Any, columns: int = 1, size: tuple[float, float] = (4.4, 3.8)) -> tuple[Any, np.ndarray]:
    """A figure and its axes (columns,): a new one, or that of the axes given, one or as many.

    Raises `InputError` where matplotlib is missing, and for another number of axes.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise InputError("scoresde.plot needs matplotlib: pip install matplotlib") from None
    if axes is None:
        figure = Figure((size[0] * columns, size[1]), layout="constrained")
        FigureCanvasAgg(figure)
        return figure, figure.subplots(1, columns, squeeze=False)[0]
    found = np.asarray(axes, dtype=object).ravel()
    if len(found) != columns or not all(hasattr(axis, "plot") for axis in found):
        raise InputError(f"axes: give {columns} of matplotlib's Axes, not {len(found)}", "axes")
    return found[0].figure, found


def shape_of(denoiser: Denoiser, shape: Sequence[int] | None = None) -> tuple[int, ...]:
    """The shape of a sample, of one or two numbers.

    Raises `InputError` for one of more, and where neither the denoiser nor `shape` says it.
    """
    if shape is None:
        mean = getattr(denoiser.moments, "mean", None)
        shape = getattr(denoiser, "shape", mean.shape if mean is not None and mean.ndim else None)
    if shape is None:
        inner = getattr(denoiser, "denoiser", None)  # what is bound or guided has no moments of its own
        if isinstance(inner, Denoiser):
            return shape_of(inner)
        name = type(denoiser).__name__
        raise InputError(f"the {name} does not know the shape of its samples: say shape=(1,) or shape=(2,)", "shape")
    shape = tuple(int(n) for n in shape)
    if int(np.prod(shape)) not in (1, 2):
        raise InputError(f"shape {shape}: plots are of 1 or 2 numbers; scoresde.pictures draws other samples", "shape")
    return shape


def widens(sde: SDE) -> bool:
    """Whether noise is far wider than data, so that x / sqrt(alpha^2 + sigma^2) is drawn in its place."""
    return sde.at(sde.t_max).n > WIDE * sde.at(sde.t_min).n


def names_of(scaled: bool, dims: int, names: Sequence[str] | None = None) -> list[str]:
    """What the axes are called."""
    plain = LINES if dims == 2 else ["$x$"]
    if names is not None:
        plain = [str(name).replace("$", r"\$") for name in names]
    return [f"{name} / " + r"$\sqrt{\alpha_t^2 + \sigma_t^2}$" for name in plain] if scaled else plain


def moment(sde: SDE, t: float | None) -> str:
    """A time in words, with its noise level."""
    if t is None:
        return "data"
    noise = float(f"{sde.at(t).sigma / sde.at(t).alpha:.2g}")
    return rf"$t$ = {t:.3g}, $\sigma/\alpha$ = {noise:g}"


def clock(axis: Any, sde: SDE) -> None:
    """Names an axis of time; by its logarithm where nearly all happens in a tenth of it (EDM)."""
    first, last = sde.time(torch.tensor([3.7, -3.7], dtype=torch.float64)).tolist()
    if sde.t_min > 0 and last - first < 0.1 * (sde.t_max - sde.t_min):
        axis.set_xscale("log")
    axis.set_xlabel("$t$")


def reach(x: Tensor, margin: float = 0.2) -> Limits:
    """The ends (low, high) of each axis that hold all but the outermost of points (N, D), and a margin."""
    low, high = torch.quantile(x.double(), torch.tensor([0.003, 0.997], dtype=torch.float64), dim=0)
    pad = margin * (high - low).clamp_min(1e-6)
    return tuple(zip((low - pad).tolist(), (high + pad).tolist(), strict=True))


def joint(*ends: Limits) -> Limits:
    """The ends that hold all of some."""
    return tuple((min(low for low, _ in side), max(high for _, high in side)) for side in zip(*ends, strict=True))


def dress(axis: Any, limits: Limits, names: Sequence[str]) -> None:
    """Ends and names of the plane; to one scale where both sides are of one size."""
    axis.set(xlim=limits[0], ylim=limits[1], xlabel=names[0], ylabel=names[1])
    width, height = (high - low for low, high in limits)
    if 0.25 < width / height < 4:
        axis.set_aspect("equal")
    for side in (axis.xaxis, axis.yaxis):
        side.get_major_locator().set_params(nbins=5, integer=False)
