"""What a page shows of items: samples, their way from noise, the likeliest and the least likely, classes, walks."""

import io
import math
from collections.abc import Sequence

import numpy as np
import torch

from ...pictures import as_bytes
from ...pictures.kinds import Kind, kind_of
from .. import again
from ..drawn.markup import Html, absent, figure, image, section, tag
from ..figures import number
from ..reading import Held, Result, arrays_of, part, picture_of
from .overview import command_of, line

SIDE = 256  # pixels of a picture of one item, at most


def png(array: np.ndarray) -> bytes:
    """Bytes (H, W, 4) as PNG.  Raises `ModuleNotFoundError` without pillow."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def sheet(rows: Sequence[np.ndarray], columns: int = 0) -> np.ndarray:
    """Rows of images (n, H, W, 3) with gaps that let the page through, (.., .., 4), at least `columns` wide."""
    height, width = rows[0].shape[1:3]
    gap = max(1, round(min(height, width) / 8))
    columns = max(columns, *map(len, rows))
    out = np.zeros((len(rows) * (height + gap) - gap, columns * (width + gap) - gap, 4), np.uint8)
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            y, x = i * (height + gap), j * (width + gap)
            out[y : y + height, x : x + width, :3], out[y : y + height, x : x + width, 3] = picture, 255
    return out


def _kind(held: Held) -> Kind | None:
    return kind_of(held.shape) if held.shape else None


def _raw(result: Result, held: Held, most: int = 256) -> torch.Tensor | None:
    """The first samples that are finite, in the data's own values."""
    found = arrays_of(result.path / "samples.npy").get("")
    if found is None or tuple(found.shape[1:]) != held.shape or not len(found):
        return None
    raw = torch.from_numpy(np.ascontiguousarray(found[:most]))
    return raw[raw.isfinite().flatten(1).all(1)] if raw.is_floating_point() else raw


def plotted(result: Result, name: str, alt: str) -> Html:
    """A picture that lies in the folder, on paper of its own."""
    data = picture_of(result.path / name)
    if data is None:
        return absent(
            f"{name} is not in {result.path.name} (plots need matplotlib, pictures pillow: pip install "
            "'scoresde[plots]')."
        )
    return image(data, name.rpartition(".")[2], alt, "paper")


def samples(held: Held) -> Html:
    """What the latest samplings look like."""
    found = held.of("sample")
    if not found:
        return section("samples", "Samples", absent("None were drawn yet:", line(held, "sample")))
    parts = []
    for result in found[:3]:
        parts.append(tag("div", figure(_samples(held, result), _caption(result)), command_of(result)))
    more = (
        [tag("p", f"Earlier samplings that the folder has: {len(found) - 3}.", class_="note")] if len(found) > 3 else []
    )
    return section("samples", "Samples", tag("div", *parts, class_="pair" if len(parts) > 1 else ""), *more)


def _samples(held: Held, result: Result) -> Html:
    kind = _kind(held)
    if kind is not None and kind.is_image and kind.drawable() and (raw := _raw(result, held, 100)) is not None:
        columns = math.ceil(math.sqrt(len(raw)))
        images = as_bytes(raw, held.levels, SIDE if len(raw) < 10 else 64)
        rows = [images[i : i + columns] for i in range(0, len(images), columns)]
        return image(png(sheet(rows)), "png", "samples", pixels(images))
    return plotted(result, "samples.png", "samples")


def pixels(images: np.ndarray) -> str:
    return "pixels" if max(images.shape[1:3]) <= 32 else "items"


def _caption(result: Result) -> str:
    s, words = result.summary, []
    words.append(f"{s.get('n')} samples by {str(s.get('sampler', '')).partition('(')[0]}, seed {s.get('seed')}")
    if number(s.get("evaluations")) and number(s.get("seconds_per_sample")):
        words.append(f"{s['evaluations']:.0f} evaluations and {1e3 * s['seconds_per_sample']:.1f} ms a sample")
    if guided := guidance(result):
        words.append(guided)
    return "; ".join(words) + "."


