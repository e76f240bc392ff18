"""Plots of vectors and series by matplotlib: a figure as a file, and panels that show a batch."""

import contextlib
import io
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from ..machine import files
from .kinds import MOST, Kind

POINTS = 4000  # of a scatter
LINE_POINTS = 2000  # of a line
SIDES = {"number": "x", "series": "y"}  # of a panel that show values; both, of points


def figure(
    path: Path,
    columns: int,
    draw: Callable,
    size: float = 3.2,
    rows: int = 1,
    height: float | None = None,
    title: str = "",
) -> None:
    """Lets `draw` fill the axes of a figure, and writes them as PNG.

    Nothing where matplotlib is missing: the command has said so.  Numbers stand at the ticks as they are, without
    offsets.

    Arguments:
        path: of the PNG.
        columns, rows: how many axes there are.
        draw: draw(axes), axes (rows, columns) of matplotlib.
        size: the width of each, in inches.
        height: likewise; None: the width.
        title: above all.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        return
    made = Figure((max(size * columns, 0.07 * len(title)), (height or size) * rows), layout="constrained")
    FigureCanvasAgg(made)
    if title:
        made.suptitle(title, fontsize=9)
    draw(made.subplots(rows, columns, squeeze=False))
    plain_ticks(made, size)
    buffer = io.BytesIO()
    with any_letters():
        made.savefig(buffer, format="png", dpi=110)
    files.write(path, lambda file: file.write(buffer.getvalue()))


@contextlib.contextmanager
def any_letters() -> Iterator[None]:
    """Without a warning of names in letters that the font lacks: they are boxes in the picture."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph", UserWarning)
        yield


def plain_ticks(made, width: float) -> None:
    """Has every axis of a figure write plain numbers, a linear one by `tick_labels`; few where they are long for panels
    of so many inches."""
    from matplotlib.ticker import LogFormatter, ScalarFormatter

    for axes in made.axes:
        for axis in (axes.xaxis, axes.yaxis):
            for known in (axis.get_major_formatter(), axis.get_minor_formatter()):
                if isinstance(known, LogFormatter):
                    known.format_ticks = _powers(known.format_ticks)
            if type(axis.get_major_formatter()) is ScalarFormatter:
                axis.get_major_formatter().format_ticks = tick_labels
                long = max(map(len, tick_labels(axis.get_majorticklocs())), default=0)
                if axis is axes.xaxis and long > 6:
                    axis.get_major_locator().set_params(nbins=max(1, int(8 * width / long)))
                    axis.set_tick_params(rotation=30 if long > 4 * width else 0)


def _powers(chosen: Callable) -> Callable:
    """Plain numbers at the ticks of a logarithmic axis that are `chosen` to have any."""
    return lambda ticks: [f"{t:g}" if label else "" for t, label in zip(ticks, chosen(ticks), strict=True)]


def tick_labels(ticks: Sequence[float]) -> list[str]:
    """Numbers with the digits that tell neighbours apart, in plain or in scientific notation, whichever is shorter."""
    big = max(map(abs, ticks), default=0)
    ticks = [0.0 if abs(t) < 1e-9 * big else float(t) for t in ticks]
    if not big:
        return [f"{t:g}" for t in ticks]
    step = min(np.diff(sorted(set(ticks))), default=big)
    digits = -math.floor(math.log10(step) + 1e-6)
    digits += abs(step * 10.0**digits - round(step * 10.0**digits)) > 1e-3  # a step of 2.5 needs one more
    plain = [f"{t:.{max(digits, 0)}f}" for t in ticks]
    power = max(math.floor(math.log10(big)) + digits, 0)
    short = [_scientific(t, power) for t in ticks]
    return plain if max(map(len, plain)) <= max(6, *map(len, short)) else short


def _scientific(value: float, digits: int) -> str:
    """1.5e-7, and 0 for nothing."""
    number, _, power = f"{value:.{digits}e}".partition("e")
    return f"{number.rstrip('0').rstrip('.') if '.' in number else number}e{int(power)}" if value else "0"


def panels(kind: Kind) -> int:
    """How many panels show a batch: one for each channel of a series, or pair of a table's first columns."""
    return kind.shown if kind.name == "series" else max(1, len(pairs(kind)))


def pairs(kind: Kind) -> list[tuple[int, int]]:
    """The columns of a plane or a table that are drawn against each other; none of a number or a series."""
    if kind.name not in ("plane", "table"):
        return []
    last = kind.shown - 1  # of an odd number of columns it is drawn against one that was there before
    return [(min(i, last - 1), min(i, last - 1) + 1) for i in range(0, kind.shown, 2)]


def panel(axis, kind: Kind, k: int, x: Tensor, real: Tensor | None = None, names=None, **style) -> None:
    """Draws panel number k of a batch x (N, parts, *area), over real data where that is given."""
    labels = kind.labels(names)
    if kind.name == "series":
        line(axis, x[0, k], color=f"C{k}", **style)
        axis.set_ylabel(labels[k], fontsize=8)
    elif kind.name == "number":
        histogram(axis, x[:, 0], None if real is None else real[:, 0])
        axis.set_xlabel(labels[0], fontsize=8)
        axis.set_yticks([])
    else:
        i, j = pairs(kind)[k]
        scatter(axis, x[:, [i, j]], None if real is None else real[:, [i, j]])
        axis.set_xlabel(labels[i], fontsize=8)
        axis.set_ylabel(labels[j], fontsize=8)


