"""Pictures of data of any shape, as `kinds.kind_of` says: images by pixels, points, tables and series as plots.

Nothing is drawn, without an error, where the package that a picture needs is missing: the command has said so.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..data import Data, stack
from . import plots
from .kinds import Kind, finite, kind_of, literal, words
from .pixels import as_bytes, save_png, sheet
from .plots import figure
from .ways import SIDE

WIDE = 4096  # pixels of a sheet of images
LABELLED = 40  # columns of a table that have their own labels beside each other


def names_of(data: Data) -> Sequence[str] | None:
    """The names of the columns of data that is a table, where it knows them."""
    names = getattr(data, "columns", None)
    return names if names is not None and tuple(data.shape) == (len(names),) else None


def some_real(data: Data, most: int = 4000) -> Tensor | None:
    """Some of the test data, as a file of samples would have it, to draw beside others; none where that is images.

    `most` items at the most, 4 of series.
    """
    kind = kind_of(data.shape)
    if kind.is_image:
        return None
    few = range(min(4 if kind.name == "series" else most, len(data.test)))
    return data.decode(data.encode(stack(data.test, few)))


def samples(
    path: Path,
    raw: Tensor,
    levels: int | None,
    real: Tensor | None = None,
    columns: int | None = None,
    names: Sequence[str] | None = None,
    groups: tuple[Sequence[str], Sequence[Tensor]] | None = None,
) -> None:
    """Draws what samples look like, over real data where that is given.

    A sheet of the first 256 images; the density of numbers; points; the first columns of a table, each and in pairs;
    the first series.

    Arguments:
        path: of the PNG.
        raw: the samples (N, *shape), in the data's own values.
        levels: their number, None: continuous.
        real: some real data (M, *shape).
        columns: images in a row.
        names: those of a table's columns.
        groups: rows of images: what each is called, and the places of its samples.

    Raises:
        FloatingPointError: no sample is finite.
    """
    kind = kind_of(raw.shape[1:])
    if not kind.drawable():
        return
    if kind.is_image and groups is not None:
        _grouped(path, raw, levels, *groups)
        return
    raw, left = finite(raw)
    note = words(kind.note, left)
    if kind.is_image:
        some = raw[:256]
        width = columns or int(np.ceil(np.sqrt(len(some))))
        images = as_bytes(some, levels, WIDE // width)
        first = f"the first {len(some)} of {len(raw)}" if len(some) < len(raw) else ""
        rows = [images[i : i + width] for i in range(0, len(images), width)]
        save_png(path, sheet(rows, words(first, note)))
        return
    x, real = (None if v is None else kind.view(v).cpu() for v in (raw, real))
    if kind.name == "series":
        some = x[: 4 * plots.bands(kind)]
        groups = [([f"sample {i + 1}" for i in range(len(some))], some, {})]
        groups += [] if real is None else [(["data"] * 4, real[:4], {"color": "0.5"})]
        _series(path, kind, groups, note, names)
    elif kind.name == "table":
        figure(path, kind.shown, lambda axes: plots.corner(axes, kind, x, real, names), 1.9, kind.shown, title=note)
    else:
        figure(path, 1, lambda axes: _points(axes[0, 0], kind, x, real, names), 5.0, title=note)


def _grouped(path: Path, raw: Tensor, levels: int | None, called: Sequence[str], places: Sequence[Tensor]) -> None:
    """A row of up to 10 images for each of up to 32 groups."""
    shown = [(literal(name), place[:10]) for name, place in zip(called, places, strict=True)][:32]
    rows = [as_bytes(raw[place], levels, WIDE // 10) for _, place in shown]
    more = f"{len(called)} groups, the first {len(shown)}" if len(called) > len(shown) else ""
    save_png(path, sheet(rows, more, over=[name for name, _ in shown]))


def _points(axis, kind: Kind, x: Tensor, real: Tensor | None, names) -> None:
    """Numbers, or points of the plane; these to one scale where their columns are alike."""
    plots.panel(axis, kind, 0, x, real, names)
    if real is not None:
        axis.legend(loc="upper right", fontsize=7)
    if kind.name == "plane" and plots.alike(x if real is None else torch.cat([x, real.to(x)])):
        axis.set_aspect("equal")


def _series(path: Path, kind: Kind, groups: list[tuple[list[str], Tensor, dict]], title: str, names=None) -> None:
    """Groups (titles, x (N, C, L), style) of series, in bands of up to four with a row for each channel; each channel
    to one scale."""
    columns, rows = min(4, max(len(x) for _, x, _ in groups)), kind.shown
    heights = [rows * -(-len(x) // columns) for _, x, _ in groups]

    def draw(axes) -> None:
        start = 0
        for (titles, x, style), height in zip(groups, heights, strict=True):
            plots.series(axes[start : start + height], kind, x, titles, names, **style)
            start += height
        for k in range(rows):
            plots.one_scale([axis for axis in axes[k::rows].flat if axis.get_visible()])

    figure(path, columns, draw, 2.6, sum(heights), 1.3, title)


def extremes(
    path: Path,
    most: Tensor,
    least: Tensor,
    levels: int | None,
    values: Sequence[Tensor] | None = None,
    units: str = "",
    names: Sequence[str] | None = None,
    real: Tensor | None = None,
) -> None:
    """Draws the most and the least likely examples, each in order.

    Images and series in two lines; numbers and points over the real data; tables by parallel coordinates, in the
    deviations of real data (of these examples, without it).

    Arguments:
        path: of the PNG.
        most, least: the examples (N, *shape), in the data's own values.
        levels: their number, None: continuous.
        values: the figures (N,) of each of the two.
        units: the word of the values.
        names: those of a table's columns.
        real: some real data (M, *shape).

    Raises:
        FloatingPointError: images with values that are not finite.
    """
    kind = kind_of(most.shape[1:])
    if not kind.drawable():
        return
    titles = ("most likely", "least likely")
    said = [[f"{v:.3f}" for v in column.tolist()] for column in values or ()]
    if kind.is_image:
        y = as_bytes(torch.cat([most, least]), levels, SIDE)
        over = [words(title, units if said else "") for title in titles]
        save_png(path, sheet([y[: len(most)], y[len(most) :]], kind.note, over=over, under=said))
        return
    both, real = [kind.view(x).cpu() for x in (most, least)], None if real is None else kind.view(real).cpu()
    ranges = [f"{t}: {v[0]} to {v[-1]} {units}" for t, v in zip(titles, said, strict=True)] if said else titles
    if kind.name == "series":
        heads = [[f"{t}: {v} {units}" for v in vs] for t, vs in zip(titles, said, strict=True)]
        heads = heads or [[title] * len(most) for title in titles]
        _series(path, kind, [(head, x[:4], {}) for head, x in zip(heads, both, strict=True)], kind.note, names)
    elif kind.name == "table":
        draw = lambda axes: _parallel(axes[:, 0], kind, both, real, ranges, names)
        figure(path, 1, draw, min(max(5.0, 0.3 * kind.parts), 12.0), 2, 2.6)
    else:
        figure(path, 1, lambda axes: _marked(axes[0, 0], kind, both, real, ranges, names), 5.0)


def _parallel(axes, kind: Kind, both: list[Tensor], real: Tensor | None, titles: Sequence[str], names) -> None:
    """A line for each example through all columns, each in deviations from its mean."""
    known = torch.cat(both) if real is None else real
    mean, std = known.double().mean(0), known.double().std(0, correction=0)
    std[std <= 1e-9 * mean.abs()] = math.inf  # a constant column is where its mean is
    labels = kind.labels(names)
    for axis, x, title, colour in zip(axes, both, titles, ("C0", "C3"), strict=True):
        for i, y in enumerate((x.double() - mean) / std):
            style = {"linewidth": 1, "marker": "." if kind.parts <= LABELLED else None}
            plots.line(axis, y, 1, color=colour, alpha=1 - 0.8 * i / len(x), **style)
        axis.set_title(title, fontsize=9)
        axis.set_ylabel("deviations from the mean", fontsize=8)
        axis.tick_params(labelsize=7)
    plots.one_scale(axes)
    for axis in axes:
        axis.axhline(0, color="0.6", linewidth=0.6)
        if kind.parts <= LABELLED:
            axis.set_xticks(range(1, kind.parts + 1), labels if axis is axes[1] else [], rotation=60, ha="right")
        else:
            axis.set_xlabel("column" if axis is axes[1] else "", fontsize=8)


def _marked(axis, kind: Kind, both: list[Tensor], real: Tensor | None, titles: Sequence[str], names) -> None:
    """Numbers, on the density of real ones, or points of the plane, over real ones."""
    if kind.name == "number":
        if real is not None:
            plots.histogram(axis, real[:, 0], color="0.6", label="data")
        places = [(x[:, 0], torch.zeros(len(x))) for x in both]
    else:
        if real is not None:
            plots.scatter(axis, real, c="0.8", s=9, label="data")
        places = [x.T for x in both]
    for place, marker, colour, title in zip(places, "ox", ("C0", "C3"), titles, strict=True):
        axis.plot(*place, marker, color=colour, fillstyle="none", label=title)
    labels = kind.labels(names)
    axis.set(xlabel=labels[0], ylabel="density" if kind.name == "number" else labels[1])
    axis.legend(fontsize=7)
    if kind.name == "plane" and plots.alike(torch.cat(both if real is None else [*both, real])):
        axis.set_aspect("equal")
