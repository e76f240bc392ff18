"""Pictures of ways: from noise to data, between the latents of two examples, and from what is seen to samples."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from . import plots
from .kinds import Kind, kind_of, words
from .pixels import as_bytes, save_png, sheet, text, tile
from .plots import figure

SIDE = 256  # pixels of an image in a strip
WALKS = 6  # of series, that are drawn


def trajectory(
    path: Path,
    times: list[float],
    states: list[Tensor],
    estimates: list[Tensor],
    decode,
    levels: int | None,
    names: Sequence[str] | None = None,
    noise: Sequence[float] | None = None,
) -> None:
    """Draws x_t from noise to data, left to right, and the denoised estimates D(x_t, t).

    Of an image they are below each, a pair of rows a sample; else below all, the points of all samples, or the first
    series.

    Arguments:
        path: of the PNG.
        times: t of each state, decreasing.
        states, estimates: x_t and D(x_t, t) (B, *shape) at each, in the model's space.
        decode: from there to the data's own values.
        levels: their number, None: continuous.
        names: those of a table's columns.
        noise: sigma / alpha at each of the times, which is then said too.
    """
    kind = kind_of(states[0].shape[1:])
    if not kind.drawable():
        return
    heads = [f"t {t:.3g}" for t in times]
    said = "" if noise is None else "noise: sigma / alpha"
    if noise is not None:
        heads = [f"{head}\nnoise {float(f'{level:.2g}'):g}" for head, level in zip(heads, noise, strict=True)]
    if kind.is_image:
        # Noise is far outside the range of data: each x_t is shown scaled to its own range, D as data.
        noisy = [as_bytes(x, None, SIDE) for x in states]
        clean = [as_bytes(decode(x), levels, SIDE) for x in estimates]
        rows = []
        for i in range(len(states[0])):
            rows += [np.stack([n[i] for n in noisy]), np.stack([c[i] for c in clean])]
        save_png(path, sheet(rows, words("above x_t, below it D(x_t, t)", said, kind.note), heads))
        return
    count = plots.panels(kind)

    def draw(axes) -> None:
        for i, (name, batches) in enumerate((("x_t", states), ("D(x_t, t)", estimates))):
            for k in range(count):
                row = axes[i * count + k]
                for axis, x in zip(row, batches, strict=True):
                    plots.panel(axis, kind, k, kind.view(x).cpu(), names=names)
                    axis.tick_params(labelsize=6, labelbottom=kind.name != "series" or k == count - 1)
                    axis.locator_params(nbins=4)
                for side in plots.SIDES.get(kind.name, "xy"):  # the noise of VE is far wider than the data
                    plots.one_scale(row, side, 4.0)
                row[0].set_ylabel(f"{name}\n{row[0].get_ylabel()}".strip(), fontsize=8)
                for axis in row[1:]:
                    axis.set(xlabel="", ylabel="")
        for axis, head in zip(axes[0], heads, strict=True):
            axis.set_title(head, fontsize=8)

    note = words("sample 1" if kind.name == "series" else "", said, kind.note)
    figure(path, len(states), draw, 1.8, 2 * count, 1.3 if kind.name == "series" else None, note)


def walks(
    path: Path,
    first: Tensor,
    ways: Tensor,
    last: Tensor,
    levels: int | None,
    real: Tensor | None = None,
    names: Sequence[str] | None = None,
) -> None:
    """Draws walks between two examples: a row each, the real ends set apart, or a plot.

    Arguments:
        path: of the PNG.
        first, last: the ends (P, *shape), in the data's own values.
        ways: (P, M, *shape), from first to last.
        levels: their number, None: continuous.
        real: some real data (M, *shape), below points.
        names: those of a table's columns.
    """
    kind = kind_of(first.shape[1:])
    if not kind.drawable():
        return
    if kind.is_image:
        _image_walks(path, kind, first, ways, last, levels)
        return
    ends, middle = [kind.view(x).cpu() for x in (first, last)], kind.view(ways.flatten(0, 1)).cpu()
    middle = middle.unflatten(0, ways.shape[:2])
    if kind.name == "series":
        columns = min(len(ways), WALKS)
        draw = lambda axes: _series_walks(axes, kind, ends, middle, names)
        figure(
            path,
            columns,
            draw,
            2.6,
            kind.shown,
            1.6,
            words("from the first end (dark) to the last, the data dotted", kind.note),
        )
    else:
        real = None if real is None else kind.view(real).cpu()
        draw = lambda axes: _point_walks(axes[0], kind, ends, middle, real, names)
        count = plots.panels(kind)
        figure(path, count, draw, 5.0 if count == 1 else 4.0, title="from circles (data) to squares (data)")


def translations(
    path: Path,
    seen: Tensor,
    ways: Tensor,
    truth: Tensor | None,
    levels: int,
    most: int = 10,
    heads: Sequence[str] | None = None,
) -> None:
    """Draws pictures that were translated: a row each, what was seen, the samples of it and the truth.

    Arguments:
        path: of the PNG.
        seen: (N, *shape), in the data's own values.
        ways: the samples (N, K, *shape).
        truth: (N, *shape); None: it is not known.
        levels: their number.
        most: rows, and samples in a row.
        heads: over each of the K; None: their numbers.
    """
    if not kind_of(seen.shape[1:]).drawable():
        return
    columns = [("seen", seen)] + [
        (heads[k] if heads else f"{k + 1}", ways[:, k]) for k in range(min(ways.shape[1], most))
    ]
    columns += [] if truth is None else [("truth", truth)]
    drawn = [as_bytes(x[:most], levels, SIDE) for _, x in columns]
    save_png(path, sheet([np.stack(row) for row in zip(*drawn, strict=True)], heads=[name for name, _ in columns]))


def _image_walks(path: Path, kind: Kind, first: Tensor, ways: Tensor, last: Tensor, levels: int | None) -> None:
    # One scale for all, as continuous values are drawn by their own range.
    n, m = ways.shape[:2]
    y = as_bytes(torch.cat([first, ways.flatten(0, 1).to(first.dtype), last]), levels, SIDE)
    parts = [tile(list(y[:n, None])), tile([*y[n:-n].reshape(n, m, *y.shape[1:])]), tile(list(y[-n:, None]))]
    bar = np.full((len(parts[0]), 6, 3), 255, np.uint8)
    picture = np.concatenate([parts[0], bar, parts[1], bar, parts[2]], 1)
    places = (4, parts[0].shape[1] + 10, picture.shape[1] - parts[2].shape[1] + 4)
    said = ("data", words("decoded between", kind.note), "data")
    save_png(path, np.concatenate([text(picture.shape[1], zip(places, said, strict=True)), picture]))


def _series_walks(axes, kind: Kind, ends: list[Tensor], ways: Tensor, names) -> None:
    """A row for each channel, by colour from the first point of the walk to the last; the real ends dotted."""
    import matplotlib

    colours = matplotlib.colormaps["viridis"](np.linspace(0, 0.95, ways.shape[1]))
    labels = kind.labels(names)
    for k, row in enumerate(axes):
        for p, axis in enumerate(row):
            for colour, y in zip(colours, ways[p, :, k], strict=True):
                plots.line(axis, y, color=colour)
            for colour, end in zip((colours[0], colours[-1]), ends, strict=True):
                plots.line(axis, end[p, k], color=colour, linestyle=":", linewidth=1.5)
            axis.tick_params(labelsize=7, labelbottom=k == len(axes) - 1)
        row[0].set_ylabel(labels[k], fontsize=8)
    for axis, p in zip(axes[0], range(len(ways)), strict=False):
        axis.set_title(f"pair {p + 1}", fontsize=8)


def _point_walks(row, kind: Kind, ends: list[Tensor], ways: Tensor, real: Tensor | None, names) -> None:
    """Lines through pairs of columns, over real data; of a single one against the way gone."""
    labels, flat = kind.labels(names), kind.name == "number"
    for axis, (i, j) in zip(row, plots.pairs(kind) or [(0, 0)], strict=True):
        if real is not None and not flat:
            axis.scatter(*real[: plots.POINTS, [i, j]].T.numpy(), s=4, c="0.85", linewidths=0)
        for p, way in enumerate(ways):
            w = np.linspace(0, 1, len(way))
            (line,) = axis.plot(w if flat else way[:, i].numpy(), way[:, j].numpy(), marker=".", linewidth=0.8)
            for at, end, shape in zip((0, 1), ends, "os", strict=True):
                place = (at if flat else float(end[p, i]), float(end[p, j]))
                axis.plot(*place, shape, c=line.get_color(), markersize=7, fillstyle="none")
        axis.set_xlabel("the way gone" if flat else labels[i], fontsize=8)
        axis.set_ylabel(labels[j], fontsize=8)
        if kind.name == "plane" and plots.alike(
            torch.cat([ways.flatten(0, 1)[:, [i, j]], *(e[:, [i, j]] for e in ends)])
        ):
            axis.set_aspect("equal")
