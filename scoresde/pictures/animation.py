"""A GIF of the way from noise to data, of data of any shape."""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from ..machine import files
from . import plots
from .kinds import Kind, kind_of, words
from .pixels import as_bytes, sheet

GIF_BYTES = 1_000_000
WIDTH = 640  # pixels of all images beside each other, at most


def animation(
    path: Path,
    times: list[float],
    states: Tensor,
    estimates: Tensor,
    decode,
    levels: int | None,
    names: Sequence[str] | None = None,
) -> None:
    """A GIF of x_t and D(x_t, t), both (T, B, *shape): images above each other, other data side by side; up to 1 MB.

    `names` are those of a table's columns.
    """
    kind = kind_of(states.shape[2:])
    if not kind.drawable():
        return
    if kind.is_image:
        side, frames = max(1, WIDTH // states.shape[1]), []
        for t, x, x0 in zip(times, states, estimates, strict=True):
            over = (words(f"x_t, t {t:.3g}", kind.note), "D(x_t, t)")
            frames.append(sheet([as_bytes(x, None, side), as_bytes(decode(x0), levels, side)], over=over))
    else:
        k = 1 + len(times) // 26  # a plot takes a twentieth of a second
        first = (len(times) - 1) % k
        frames = list(_plots(kind, times[first::k], states[first::k], estimates[first::k], names))
    data = _gif(frames)
    while len(data) > GIF_BYTES and len(frames) > 8:
        frames = frames[::-2][::-1]
        data = _gif(frames)
    files.write(path, lambda file: file.write(data))


def _gif(frames: list[np.ndarray], seconds: float = 4.0) -> bytes:
    """The frames (H, W, 3) over some seconds, the last of them held."""
    from PIL import Image

    grey = all((f == f[..., :1]).all() for f in frames)
    pictures = [Image.fromarray(f[..., 0]) if grey else Image.fromarray(f).quantize(128, dither=0) for f in frames]
    shown = [max(40, round(1000 * seconds / len(frames)))] * (len(frames) - 1) + [2000]
    buffer = io.BytesIO()
    pictures[0].save(buffer, "GIF", save_all=True, append_images=pictures[1:], duration=shown, loop=0)
    return buffer.getvalue()


def _plots(kind: Kind, times: list[float], states: Tensor, estimates: Tensor, names) -> Iterator[np.ndarray]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = plots.panels(kind)
    figure = Figure((5.2, 2.8 if rows == 1 else 1.8 * rows + 0.4), dpi=80, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots(rows, 2, squeeze=False)
    for t, x, x0 in zip(times, states, estimates, strict=True):
        # x_t by its own range, which shrinks from the noise's to the data's; D by the last one's.
        heads = (words(f"x_t, t = {t:.3g}", kind.note), "D(x_t, t)")
        for column, y, size, head in zip(axes.T, (x, x0), (x, estimates[-1]), heads, strict=True):
            for k, axis in enumerate(column):
                axis.clear()
                plots.panel(axis, kind, k, kind.view(y).cpu(), names=names)
                axis.set(**plots.limits(kind, k, kind.view(size).cpu()))
                axis.tick_params(labelsize=6)
                axis.locator_params(nbins=4)
                axis.yaxis.set_label_coords(-0.2, 0.5)  # where it is in the first frame
            column[0].set_title(head, fontsize=8)
        plots.plain_ticks(figure, 2.0)
        with plots.any_letters():
            canvas.draw()
        figure.set_layout_engine("none")  # laid out once: the frames stand still
        yield np.asarray(canvas.buffer_rgba())[..., :3].copy()
