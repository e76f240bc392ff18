"""A GIF of the way from noise to data, of data of any shape."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from torch import Tensor

from .. import files
from .pictures import as_bytes, is_image, panel, tile

GIF_BYTES = 1_000_000


def animation(path: Path, times: list[float], states: Tensor, estimates: Tensor, decode, levels: int | None) -> None:
    """A GIF of x_t and D(x_t, t), both (T, B, *shape): images above each other, other data side by side; up to 1 MB."""
    try:
        frames = _frames(times, states, estimates, decode, levels)
        data = _gif(frames)
    except ModuleNotFoundError:  # matplotlib or pillow; the command has said so
        return
    while len(data) > GIF_BYTES and len(frames) > 8:
        frames = frames[::-2][::-1]
        data = _gif(frames)
    files.write(path, lambda file: file.write(data))


def _frames(times: list[float], states: Tensor, estimates: Tensor, decode, levels: int | None) -> list[np.ndarray]:
    if is_image(tuple(states.shape[2:])):
        pairs = zip(states, estimates, strict=True)
        return [_shrunk(tile([as_bytes(x, None), as_bytes(decode(x0), levels)])) for x, x0 in pairs]
    k = 1 + len(times) // 26  # a plot takes a twentieth of a second
    first = (len(times) - 1) % k
    return list(_plots(times[first::k], states[first::k], estimates[first::k]))


def _gif(frames: list[np.ndarray], seconds: float = 4.0) -> bytes:
    """The frames (H, W, 3) over some seconds, the last of them held."""
    from PIL import Image

    grey = all((f == f[..., :1]).all() for f in frames)
    pictures = [Image.fromarray(f[..., 0]) if grey else Image.fromarray(f).quantize(128, dither=0) for f in frames]
    shown = [max(40, round(1000 * seconds / len(frames)))] * (len(frames) - 1) + [2000]
    buffer = io.BytesIO()
    pictures[0].save(buffer, "GIF", save_all=True, append_images=pictures[1:], duration=shown, loop=0)
    return buffer.getvalue()


def _shrunk(picture: np.ndarray, width: int = 640) -> np.ndarray:
    """Means over blocks, where a picture is wider than that."""
    k = -(-picture.shape[1] // width)
    h, w = (d // k * k for d in picture.shape[:2])
    return picture[:h, :w].reshape(h // k, k, w // k, k, 3).mean((1, 3)).round().astype(np.uint8)


def _plots(times: list[float], states: Tensor, estimates: Tensor) -> Iterator[np.ndarray]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((5.2, 2.8), dpi=80, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2)
    for t, x, x0 in zip(times, states, estimates, strict=True):
        # x_t by its own range, which shrinks from the noise's to the data's; D by the last one's.
        for axis, y, size, name in zip(
            axes, (x, x0), (x, estimates[-1]), (f"x_t, t = {t:.3g}", "D(x_t, t)"), strict=True
        ):
            axis.clear()
            panel(axis, y)
            far = float(3.5 * size.double().square().mean().sqrt().clamp_min(1e-12))
            if y.ndim == 3:
                axis.set_ylim(-far, far)
            elif y.shape[1] == 1:
                axis.set_xlim(-far, far)
            else:
                axis.set(xlim=(-far, far), ylim=(-far, far))
            axis.set_title(name, fontsize=8)
            axis.tick_params(labelsize=6)
        canvas.draw()
        figure.set_layout_engine("none")  # laid out once: the frames stand still
        yield np.asarray(canvas.buffer_rgba())[..., :3].copy()