def line(axis, y: Tensor, first: int = 0, **style) -> None:
    """One line, from the place `first` on; of a very long one the least and the largest value of each part."""
    y, at = y.double().cpu().numpy(), np.arange(first, first + len(y))
    k = -(-len(y) // (LINE_POINTS // 2))
    if k > 2:
        at = np.repeat(at[::k], 2)
        whole = np.pad(y, (0, len(at) // 2 * k - len(y)), mode="edge").reshape(-1, k)
        y = np.stack([whole.min(1), whole.max(1)], 1).flatten()
    axis.plot(at, y, **{"linewidth": 0.8} | style)


def histogram(axis, x: Tensor, real: Tensor | None = None, **style) -> None:
    """Numbers (N,) as a density, over that of real ones."""
    both = [v.double().cpu().numpy() for v in (x, real) if v is not None]
    edges = np.histogram_bin_edges(np.concatenate(both), 40 if min(map(len, both)) > 200 else 20)
    if real is not None:
        axis.hist(both[1], edges, density=True, color="0.8", label="data")
    axis.hist(both[0], edges, density=True, **{"histtype": "step", "color": "C0", "label": "samples"} | style)


def scatter(axis, x: Tensor, real: Tensor | None = None, **style) -> None:
    """Points (N, 2), over those of real data."""
    if real is not None:
        axis.scatter(*real[:POINTS].T.cpu().numpy(), s=12, c="0.85", linewidths=0, label="data")
    few = {"s": 3 if len(x) > 100 else 9 if len(x) > 10 else 25}
    axis.scatter(*x[:POINTS].T.cpu().numpy(), **{"linewidths": 0, "alpha": 0.7, "label": "samples"} | few | style)


def alike(x: Tensor) -> bool:
    """Whether the columns of x (N, 2) have ranges of one size, so that they are drawn to one scale."""
    low, high = x.double().aminmax(dim=0)
    width = high - low
    return bool(width.max() < 4 * width.min())


def corner(axes, kind: Kind, x: Tensor, real: Tensor | None, names=None) -> None:
    """The first columns of a table: each alone on the diagonal, each pair below it."""
    labels = kind.labels(names)
    for i in range(kind.shown):
        for j in range(kind.shown):
            axis = axes[i, j]
            axis.set_visible(j <= i)
            if i == j:
                histogram(axis, x[:, i], None if real is None else real[:, i])
                axis.set_yticks([])
            elif j < i:
                scatter(axis, x[:, [j, i]], None if real is None else real[:, [j, i]])
            axis.tick_params(labelsize=7, labelbottom=i == kind.shown - 1, labelleft=j == 0 < i)
            axis.locator_params(nbins=4)
            axis.set_xlabel(labels[j] if i == kind.shown - 1 else "", fontsize=8)
            axis.set_ylabel(labels[i] if j == 0 < i else "", fontsize=8)
    for j in range(kind.shown):
        for axis in axes[j + 1 :, j]:
            axis.sharex(axes[j, j])
    if real is not None:
        axes[0, 0].legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.05, 1)).set_in_layout(False)


def limits(kind: Kind, k: int, x: Tensor) -> dict[str, tuple[float, float]]:
    """The ends of panel number k that show a batch x (N, parts, *area): 3.5 deviations on both sides of its mean."""
    parts = pairs(kind)[k] if pairs(kind) else [k]
    ends = {}
    for side, part in zip(SIDES.get(kind.name, "xy"), parts, strict=True):
        values = x[:, part].double()
        mean, far = float(values.mean()), float(3.5 * values.std(correction=0)) or 0.5
        ends[f"{side}lim"] = (mean - far, mean + far)
    return ends


def one_scale(axes, side: str = "y", apart: float | None = None) -> None:
    """The same values from end to end (of x or y) in all of some panels; each its own where one has more than `apart`
    times the width of another."""
    ends = [tuple(getattr(axis.dataLim, f"interval{side}")) for axis in axes]
    widths = [high - low for low, high in ends]
    if apart is None or max(widths) <= apart * min(widths):
        ends = [(min(low for low, _ in ends), max(high for _, high in ends))] * len(ends)
    for axis, (low, high) in zip(axes, ends, strict=True):
        margin = 0.05 * (high - low) or 0.5
        getattr(axis, f"set_{side}lim")(low - margin, high + margin)


def bands(kind: Kind) -> int:
    """How many bands of four series stand above each other: few where each takes a row for every channel."""
    return max(1, MOST // kind.shown)


def series(axes, kind: Kind, x: Tensor, titles: Sequence[str] = (), names=None, **style) -> None:
    """Series x (N, C, L) side by side, a row for each channel, and further ones in bands below; each channel to one
    scale.  Fills axes (bands * channels, columns)."""
    rows, labels = kind.shown, kind.labels(names)
    for axis in axes.flat:
        axis.set_visible(False)
    for n in range(min(len(x), axes.size // rows)):
        band, column = divmod(n, axes.shape[1])
        for k in range(rows):
            axis = axes[band * rows + k, column]
            axis.set_visible(True)
            line(axis, x[n, k], **{"color": f"C{k}"} | style)
            axis.tick_params(labelsize=7, labelleft=column == 0, labelbottom=k == rows - 1)
            axis.set_ylabel(labels[k] if column == 0 else "", fontsize=8)
            if k == 0 and n < len(titles):
                axis.set_title(titles[n], fontsize=8)
