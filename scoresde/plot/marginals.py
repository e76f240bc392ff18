"""p_t over time."""

from collections.abc import Sequence
from typing import Any

import torch

from ..denoiser import Denoiser, Given
from ..likelihood.paths import scored
from ..sampling import Sampler
from ..settings import Scale, Seed, Whole, checked
from . import canvas, values, ways
from .density import image
from .values import Points

PANELS = 5  # times of the plane
COLUMNS = 50  # times of a number


@checked
def marginals(
    denoiser: Denoiser,
    times: Sequence[Scale] | None = None,
    n: Whole = 12,
    sampler: Sampler | None = None,
    axes: Any = None,
    points: Points | None = None,
    scaled: bool | None = None,
    cond: Given = None,
    shape: Sequence[int] | None = None,
    names: Sequence[str] | None = None,
    seed: Seed = 0,
) -> Any:
    """Draws p_t from data to noise.

    Of a number it is an image of p_t(x) over t and x, with n ways on it; of the plane a panel for each time.

    Arguments:
        denoiser: a model of one or two numbers, exact or trained.
        times: of the panels, or of the image's columns; None: evenly in atan(sigma / alpha).
        n: ways from x_T to x_0 over the image, by the sampler; in each panel no ways but
            200 samples of p_t where n > 0.
        sampler: of the ways; None: the probability flow.
        axes: one, or for the plane as many as there are times; None: a figure of its own.
        points: of the grid, on each axis; None: 200 of a number; of the plane 100, or 44 where densities come through
            the flow.
        scaled: as for `trajectories`: the density is then that of x / sqrt(alpha^2 + sigma^2).
        cond, shape, names, seed: as for `density`.

    Returns:
        The matplotlib Figure.

    Raises:
        InputError: samples of other shapes, wrong arguments, a denoiser without a likelihood, matplotlib that is
            missing.
    """
    shape, sde = canvas.shape_of(denoiser, shape), denoiser.sde
    scaled = canvas.widens(sde) if scaled is None else scaled
    dims = int(torch.Size(shape).numel())
    times = values.by_angle(sde, PANELS) if times is None and dims == 2 else times
    given = None if times is None else sorted(map(float, times))
    figure, found = canvas.frame(axes, 1 if dims == 1 else len(given), (6.0, 3.8) if dims == 1 else (2.6, 3.0))
    view = _View(denoiser, shape, scaled, cond, seed)
    points = values.fine(denoiser, points, *((200, 200) if dims == 1 else (100, 44)))
    called = canvas.names_of(scaled, dims, names)
    if dims == 1:
        given = given or values.moments_of_time(sde, COLUMNS)[::-1]
        bar = _image(found[0], view, given, points)
        figure.colorbar(bar, ax=found[0], label=r"$p_t(x)$", pad=0.02)
        if n:
            there, x = ways.paths(denoiser, shape, n, sampler, scaled, cond, seed)
            found[0].plot(there, x[..., 0].numpy(), color=canvas.ORANGE, linewidth=1.0)
        canvas.clock(found[0], sde)
        found[0].set(ylabel=called[0], xlim=(given[0], given[-1]))
        found[0].set_title("$p_t(x)$ from data (left) to noise (right)", fontsize=10)
        return figure
    limits = canvas.joint(*(view.limits(t) for t in (given[0], given[-1])))
    for axis, t in zip(found, given, strict=True):
        image(axis, limits, view.log_density(t, limits, points).reshape(points, points))
        if n:
            axis.scatter(*view.draws(t)[:200].T.numpy(), s=2, c=canvas.RED, alpha=0.4, linewidths=0)
        canvas.dress(axis, limits, called if axis is found[0] else (called[0], ""))
        axis.tick_params(labelleft=axis is found[0])
        axis.set_title(canvas.moment(sde, t), fontsize=9)
    return figure


class _View:
    """p_t of a model in the variable that is drawn: x, or x / n."""

    def __init__(self, denoiser: Denoiser, shape: tuple[int, ...], scaled: bool, cond: Given, seed: int):
        self.denoiser, self.shape, self.scaled, self.cond, self.seed = denoiser, shape, scaled, cond, seed

    def unit(self, t: float) -> float:
        return self.denoiser.sde.at(t).n if self.scaled else 1.0

    def draws(self, t: float) -> torch.Tensor:
        return values.draws(self.denoiser, self.shape, 500, t, self.seed, self.cond).flatten(1).double() / self.unit(t)

    def limits(self, t: float) -> canvas.Limits:
        return canvas.reach(self.draws(t))

    def log_density(self, t: float, limits: canvas.Limits, points: int) -> torch.Tensor:
        """log p_t on the grid (points^D,)."""
        _, x = values.grid(limits, points)
        unit = torch.tensor(self.unit(t), dtype=torch.float64)
        log_p = values.log_density(self.denoiser, (unit * x).reshape(-1, *self.shape), t, self.cond)
        return log_p + x.shape[1] * unit.log()

    def densities(self, times: list[float], limits: canvas.Limits, points: int) -> torch.Tensor:
        """p_t of a number at the increasing times: (T, points)."""
        if hasattr(self.denoiser, "log_prob"):
            return torch.stack([self.log_density(t, limits, points).exp() for t in times])
        x, sde = values.grid(limits, points)[1][:, 0], self.denoiser.sde
        down = times[::-1] if times[-1] == sde.t_max else [sde.t_max, *times[::-1]]
        found = values.carried(scored(self.denoiser), self.shape, down, x, list(map(self.unit, down)), self.cond)
        return found.flip(0)[: len(times)]


def _image(axis: Any, view: _View, times: list[float], points: int) -> Any:
    """p_t(x) of a number, a column for each of the increasing times."""
    from matplotlib.colors import PowerNorm

    limits = canvas.joint(*(view.limits(t) for t in (times[0], times[len(times) // 2], times[-1])))
    p = view.densities(times, limits, points)
    places = values.grid(limits, points)[0][0].numpy()
    options = {"cmap": canvas.DENSITY, "shading": "gouraud", "norm": PowerNorm(0.5, 0.0, float(p.max()))}
    return axis.pcolormesh(times, places, p.T.numpy(), rasterized=True, **options)
