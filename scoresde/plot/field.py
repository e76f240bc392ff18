"""The score of a model."""

from collections.abc import Sequence
from typing import Annotated, Any

import torch
from torch import Tensor

from ..denoiser import Denoiser, Given, bind, device_of
from ..settings import Positive, Range, Seed, Whole, checked
from . import canvas, values


@checked
@torch.no_grad()
def score_field(
    denoiser: Denoiser,
    t: Positive,
    samples: Whole | Tensor = 300,
    arrows: Annotated[int, Range(2, 200)] = 21,
    axes: Any = None,
    limits: Sequence[Sequence[float]] | None = None,
    cond: Given = None,
    shape: Sequence[int] | None = None,
    names: Sequence[str] | None = None,
    seed: Seed = 0,
) -> Any:
    """Draws the score grad_x log p_t(x): arrows over samples of p_t in the plane, a curve of a number.

    It is (alpha D(x, t) - x) / sigma^2.  An arrow points along the score s and is as long as |s| / (|s| + m), with m
    the median of |s| in sight: far from the data scores are hundreds of times longer than among it.  Its colour says
    |s|.

    Arguments:
        denoiser: a model of one or two numbers, guided or not.
        t: the time.
        samples: how many points of p_t lie beneath, or points (N, *shape) of one's own.
        arrows: on each axis.
        axes, limits, cond, shape, names, seed: as for `density`.

    Returns:
        The matplotlib Figure.

    Raises:
        InputError: samples of other shapes, wrong arguments, matplotlib that is missing.
    """
    shape = canvas.shape_of(denoiser, shape)
    figure, (axis,) = canvas.frame(axes)
    drawn = samples if torch.is_tensor(samples) else values.draws(denoiser, shape, max(samples, 300), t, seed, cond)
    shown = (drawn if torch.is_tensor(samples) else drawn[:samples]).flatten(1).cpu()
    limits = tuple(map(tuple, limits)) if limits is not None else canvas.reach(drawn.flatten(1).cpu())
    places, x = values.grid(limits, arrows if len(limits) == 2 else 300)
    own = x.reshape(-1, *shape).to(device_of(denoiser), torch.get_default_dtype())
    score = bind(denoiser, cond, len(x)).score(own, t).flatten(1).double().cpu()
    called = canvas.names_of(False, len(limits), names)
    if len(limits) == 1:
        _curve(axis, places[0], score[:, 0], shown[:, 0], called[0])
    else:
        length = score.norm(dim=1, keepdim=True)
        arrow = score / (length + length.median()).clamp_min(1e-12)
        axis.scatter(*shown.T.numpy(), s=5, c="0.72", linewidths=0)
        found = _quiver(axis, x, arrow, length[:, 0], (limits[0][1] - limits[0][0]) / arrows)
        figure.colorbar(found, ax=axis, label=r"$|\nabla_x \log p_t(x)|$", shrink=0.85, extend="max")
        canvas.dress(axis, limits, called)
    axis.set_title(canvas.moment(denoiser.sde, t), fontsize=10)
    return figure


def _curve(axis: Any, x: Tensor, score: Tensor, shown: Tensor, name: str) -> None:
    axis.axhline(0, color="0.8", linewidth=0.8)
    axis.plot(x.numpy(), score.numpy(), color=canvas.BLUE, linewidth=1.8)
    low, high = axis.get_ylim()
    axis.plot(shown.numpy(), torch.full_like(shown, low).numpy(), "|", color=canvas.RED, alpha=0.4, clip_on=False)
    axis.set(xlim=(float(x[0]), float(x[-1])), ylim=(low, high), xlabel=name, ylabel=r"$\nabla_x \log p_t(x)$")


def _quiver(axis: Any, x: Tensor, arrow: Tensor, length: Tensor, cell: float) -> Any:
    """Arrows of up to a cell's width, coloured by |s|; the largest fiftieth alike."""
    options = {"angles": "xy", "scale_units": "xy", "scale": 1.0, "width": 0.0045, "pivot": "tail"}
    options["clim"] = (0.0, float(torch.quantile(length, 0.98)) or 1.0)
    return axis.quiver(*x.T.numpy(), *(1.1 * cell * arrow).T.numpy(), length.numpy(), cmap="viridis_r", **options)
