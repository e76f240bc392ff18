"""The way of a few samples from noise to data."""

import math

import numpy as np
import torch

from ...pictures import as_bytes
from ...pictures.kinds import kind_of
from ..drawn.charts import label, scatter
from ..drawn.markup import Html, absent, figure, image, section, tag
from ..reading import Held, arrays_of, picture_of
from .overview import command_of, line
from .shown import SIDE, pixels, plotted, png, sheet

STEPS = 6  # of a strip
ITEMS = 4  # in a strip


def way(held: Held) -> Html:
    """A few samples from noise to data: a strip whose noise levels are named, and the animation."""
    found = [r for r in held.of("sample") if (r.path / "trajectory.npz").exists()]
    name = "From noise to data"
    if not found:
        return section("way", name, absent("No way is kept here:", line(held, "sample")))
    result, parts = found[0], []
    arrays = arrays_of(result.path / "trajectory.npz")
    times, x, x0 = (arrays.get(k) for k in ("times", "x", "x0"))
    if times is None or x is None or x0 is None or not len(times) == len(x) == len(x0) or x.shape != x0.shape:
        parts.append(absent(f"{result.path.name}/trajectory.npz cannot be read."))
    else:
        kind, shown = kind_of(x.shape[2:]), _steps(held, times)
        if kind.is_image and kind.drawable():
            parts.append(_strip(held, times, x, x0, shown))
        elif kind.name == "plane":
            parts.append(_clouds(held, times, x, x0, shown))
        else:
            drawn = sorted({round(i) for i in np.linspace(0, len(times) - 1, 10)})
            heads = ", ".join(_level(held, float(times[i])) for i in drawn)
            words = f"From left to right: {heads}."
            strip = plotted(result, "trajectory.png", "from noise to data")
            parts.append(figure(tag("div", strip, class_="wide long"), words))
    gif = picture_of(result.path / "trajectory.gif")
    if gif is not None:
        moving = image(gif, "gif", "the way from noise to data, moving", "paper moving")
        parts.append(figure(moving, "The same, moving: x_t beside or above E[x_0 | x_t].", "screen"))
    else:
        parts.append(absent("No animation is here (gif=false, or without pillow):", line(held, "sample", "gif=true")))
    return section("way", name, *parts, command_of(result))


def _steps(held: Held, times: np.ndarray) -> list[int]:
    """Which of the kept times are shown: the first, the last, and evenly between by the angle atan(sigma / alpha)."""
    n, at = len(times), np.linspace(0, 1, len(times))
    if held.sde is not None:
        with_angle = [float(held.sde.angle(float(t))) for t in times]
        if all(map(math.isfinite, with_angle)) and with_angle[0] > with_angle[-1]:
            at = (with_angle[0] - np.array(with_angle)) / (with_angle[0] - with_angle[-1])
    return sorted({int(np.abs(at - goal).argmin()) for goal in np.linspace(0, 1, min(STEPS, n))} | {0, n - 1})


def _level(held: Held, t: float) -> str:
    """The noise level at a time, in words."""
    if held.sde is None:
        return f"t {t:.3g}"
    level = math.exp(-float(held.sde.log_snr(t)) / 2) if t > 0 else 0.0
    return f"sigma/alpha {label(float(f'{level:.2g}'))}"


def _strip(held: Held, times, x, x0, shown: list[int]) -> Html:
    space, cells = held.space, []
    for i in shown:
        noisy, clean = (torch.from_numpy(np.ascontiguousarray(a[i][:ITEMS])) for a in (x, x0))
        decoded = clean if space is None else space.decode(clean)
        pair = as_bytes(noisy, None, SIDE), as_bytes(decoded, None if space is None else held.levels, SIDE)
        rows = [np.stack([a, b]) for a, b in zip(*pair, strict=True)]
        cells.append(
            figure(
                image(png(sheet(rows)), "png", _level(held, float(times[i])), pixels(pair[0])),
                _level(held, float(times[i])),
            )
        )
    words = "At each noise level: left x_t, scaled to its own range, right E[x_0 | x_t]."
    return tag("div", tag("div", *cells, class_="strip"), tag("p", words, class_="note"))


def _clouds(held: Held, times, x, x0, shown: list[int]) -> Html:
    cells, last = [], float(np.nanpercentile(np.abs(x0[-1]), 99.5)) * 1.3 or 1.0
    for i in shown:
        reach = max(last, float(np.nanpercentile(np.abs(x[i]), 99)) * 1.1)
        both = tag("div", scatter(x[i], reach, 0), scatter(x0[i], last, 1), class_="two")
        cells.append(figure(both, _level(held, float(times[i]))))
    words = "At each noise level: left (blue) x_t, in a frame as wide as it is; right (orange) E[x_0 | x_t]."
    return tag("div", tag("div", *cells, class_="strip"), tag("p", words, class_="note"))
