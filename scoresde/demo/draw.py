"""Pictures in memory, (H, W, 3) bytes: those of `scoresde.pictures`, and where a figure lies among others."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .. import pictures
from ..errors import InputError, package
from ..pictures import plots
from ..pictures.kinds import Kind
from .scores import Held
from .subject import Subject
from .ways import Frame, shown

ROWS = 4  # images of a strip
SMALL = 560  # pixels that a sheet of images is enlarged to, at most


def made(draw: Callable[[Path], None]) -> np.ndarray:
    """The picture that `draw(path)` writes.  Raises `InputError` where the package that draws it is missing."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture.png"
        draw(path)
        if not path.exists():
            raise InputError(f"pictures need {package('PIL')}, and plots matplotlib: pip install pillow matplotlib")
        from PIL import Image

        with Image.open(path) as picture:
            return np.asarray(picture.convert("RGB"))


def sheet(subject: Subject, raw: Tensor, small: int = SMALL) -> np.ndarray:
    """Samples (n, *shape): a sheet of images, enlarged to at most `small` pixels, points over real ones, or series."""
    real = None if len(raw) == 1 else subject.real
    picture = made(lambda path: pictures.samples(path, raw, subject.levels, real, names=subject.names))
    factor = max(1, small // picture.shape[1]) if subject.kind.is_image else 1
    return picture.repeat(factor, 0).repeat(factor, 1)


def item(subject: Subject, raw: Tensor) -> np.ndarray:
    """One item (1, *shape): an image or a series as it is, numbers among held-out ones."""
    if subject.kind.is_image or subject.kind.name == "series" or subject.real is None:
        return sheet(subject, raw, SMALL // 2)
    kind, names = subject.kind, subject.names
    x, real = (kind.view(v).double().cpu() for v in (raw, subject.real))

    def draw(axes) -> None:
        axis = axes[0, 0]
        if kind.name == "table":
            std = real.std(0, correction=0).clamp_min(1e-12)
            plots.line(axis, ((x - real.mean(0)) / std)[0], 1, color="C3", marker=".")
            axis.set_ylabel("deviations from the data's mean")
            _columns(axis, kind, names)
            axis.axhline(0, color="0.6", linewidth=0.6)
            return
        plots.panel(axis, kind, 0, real, names=names, color="0.75")
        if kind.name == "number":
            axis.axvline(float(x[0, 0]), color="C3", linewidth=2)
        else:
            axis.plot(*x[0], "o", color="C3", markersize=8)

    return made(lambda path: plots.figure(path, 1, draw, 5.2, height=3.0))


def _columns(axis, kind: Kind, names) -> None:
    """The names of a table's columns below its lines, as far as there is room."""
    if kind.parts <= 20:
        axis.set_xticks(range(1, kind.parts + 1), kind.labels(names), rotation=30 if kind.parts > 5 else 0)
    else:
        axis.set_xlabel("column")


def strip(subject: Subject, frames: list[Frame]) -> np.ndarray:
    """The way from noise to the samples, left to right: x_t and below it D(x_t, t)."""
    few = shown(subject.kind, frames)
    n = ROWS if subject.kind.is_image else len(few[0].x)
    times, x, x0 = [f.t for f in few], [f.x[:n] for f in few], [f.x0[:n] for f in few]
    decode = subject.model.decode
    if subject.latent:  # they are shown as what the autoencoder makes of them
        x, x0 = ([decode(part) for part in parts] for parts in (x, x0))
    shown_by = (lambda raw: raw) if subject.latent else decode
    return made(lambda path: pictures.trajectory(path, times, x, x0, shown_by, subject.levels, subject.names))


def walk(subject: Subject, raw: Tensor, ends: Tensor | None) -> np.ndarray:
    """A walk (points, *shape), between two items of the data (2, *shape) where these are its `ends`."""
    if ends is None:
        return _steps(subject, raw)
    extra = {"real": subject.real, "names": subject.names}
    return made(lambda path: pictures.walks(path, ends[:1], raw[None], ends[1:], subject.levels, **extra))


def _steps(subject: Subject, raw: Tensor) -> np.ndarray:
    """The points of a walk: images in a row, others over each other, from blue to red."""
    kind, names = subject.kind, subject.names
    if kind.is_image:
        return made(lambda path: pictures.samples(path, raw, subject.levels, columns=len(raw), names=names))
    x, real = kind.view(raw).double().cpu(), subject.real
    colours = [(w, 0.2, 1 - w) for w in np.linspace(0, 1, len(x))]

    def draw(axes) -> None:
        axis = axes[0, 0]
        if kind.name == "plane":
            plots.panel(axis, kind, 0, x if real is None else kind.view(real).cpu(), names=names, color="0.85")
            axis.scatter(*x.T.numpy(), c=colours, s=30)
            return
        lines = x[:, 0] if kind.name == "series" else x
        for colour, y in zip(colours, lines, strict=True):
            plots.line(axis, y, 0 if kind.name == "series" else 1, color=colour, marker="." if y.numel() < 40 else None)
        if kind.name != "series":
            _columns(axis, kind, names)

    return made(lambda path: plots.figure(path, 1, draw, 5.2, height=3.4))


def histogram(held: Held, value: float) -> np.ndarray:
    """Where a value lies among those of held-out items."""

    def draw(axes) -> None:
        axis, known = axes[0, 0], held.values
        whole = torch.cat([known, torch.tensor([value]).double()]).numpy() if np.isfinite(value) else known.numpy()
        edges = np.histogram_bin_edges(whole, 40 if len(known) > 200 else 20)
        axis.hist(known.numpy(), edges, color="0.75", label=f"held-out data ({len(known)})")
        if np.isfinite(value):
            axis.axvline(value, color="C3", linewidth=2, label=f"this item: {value:.3f}")
        side = "less likely further right" if held.units == "bits/dim" else "more likely further right"
        axis.set(xlabel=f"{held.units} ({side})", ylabel="items")
        axis.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, 1.16), ncols=2, frameon=False)

    return made(lambda path: plots.figure(path, 1, draw, 5.2, height=3.0))
