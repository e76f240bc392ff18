"""Images as pixels: bytes, tiles with captions, PNG files.  All that is needed is pillow."""

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from ..errors import InputError
from ..machine import files
from .kinds import MOST, kind_of

TILE = 64  # pixels that a small image is enlarged to, by whole numbers
FLAT = 16  # pixels that its shorter side has at least
LINE = 18  # the height of a line of text
BACK, INK = 96, 255  # grey levels of what is around the images, and of words


def as_bytes(raw: Tensor, levels: int | None, most: int = 4096) -> np.ndarray:
    """Images, or slices of volumes, to bytes.

    Discrete values over their levels, others clamped to -3..3 standard deviations.  3 channels are colours, others lie
    beside each other in grey, the first `kinds.MOST` of them.

    Arguments:
        raw: (N, *shape), in the data's own values.
        levels: their number, None: continuous.
        most: pixels of a side at the most; larger images shrink, by means.

    Returns:
        (N, h, w, 3).

    Raises:
        FloatingPointError: values that are not finite.
    """
    if not bool(raw.isfinite().all()):
        raise FloatingPointError("an image with values that are not finite is not drawn")
    x = kind_of(raw.shape[1:]).view(raw)[:, :MOST]
    k = -(-max(x.shape[2:]) // most)
    size = [min(k, side) for side in x.shape[2:]]
    y = torch.cat([avg_pool2d(part.double(), size) for part in x.cpu().split(1)])
    y = y / (levels - 1) if levels else (y - y.mean()) / (6 * y.std(correction=0).clamp_min(1e-12)) + 0.5
    y = (y.clamp(0, 1) * 255).round().byte().numpy()
    if y.shape[1] == 3:
        return y.transpose(0, 2, 3, 1)
    if y.shape[1] == 1:
        y = y[:, 0]
    else:  # a line between channels, and one on both sides: images are farther from each other than their channels
        line = np.full((len(y), y.shape[2], 1), BACK, np.uint8)
        y = np.concatenate([line, *(piece for i in range(y.shape[1]) for piece in (y[:, i], line))], 2)
    return np.repeat(y[..., None], 3, -1)


def tile(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Rows of images, each (n, H, W, 3), to one picture (h, w, 3) with gaps; small images are enlarged without blur."""
    return sheet(rows)


def sheet(
    rows: Sequence[np.ndarray],
    title: str = "",
    heads: Sequence[str] = (),
    over: Sequence[str] = (),
    under: Sequence[Sequence[str]] = (),
) -> np.ndarray:
    """Rows of images to one picture with words.

    Arguments:
        rows: bytes (n, H, W, 3) each.
        title: above all.
        heads: above each column, of one line or more.
        over: a line over each row.
        under: in each row a word under each image.

    Returns:
        Bytes (h, w, 3).
    """
    height, width = rows[0].shape[1:3]
    factor = max(1, round(TILE / (height * width) ** 0.5))
    down, across = (max(factor, -(-FLAT // side)) for side in (height, width))
    gap = max(2, factor // 2)
    columns = max(len(row) for row in rows)
    step = across * width + gap
    whole = max(columns * step + gap, *(text_width(words) + 2 * gap for words in (title, *over)))
    middles = [gap + i * step + across * width / 2 for i in range(columns)]
    lines = [text(whole, [(gap, title)])] if title else []
    for head in zip(*(head.split("\n") for head in heads), strict=True):
        lines.append(text(whole, zip(middles, head, strict=False), centred=True))
    for i, row in enumerate(rows):
        lines += [text(whole, [(gap, over[i])])] if over else []
        line = np.full((down * height + gap, whole, 3), BACK, np.uint8)
        for j, image in enumerate(row):
            at = gap + j * step
            line[gap:, at : at + across * width] = image.repeat(down, 0).repeat(across, 1)
        lines.append(line)
        lines += [text(whole, zip(middles, under[i], strict=False), centred=True)] if under else []
    return np.concatenate([*lines, np.full((gap, whole, 3), BACK, np.uint8)])


def text(width: int, words, centred: bool = False) -> np.ndarray:
    """A line of the picture with words at (x, word): from x on, or about it; a word that another one covers is left
    out."""
    from PIL import Image, ImageDraw

    canvas = Image.new("L", (width, LINE), BACK)
    draw, end = ImageDraw.Draw(canvas), 0.0
    for x, word in words:
        size = text_width(word)
        start = min(max(x - size / 2, 0), max(width - size, 0)) if centred else x
        if start >= end:
            draw.text((start, 1), word, fill=INK, font=_font())
            end = start + size + 3
    return np.repeat(np.asarray(canvas)[..., None], 3, -1)


def text_width(word: str) -> int:
    """The pixels that a word takes."""
    return int(np.ceil(_font().getlength(word))) if word else 0


@functools.cache
def _font():
    from PIL import ImageFont

    try:
        return ImageFont.load_default(12)
    except TypeError:  # of pillow before 10.1
        return ImageFont.load_default()


def save_png(path: Path, picture: np.ndarray) -> None:
    """Writes a picture, bytes (H, W, 3), as PNG to the path."""
    from PIL import Image

    files.write(path, lambda file: Image.fromarray(picture).save(file, "PNG"))


def check_files(shape: Sequence[int], levels: int | None) -> None:
    """Raises `InputError` unless samples of this shape can be image files: values on levels, 1 or 3 channels."""
    kind = kind_of(shape)
    flat = kind.is_image and not kind.slices and kind.parts in (1, 3)
    if not flat or levels is None or levels > (256 if kind.parts == 3 else 65536):
        raise InputError(
            f"png=true is for images, (1, H, W) or (3, H, W) with levels (data.levels=256): this data has the shape "
            f"{tuple(shape)} and {'no' if levels is None else levels} levels; samples.npy has it as it is"
        )
    if not kind.drawable():
        raise InputError("png=true needs pillow: pip install pillow")


def save_files(folder: Path, raw: Tensor, levels: int) -> None:
    """Images (N, C, H, W) as they are, without enlarging: folder/0000.png, ...; values over their levels, in 8 bits, or
    in 16 where there are more than 256."""
    from PIL import Image

    white, dtype = (255, np.uint8) if levels <= 256 else (65535, np.uint16)
    digits = max(4, len(str(len(raw) - 1)))
    for i, image in enumerate(raw.cpu()):
        y = (image.double() * (white / (levels - 1))).round().numpy().astype(dtype)
        made = Image.fromarray(y[0] if len(y) == 1 else np.ascontiguousarray(y.transpose(1, 2, 0)))
        files.write(folder / f"{i:0{digits}}.png", lambda file, made=made: made.save(file, "PNG"))
