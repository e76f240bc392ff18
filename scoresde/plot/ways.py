"""Trajectories of samples, from noise to data."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..denoiser import Denoiser, Given
from ..sampling import ProbabilityFlow, Sampler, Trajectory, sample
from ..settings import Count, Seed, checked
from . import canvas, values

STOPS = 120  # of an adaptive sampler on its way
CROWD = 60  # ways, from which on they are thin


@checked
def trajectories(
    denoiser: Denoiser,
    n: Count = 60,
    sampler: Sampler | None = None,
    axes: Any = None,
    scaled: bool | None = None,
    cond: Given = None,
    shape: Sequence[int] | None = None,
    names: Sequence[str] | None = None,
    seed: Seed = 0,
) -> Any:
    """Draws the ways of n samples from x_T (open circles) to x_0 (dots): in the plane, or of a number over t.

    Arguments:
        denoiser: a model of one or two numbers, guided or not.
        n: how many ways.
        sampler: its steps are the corners of the ways; None: the probability flow.
        scaled: whether x / sqrt(alpha^2 + sigma^2) is drawn in place of x; None: where noise is far wider than data
            (VE, EDM).
        axes, cond, shape, names, seed: as for `density`.

    Returns:
        The matplotlib Figure.

    Raises:
        InputError: samples of other shapes, wrong arguments, matplotlib that is missing.
    """
    shape, sde = canvas.shape_of(denoiser, shape), denoiser.sde
    figure, (axis,) = canvas.frame(axes)
    scaled = canvas.widens(sde) if scaled is None else scaled
    times, x = paths(denoiser, shape, n, sampler, scaled, cond, seed)
    called = canvas.names_of(scaled, x.shape[2], names)
    if x.shape[2] == 1:
        over_time(axis, times, x[..., 0])
        canvas.clock(axis, sde)
        axis.set_ylabel(called[0])
    else:
        _plane(axis, x)
        ends = canvas.joint(canvas.reach(x[0], 0.1), canvas.reach(x[-1], 0.1))
        canvas.dress(axis, ends, called)
    axis.set_title(f"{n} ways of samples" if n > 1 else "the way of a sample", fontsize=10, loc="left")
    place = {"loc": "lower right", "bbox_to_anchor": (1.0, 1.0), "borderaxespad": 0.1}
    axis.legend(fontsize=9, ncols=2, frameon=False, handletextpad=0.1, columnspacing=0.8, **place)
    return figure


def paths(
    denoiser: Denoiser,
    shape: tuple[int, ...],
    n: int,
    sampler: Sampler | None,
    scaled: bool,
    cond: Given,
    seed: int,
) -> tuple[list[float], Tensor]:
    """The times (T,) of a sampling and its states (T, n, D), x_T first."""
    sde = denoiser.sde
    if sampler is None:
        sampler = ProbabilityFlow()
    if sampler.steps == 1 and isinstance(sampler.grid, str):  # the adaptive flow, stopping on its way
        end = sde.t_min if sampler.t_min is None else sampler.t_min
        grid = [t for t in values.moments_of_time(sde, STOPS) if t > end] + [end]
        sampler = dataclasses.replace(sampler, steps=len(grid) - 1, grid=grid)
    record = Trajectory()
    last = sample(denoiser, sampler, (n, *shape), seed, cond=cond, callback=record, progress=False)
    x, times = record.x.flatten(2).double(), record.times
    if sampler.last != "none":  # what the last step makes of the state there
        x = torch.cat([x[:-1], last.cpu().flatten(1).double()[None]])
    if scaled:
        x = x / torch.tensor([m.n for m in sde.along(times)], dtype=torch.float64)[:, None, None]
    return times, x


def over_time(axis: Any, times: list[float], x: Tensor) -> None:
    """The ways (T, n) of numbers over t."""
    style = {"linewidth": 0.5, "alpha": 0.35} if x.shape[1] > CROWD else {"linewidth": 0.9, "alpha": 0.7}
    axis.plot(times, x.numpy(), color=canvas.GREY, **style)
    _ends(axis, [(torch.full_like(x[i], times[i]), x[i]) for i in (0, -1)])


def _plane(axis: Any, x: Tensor) -> None:
    from matplotlib.collections import LineCollection

    thin = x.shape[1] > CROWD
    style = {"colors": canvas.GREY, "linewidths": 0.6 if thin else 0.9, "alpha": 0.5 if thin else 0.6}
    axis.add_collection(LineCollection(list(x.transpose(0, 1).numpy()), **style))
    _ends(axis, [x[0].T, x[-1].T])


def _ends(axis: Any, places: Sequence[Any]) -> None:
    size = 16 if len(places[0][0]) <= CROWD else 7
    hollow = {"facecolors": "none", "edgecolors": canvas.ORANGE, "linewidths": 1.0}
    styles = ({"label": "$x_T$", **hollow}, {"label": "$x_0$", "c": canvas.BLUE, "linewidths": 0})
    for (x, y), style in zip(places, styles, strict=True):
        axis.scatter(x.numpy(), y.numpy(), s=size, zorder=3, clip_on=False, **style)