def guidance(result: Result) -> str:
    """What guided the samples, in words; "" for nothing."""
    node = part(result.config, "guidance")
    if not node:
        return ""
    scale = f", scale {node['scale']:g}" if number(node.get("scale")) else ""
    name = str(node.get("_target_", "")).rpartition(".")[2]
    return f"{'classifier-free guidance' if name == 'Guided' else name}{scale}"


def extremes(held: Held) -> Html:
    """The most and the least likely examples of the latest scoring."""
    found = held.of("likelihood")
    if not found:
        return section(
            "extremes",
            "Likeliest and unlikeliest examples",
            absent("Not scored yet:", line(held, "likelihood")),
        )
    shown = plotted(found[0], "extremes.png", "the most and the least likely examples")
    words = f"Of {found[0].summary.get('n')} {found[0].summary.get('split')} examples, each with its own figure."
    return section("extremes", "Likeliest and unlikeliest examples", figure(shown, words))


def classes(held: Held) -> Html:
    """Samples by class, of each guidance, and how well the model tells classes apart."""
    kinds = {n: k for n, k in part(held.known, "conditions").items() if isinstance(k, dict) and "classes" in k}
    name, parts = "Classes and guidance", []
    if not kinds:
        words = "The model takes no labels; one that does, where the data has them:"
        return section(
            "classes", name, absent(words, again.command(["cond=[label]", "given.label=all", "guidance=cfg"]))
        )
    for result in held.of("sample"):
        parts += [] if len(parts) >= 4 else _by_class(held, result, kinds)
    if not parts:
        parts.append(
            absent("No samples of single classes yet:", line(held, "sample", "given.label=all", "guidance=cfg"))
        )
    if found := held.of("classify"):
        s = found[0].summary
        if number(s.get("accuracy")) and number(s.get("accuracy_stderr")):
            words = f"Classes named by the likelihood of each: {100 * s['accuracy']:.1f} +- "
            words += f"{100 * s['accuracy_stderr']:.1f} % of {s.get('n')} held-out items are right."
            parts += [tag("p", words), command_of(found[0])]
    else:
        parts.append(absent("Can it tell classes apart?", line(held, "classify")))
    return section("classes", name, tag("div", *parts[:4], class_="pair"), *parts[4:])


def _by_class(held: Held, result: Result, kinds: dict) -> list[Html]:
    """A row of samples for each class."""
    given, kind = arrays_of(result.path / "given.npz"), _kind(held)
    name = next((n for n in kinds if n in given and len(np.unique(given[n])) > 1), None)
    found = arrays_of(result.path / "samples.npy").get("")
    if name is None or kind is None or found is None or not kind.is_image or not kind.drawable():
        return []
    labels = given[name]
    if found.shape[1:] != held.shape or labels.shape != found.shape[:1]:
        return []
    raw = torch.from_numpy(np.ascontiguousarray(found))
    images, called = as_bytes(raw[:2000], held.levels, 64), kinds[name].get("names")
    lines = []
    for c in np.unique(labels[:2000]).tolist()[:24]:
        known = isinstance(called, list) and 0 <= c < len(called)
        words = "without" if c < 0 else str(called[int(c)]) if known else f"{name} {c:g}"
        row = images[labels[:2000] == c][:8]
        lines += [tag("span", words), image(png(sheet([row], 8)), "png", words, pixels(row))]
    head = guidance(result) or "without guidance"
    sampler = str(result.summary.get("sampler", "")).partition("(")[0]
    return [tag("div", tag("h3", f"{sampler}, {head}"), tag("div", *lines, class_="classes"))]


def walks(held: Held) -> Html:
    """Walks between the latents of pairs of examples."""
    found = held.of("interpolate")
    if not found:
        return section("walks", "Interpolations", absent("None were made yet:", line(held, "interpolate")))
    s = found[0].summary
    words = f"{s.get('pairs')} pairs, {s.get('points')} points on the great circle between their latents"
    if number(s.get("round_trip_rms")):
        words += f"; there and back: rms {s['round_trip_rms']:.2g}"
    shown = figure(plotted(found[0], "interpolation.png", "walks between pairs of examples"), f"{words}.")
    return section("walks", "Interpolations", shown, command_of(found[0]))
