"""An item from what a visitor gives: a picture, numbers in a text, or an array file."""

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError, package
from ..settings import brief
from .subject import Subject

LARGEST = 1 << 24  # bytes of a file


def takes_pictures(subject: Subject) -> bool:
    """Whether a picture can be an item: one of one or three channels, and no volume."""
    kind = subject.kind
    return kind.is_image and not kind.slices and kind.parts in (1, 3)


def from_picture(subject: Subject, picture: Any, invert: bool = False) -> Tensor:
    """A raw item (1, *shape) of a picture (PIL's, or an array (H, W), (H, W, 3) or (H, W, 4) of bytes).

    Its middle is cut to the shape of the data and its pixels are averaged; what is transparent is white.  Bytes are
    spread over the levels; without levels they are -3 to 3 in the model's space, as they are drawn.  A picture that was
    saved of an item of the same size is that item.  Raises `InputError`.
    """
    if picture is None:
        raise InputError("there is no picture yet: upload one, or draw it")
    if not takes_pictures(subject):
        raise InputError(f"items of shape {tuple(subject.model.shape)} are no pictures: give an array file (.npy)")
    try:
        from PIL import Image, ImageOps
    except ModuleNotFoundError as error:
        raise InputError(f"pictures need {package('PIL')}: pip install {package('PIL')}") from error
    if not isinstance(picture, Image.Image):
        picture = Image.fromarray(np.ascontiguousarray(picture, dtype=np.uint8))
    picture = ImageOps.exif_transpose(picture).convert("RGBA")
    white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
    picture = Image.alpha_composite(white, picture).convert("L" if subject.kind.parts == 1 else "RGB")
    height, width = subject.kind.area
    if picture.size != (width, height):
        smaller = picture.width >= width and picture.height >= height
        way = Image.Resampling.BOX if smaller else Image.Resampling.BILINEAR
        picture = ImageOps.fit(picture, (width, height), way)
    y = torch.from_numpy(np.asarray(picture, dtype=np.float64) / 255)
    y = (y[None] if y.ndim == 2 else y.permute(2, 0, 1)).reshape(1, *subject.model.shape)
    y = 1 - y if invert else y
    levels = subject.model.levels
    if levels is None:
        return subject.model.decode(6 * y - 3)
    return (y * (levels - 1)).round().to(torch.uint8 if levels <= 256 else torch.int64)


def from_text(subject: Subject, text: str) -> Tensor:
    """A raw item (1, *shape) of numbers with commas, spaces or lines between them.  Raises `InputError`."""
    words = [word for word in re.split(r"[\s,;]+", text.strip()) if word]
    try:
        values = np.array([float(word) for word in words])
    except ValueError as error:
        raise InputError(f"{brief(text)}: give numbers, with commas between them ({error})") from error
    return _checked(subject, values, "the text")


def from_file(subject: Subject, path: str | Path) -> Tensor:
    """A raw item (1, *shape) of an .npy file, or of a .csv or .txt file of numbers.  Raises `InputError`."""
    path = Path(path)
    name, suffix = path.name, path.suffix.lower()
    if suffix not in (".npy", ".csv", ".txt"):
        raise InputError(f"{brief(name)}: give an .npy, .csv or .txt file of one item")
    if path.stat().st_size > LARGEST:
        raise InputError(f"{brief(name)}: it has more than {LARGEST >> 20} MiB, and holds one item")
    if suffix != ".npy":
        return from_text(subject, path.read_text(errors="replace"))
    try:
        values = np.asarray(np.load(path, allow_pickle=False))
    except Exception as error:  # of numpy, as it happens to be
        raise InputError(f"{brief(name)} cannot be read: {brief(str(error), 100)}") from error
    return _checked(subject, values, brief(name))


def _checked(subject: Subject, values: np.ndarray, who: str) -> Tensor:
    shape, levels = tuple(subject.model.shape), subject.model.levels
    if values.dtype.kind not in "biuf":
        raise InputError(f"{who} holds {values.dtype}: give numbers")
    flat = values.ndim == 1 and values.size == math.prod(shape)
    if not (flat or values.shape in (shape, (1, *shape))):
        words = f"{values.size} numbers" if values.ndim == 1 else f"shape {values.shape}"
        raise InputError(f"{who} has {words}: give {math.prod(shape)}, an item of shape {shape}")
    if not np.isfinite(values).all():
        raise InputError(f"{who} has values that are not finite")
    raw = torch.from_numpy(values.astype(np.float64)).reshape(1, *shape)
    if levels is None:
        return raw
    if not bool(((raw == raw.round()) & (raw >= 0) & (raw < levels)).all()):
        raise InputError(f"{who}: give whole numbers from 0 to {levels - 1}, the levels of the data")
    return raw.to(torch.uint8 if levels <= 256 else torch.int64)
