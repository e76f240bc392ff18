"""MNIST, or anything else in its four idx files."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import torch

from ...conditions import Label
from ...errors import InputError
from ...settings import LATER, Count, Range, checked
from ...spaces import Bins
from ..base import Data
from ..checks import Place, find, reason
from ..rows import Tensors
from ..texts.digits import captions
from ..views import lowered

REMEDY = "give the folder with train-images-idx3-ubyte and the other three idx files, plain or .gz"
Digit = Annotated[int, Range(0, 9)]


@checked
def mnist(
    root: Place, digits: Digit | Sequence[Digit] | None = None, size: Annotated[Count | None, LATER] = None
) -> Data:
    """The standard idx files under root, with their own train and test sets: (1, 28, 28) uint8, 256 levels.

    There is a "label" where there are files of them; of ten classes, where a model asks for it, a "caption" too, as
    `digits` has it.

    Arguments:
        root: the folder with (train|t10k)-(images-idx3|labels-idx1)-ubyte, plain or .gz.
        digits: keep only the images with these labels; None: all of them, and the label files need not be there.
        size: the side of the images, 7 or 14, say: rounded means; None: as they are.

    Returns:
        A `Data`, of uint8 (1, 28, 28) or (1, size, size), 256 levels.

    Raises:
        InputError: the folder or a file is missing, is no idx file of that kind or has the wrong length; a bad label;
            a size that does not divide the side.
    """
    root = find(root, REMEDY, folder=True)
    if digits is not None:
        digits = list(digits) if np.ndim(digits) else [digits]
        if not digits:
            raise InputError("digits=[]: give at least one label in 0..9, or None for all", "digits")
    (train, y), (test, z) = _part(root, "train", digits), _part(root, "t10k", digits)
    if train.shape[1:] != test.shape[1:]:
        sizes = f"{tuple(train.shape[2:])} in train and {tuple(test.shape[2:])} in t10k"
        raise InputError(f"root={root}: images are {sizes}: must be the same", "root")
    known = y is not None and z is not None
    parts = (
        Tensors(lowered(x, size), cond={"label": labels} if known else None) for x, labels in ((train, y), (test, z))
    )
    classes = max(10, 1 + max(int(y.max()), int(z.max()))) if known else 0
    more = {"caption": captions(y, z)} if classes == 10 else {}
    return Data("mnist", *parts, Bins(256), conditions={"label": Label(classes)} if known else {}, more=more)


def _part(root: Path, part: str, digits: list[int] | None) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Images (N, 1, H, W), and their labels (N,) where there is a file of them."""
    images = read_idx(_file(root, f"{part}-images-idx3-ubyte"), 3)
    path, labels = _find(root, name := f"{part}-labels-idx1-ubyte"), None
    if path is not None or digits is not None:
        labels = read_idx(path or _file(root, name), 1)
        if len(labels) != len(images):
            raise InputError(f"root={root}: {part} has {len(images)} images and {len(labels)} labels", "root")
    if digits is not None:
        kept = np.isin(labels, digits)
        images, labels = images[kept], labels[kept]
    if images.size == 0:
        kept = "" if digits is None else f" with digits={digits}"
        raise InputError(f"root={root}: {part} has no images{kept}", "root")
    return torch.from_numpy(images).unsqueeze(1), None if labels is None else torch.from_numpy(labels).long()


def _find(root: Path, name: str) -> Path | None:
    return next((path for path in (root / name, root / f"{name}.gz") if path.is_file()), None)


def _file(root: Path, name: str) -> Path:
    if path := _find(root, name):
        return path
    raise InputError(f"root={root} has no file {name} or {name}.gz: {REMEDY}", "root")


def read_idx(path: Path, ndim: int) -> np.ndarray:
    """The uint8 array of an idx file: bytes 0 0 8 ndim, then ndim big-endian 32-bit sizes, then the values.

    Raises:
        InputError: unreadable, another type or number of axes (magic), or not as long as its sizes say.
    """
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except Exception as error:  # gzip has half a dozen ways to fail: OSError, EOFError, zlib.error, struct.error
        raise InputError(f"{path} cannot be read ({reason(error)}): fetch it again") from error
    start, magic = 4 + 4 * ndim, int.from_bytes(raw[:4], "big")
    if magic != 2048 + ndim:
        raise InputError(f"{path} starts with magic {magic}, expected {2048 + ndim}: it is not an idx{ndim}-ubyte file")
    shape = tuple(np.frombuffer(raw[:start], ">u4", offset=4).tolist()) if len(raw) >= start else ()
    expected = start + int(np.prod(shape, dtype=object))
    if len(raw) != expected or not shape:
        raise InputError(f"{path} has {len(raw)} bytes, expected {expected} for shape {shape}: fetch it again")
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape).copy()
