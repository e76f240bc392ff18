"""Pictures of data of any shape: grids of images, scatters of points, lines of series."""

import io
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .. import files
from .track import read_rows

TILE = 64  # pixels that a small image is enlarged to, by whole numbers


def as_bytes(raw: Tensor, levels: int | None) -> np.ndarray:
    """Raw images (N, C, H, W), or the middle slices of volumes (N, C, D, H, W), to (N, H, W, 3) bytes.

    Discrete values over their levels, others clamped to -3..3 standard deviations; of other than 3 channels the first.
    """
    if not bool(raw.isfinite().all()):
        raise FloatingPointError("an image with values that are not finite is not drawn")
    raw = raw[:, :, raw.shape[2] // 2] if raw.ndim == 5 else raw
    y = (raw if raw.shape[1] == 3 else raw[:, :1]).double()
    y = y / (levels - 1) if levels else (y - y.mean()) / (6 * y.std().clamp_min(1e-12)) + 0.5
    y = (y.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    return y if y.shape[-1] == 3 else np.repeat(y, 3, -1)


def is_image(shape: tuple[int, ...]) -> bool:
    """Whether data of this shape is drawn as images: (C, H, W), or (C, D, H, W) by its middle slices."""
    return len(shape) in (3, 4)


def tile(rows: list[np.ndarray]) -> np.ndarray:
    """Rows of images (n, H, W, 3) to one picture with gaps; small images are enlarged without blur."""
    factor = max(1, round(TILE / max(rows[0].shape[1:3])))
    gap = max(2, factor // 2)
    lines = []
    for row in rows:
        big = row.repeat(factor, 1).repeat(factor, 2)
        lines.append(np.concatenate([np.pad(i, ((gap, 0), (gap, 0), (0, 0)), constant_values=96) for i in big], 1))
    width = max(line.shape[1] for line in lines)
    lines = [np.pad(line, ((0, 0), (0, width - line.shape[1]), (0, 0)), constant_values=96) for line in lines]
    return np.pad(np.concatenate(lines), ((0, gap), (0, gap), (0, 0)), constant_values=96)


def save_png(path: Path, picture: np.ndarray) -> None:
    """Writes bytes (H, W, 3) as PNG."""
    try:
        from PIL import Image
    except ModuleNotFoundError:  # the command has said so
        return

    files.write(path, lambda file: Image.fromarray(picture).save(file, "PNG"))


def _figure(path: Path, columns: int, draw, size: float = 3.2, rows: int = 1) -> None:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError:  # the command has said so
        return

    figure = Figure((size * columns, size * rows), layout="constrained")
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # letters that its font lacks, say
        draw(figure.subplots(rows, columns, squeeze=False))
        figure.savefig(buffer, format="png", dpi=110)
    files.write(path, lambda file: file.write(buffer.getvalue()))


def _literal(name: str) -> str:
    """A name as it is, where matplotlib would read formulas between dollars."""
    return name.replace("$", r"\$")


def panel(axis, x: Tensor, real: Tensor | None = None) -> None:
    """Draws a batch that is no image: points in the plane, lines, or the first two coordinates."""
    x = x.detach().cpu()
    if x.ndim == 3:
        axis.plot(x[:8].flatten(1).T.numpy() if x.shape[1] > 1 else x[:8, 0].T.numpy(), linewidth=0.8)
        return
    if x.flatten(1).shape[1] == 1:
        axis.hist(x.flatten().numpy(), 60, density=True)
        return
    if real is not None:
        axis.scatter(*real.flatten(1)[:4000, :2].T.numpy(), s=12, c="0.85", linewidths=0, label="data")
        axis.legend(["data"], loc="upper right", fontsize=7)
    axis.scatter(*x.flatten(1)[:4000, :2].T.numpy(), s=3, linewidths=0)
    axis.set_aspect("equal")


def samples(
    path: Path, raw: Tensor, levels: int | None, real: Tensor | None = None, columns: int | None = None
) -> None:
    """A grid of the first 256 images or middle slices of volumes; else a plot, over real data where given."""
    raw = raw[:256].cpu() if raw.ndim > 2 else raw.cpu()
    if is_image(tuple(raw.shape[1:])):
        images = as_bytes(raw, levels)
        width = columns or int(np.ceil(np.sqrt(len(images))))
        save_png(path, tile([images[i : i + width] for i in range(0, len(images), width)]))
    else:
        _figure(path, 1, lambda axes: panel(axes[0, 0], raw, real), 5.0)


def trajectory(path: Path, times: list[float], states: list[Tensor], estimates: list[Tensor], decode, levels) -> None:
    """x_t from noise to data, left to right, and below each the denoised estimate D(x_t, t); one pair a sample."""
    shape = tuple(states[0].shape[1:])
    if is_image(shape):
        # Noise is far outside the range of data: each x_t is shown scaled to its own range, D as data.
        noisy = [as_bytes(x, None) for x in states]
        clean = [as_bytes(decode(x), levels) for x in estimates]
        rows = []
        for i in range(len(states[0])):
            rows += [np.stack([n[i] for n in noisy]), np.stack([c[i] for c in clean])]
        save_png(path, tile(rows))
        return

    def draw(axes) -> None:
        for j, (t, x, estimate) in enumerate(zip(times, states, estimates, strict=True)):
            panel(axes[0, j], x)
            panel(axes[1, j], estimate)
            axes[0, j].set_title(f"t = {t:.3g}", fontsize=8)
        for row in axes:
            far = max(abs(v) for axis in row for v in (*axis.get_xlim(), *axis.get_ylim()))
            for axis in row if states[0].ndim == 2 else ():
                axis.set(xlim=(-far, far), ylim=(-far, far))
        axes[0, 0].set_ylabel("x_t")
        axes[1, 0].set_ylabel("D(x_t, t)")

    _figure(path, len(states), draw, 1.8, 2)


def walks(
    path: Path, first: Tensor, ways: Tensor, last: Tensor, levels: int | None, real: Tensor | None = None
) -> None:
    """Raw walks (P, M, *shape) from `first` to `last` (P, *shape): a row each, the real ends set apart, or a plot."""
    if is_image(tuple(first.shape[1:])):
        # One scale for all, as continuous values are drawn by their own range.
        n, m = ways.shape[:2]
        y = as_bytes(torch.cat([first, ways.flatten(0, 1).to(first.dtype), last]), levels)
        left, middle, right = (
            tile(list(y[:n, None])),
            tile([*y[n:-n].reshape(n, m, *y.shape[1:])]),
            tile(list(y[-n:, None])),
        )
        bar = np.full((len(middle), 6, 3), 255, np.uint8)
        save_png(path, np.concatenate([left, bar, middle, bar, right], 1))
        return

    if ways.ndim > 3:
        _figure(path, min(len(ways), 6), lambda axes: _series_walks(axes[0], ways))
    else:
        _figure(path, 1, lambda axes: _point_walks(axes[0, 0], first, ways, last, real), 5.0)


def _series_walks(axes, ways: Tensor) -> None:
    """The first channel of each walk's series, by colour from the first to the last."""
    import matplotlib

    for axis, way in zip(axes, ways, strict=False):
        axis.set_prop_cycle(color=matplotlib.colormaps["viridis"](np.linspace(0, 1, len(way))))
        axis.plot(way[:, 0].T.numpy(), linewidth=0.8)


def _point_walks(axis, first: Tensor, ways: Tensor, last: Tensor, real: Tensor | None) -> None:
    """Lines through the plane of the first two coordinates, over real data; of a single one against the way gone."""
    flat = ways.shape[2] == 1
    if real is not None and not flat:
        axis.scatter(*real[:4000, :2].T.numpy(), s=4, c="0.85", linewidths=0)
    for a, way, b in zip(first, ways, last, strict=True):
        w = np.linspace(0, 1, len(way))
        (line,) = axis.plot(*((w, way[:, 0].numpy()) if flat else way[:, :2].T.numpy()), marker=".", linewidth=0.8)
        for (u, v), shape in zip(([0, a[0]], [1, b[0]]) if flat else (a[:2], b[:2]), "os", strict=True):
            axis.plot(float(u), float(v), shape, c=line.get_color(), markersize=7, fillstyle="none")
    axis.set_title("from circles (data) to squares (data)", fontsize=8)


def losses(path: Path, metrics: Path) -> None:
    """The loss in training and on fixed test data, and the latter's last values by noise level, from metrics.jsonl."""
    rows = read_rows(metrics)

    def draw(axes) -> None:
        for name, style in (
            ("loss", {"linewidth": 0.7, "alpha": 0.7}),
            ("validation", {"marker": "o", "markersize": 3}),
        ):
            points = [(r["step"], r[name]) for r in rows if isinstance(r.get(name), int | float)]
            if points:
                axes[0, 0].plot(*zip(*points, strict=True), label=name, **style)
        axes[0, 0].set(xlabel="step", ylabel="loss (mean over dimensions)", yscale="log")
        axes[0, 0].legend()
        by_level = [r["validation_by_level"] for r in rows if isinstance(r.get("validation_by_level"), list)]
        if by_level:
            axes[0, 1].bar(range(len(by_level[-1])), by_level[-1])
        axes[0, 1].set(xlabel="eighths of the training times, low noise to high", ylabel="validation loss")

    _figure(path, 2, draw, 4.5)


def front(path: Path, rows: dict[int, list[dict]]) -> None:
    """Error against evaluations: every sampler with its best grid at each budget, the best of all in black."""

    def draw(axes) -> None:
        axis = axes[0, 0]
        names = dict.fromkeys(r["sampler"] for trials in reversed(rows.values()) for r in trials)
        for i, name in enumerate(names):
            errors = {b: [r["error"] for r in trials if r["sampler"] == name] for b, trials in rows.items()}
            points = [(b, min(e)) for b, e in errors.items() if e and np.isfinite(min(e))]
            if points:
                style = {"marker": "osv^D"[i % 5], "color": f"C{i % 10}", "markersize": 4, "linewidth": 0.6}
                axis.plot(*zip(*points, strict=True), label=name, **style)
        least = [(b, trials[0]["error"]) for b, trials in sorted(rows.items())]
        axis.plot(*zip(*least, strict=True), color="black", linewidth=2, zorder=0, label="tuned")
        axis.set(xlabel="evaluations", ylabel="sqrt(rms x median) distance from the flow", xscale="log", yscale="log")
        axis.set_xticks(list(rows), [str(b) for b in rows])
        axis.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
        axis.legend(fontsize=6, loc="center left", bbox_to_anchor=(1, 0.5))

    _figure(path, 1, draw, 6.0)


def histogram(path: Path, values: dict[str, Tensor], units: str) -> None:
    """The figures of single examples, one histogram for each data set, with its mean."""

    def draw(axes) -> None:
        axis = axes[0, 0]
        edges = np.histogram_bin_edges(torch.cat([*values.values()]).numpy(), 50)
        for i, (name, v) in enumerate(values.items()):
            axis.hist(
                v.numpy(), edges, density=True, alpha=0.6, color=f"C{i}", label=f"{_literal(name)}: {v.mean():.3f}"
            )
            axis.axvline(float(v.mean()), color=f"C{i}")
        axis.set(xlabel=f"{units} of an example", ylabel="density")
        axis.legend(loc="upper right")

    _figure(path, 1, draw, 4.5)


def extremes(path: Path, most: Tensor, least: Tensor, levels: int | None) -> None:
    """The most likely examples above, the least likely below, each in order."""
    if is_image(tuple(most.shape[1:])):
        y = as_bytes(torch.cat([most, least]), levels)
        save_png(path, tile([y[: len(most)], y[len(most) :]]))
        return

    def draw(axes) -> None:
        for axis, x, title in zip(axes[0], (most, least), ("most likely", "least likely"), strict=True):
            panel(axis, x)
            axis.set_title(title, fontsize=8)

    _figure(path, 2, draw)


def intervals(path: Path, labels: list[str], figures: dict[str, list], floor: dict) -> None:
    """A panel for each figure, four in a line: a row for each label, its value with its confidence interval where there
    is one, over a grey band with that of real data."""
    columns = min(4, max(1, len(figures)))

    def draw(axes) -> None:
        for axis in axes.flat[len(figures) :]:
            axis.set_visible(False)
        for i, (axis, (name, values)) in enumerate(zip(axes.flat, figures.items(), strict=False)):
            if name in floor:
                axis.axvline(floor[name].value, color="0.6", linewidth=1)
                if floor[name].low is not None:
                    axis.axvspan(floor[name].low, floor[name].high, color="0.92")
            for y, figure in enumerate(values):
                if figure is not None:
                    axis.plot(figure.value, y, "o", color="C0", markersize=4)
                    if figure.low is not None:
                        axis.plot([figure.low, figure.high], [y, y], color="C0")
            axis.set(ylim=(len(labels) - 0.5, -0.5), yticks=range(len(labels)))
            axis.set_title(_literal(name), fontsize=10)
            axis.set_yticklabels([] if i % columns else [*map(_literal, labels)])
            axis.locator_params(axis="x", nbins=4)
            axis.grid(alpha=0.3)

    _figure(path, columns, draw, size=max(3.2, 0.22 * len(labels)), rows=-(-len(figures) // columns) or 1)
