"""Densities of a model."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..denoiser import Denoiser, Given
from ..settings import Count, Scale, Seed, checked
from . import canvas, values
from .canvas import Limits
from .values import Points

FLOOR = 12.0  # nats below the highest density, from which on log p is drawn alike


@checked
def density(
    denoiser: Denoiser,
    t: Scale | None = None,
    log: bool = False,
    axes: Any = None,
    limits: Sequence[Sequence[float]] | None = None,
    points: Points | None = None,
    samples: Count | Tensor | None = None,
    cond: Given = None,
    shape: Sequence[int] | None = None,
    names: Sequence[str] | None = None,
    seed: Seed = 0,
) -> Any:
    """Draws p_t(x), or log p_t(x): a curve of a number, an image of the plane.

    The density is the denoiser's own where it has one (`exact.GaussianMixture.log_prob`), and else comes through the
    probability flow, `log_likelihood` with the exact divergence and tolerances of 1e-3.

    Arguments:
        denoiser: a model of one or two numbers, exact or trained.
        t: the time.  None: the data's density; of a model without one of its own that of the SDE's t_min.
        log: log p, in nats, down to 12 below its highest value in sight.
        axes: matplotlib's Axes to draw into; None: a figure of its own.
        limits: (low, high) of each axis; None: where nearly all samples of p_t are.
        points: of the grid, on each axis; None: 150, or 64 where the density comes through the flow (200 of a number).
        samples: points over the density: how many to draw, or (N, *shape).
        cond: the model's conditions by name: the density of what has them.
        shape: that of a sample, where the denoiser does not know it: (1,) or (2,).
        names: of the axes.
        seed: of samples.

    Returns:
        The matplotlib Figure.

    Raises:
        InputError: samples of other shapes, wrong arguments, a denoiser without a likelihood (guided ones), matplotlib
            that is missing.
    """
    shape, sde = canvas.shape_of(denoiser, shape), denoiser.sde
    figure, (axis,) = canvas.frame(axes)
    drawn = samples if torch.is_tensor(samples) else None
    if drawn is None and (samples or limits is None):
        drawn = values.draws(denoiser, shape, max(samples or 0, 500), t, seed, cond)
    limits = tuple(map(tuple, limits)) if limits is not None else canvas.reach(drawn.flatten(1))
    points = values.fine(denoiser, points, *((150, 64) if len(limits) == 2 else (200, 200)))
    places, x = values.grid(limits, points)
    log_p = values.log_density(denoiser, x.reshape(-1, *shape), t, cond)
    over = None if samples is None else drawn[:samples].flatten(1) if isinstance(samples, int) else drawn.flatten(1)
    called = canvas.names_of(False, len(limits), names)
    if len(limits) == 1:
        curve(axis, places[0], log_p, log, called[0], over)
    else:
        bar = image(axis, limits, log_p.reshape(points, points), log)
        figure.colorbar(bar, ax=axis, label=r"$\log p_t(x)$, nats" if log else "$p_t(x)$", shrink=0.85)
        if over is not None:
            axis.scatter(*over.T.numpy(), s=3, c=canvas.RED, alpha=0.5, linewidths=0)
        canvas.dress(axis, limits, called)
    own = hasattr(denoiser, "log_prob")
    axis.set_title(canvas.moment(sde, sde.t_min if t is None and not own else t), fontsize=10)
    return figure


def curve(axis: Any, x: Tensor, log_p: Tensor, log: bool, name: str, over: Tensor | None) -> None:
    """The density of a number, and samples as marks below it."""
    y = log_p.clamp_min(float(log_p.max()) - FLOOR) if log else log_p.exp()
    axis.plot(x.numpy(), y.numpy(), color=canvas.BLUE, linewidth=1.8)
    if not log:
        axis.fill_between(x.numpy(), y.numpy(), color=canvas.BLUE, alpha=0.15, linewidth=0)
        axis.set_ylim(0, None)
    if over is not None:
        axis.plot(over[:, 0].numpy(), np.zeros(len(over)), "|", color=canvas.RED, alpha=0.4, clip_on=False)
    axis.set(xlim=(float(x[0]), float(x[-1])), xlabel=name, ylabel=r"$\log p_t(x)$, nats" if log else "$p_t(x)$")


def image(axis: Any, limits: Limits, log_p: Tensor, log: bool = False) -> Any:
    """The density of the plane (points, points), the first axis across."""
    y = log_p.clamp_min(float(log_p.max()) - FLOOR) if log else log_p.exp()
    extent = (*limits[0], *limits[1])
    low = {} if log else {"vmin": 0.0}
    options = {"origin": "lower", "extent": extent, "aspect": "auto", "cmap": canvas.DENSITY, **low}
    return axis.imshow(y.T.numpy(), interpolation="bilinear", **options)
