"""A folder of image files."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor

from ....conditions import Kind
from ....errors import InputError
from ....settings import LATER, Count, Range, Seed, checked
from ....spaces import Bins
from ...base import Data, of_parts
from ...checks import Part, Place, find, split
from ...items import item
from ...offered import Offered, Wanted
from ...rows import IN_MEMORY, Rows, Tensors
from ...texts.templates import Template
from . import beside, pixels
from .crops import Crops, crops_of, shapes_of
from .folder import Found

Side = Annotated[int, Range(1, 2**15)]


@checked
def images(
    root: Place,
    size: Side | None = None,
    channels: Literal[1, 3] | None = None,
    test: Part = 0.1,
    seed: Seed = 0,
    background: Literal["white", "black", "drop", "keep"] = "white",
    broken: Literal["error", "skip"] = "error",
    cond: Wanted = None,
    caption: Template = None,
    micro: Annotated[bool, LATER] = False,
    aspect: Annotated[float, Range(1), LATER] = 1.0,
    multiple: Annotated[Count, LATER] = 8,
) -> Data:
    """The image files under root and its subfolders, in the order of their paths: (C, H, W) uint8, 256 levels.

    They are what a person sees: upright by their EXIF data, 16-bit grey by its upper 8 bits, colours in sRGB by the
    profile that comes with them, of an animation the first frame. Every file that pillow reads is taken, whatever its
    suffix; folders behind links are read, once; hidden files and folders and caches of other programs are not. A note
    says what was taken and what was left out. Every file is decoded once before this returns, so that a broken one
    shows up here and not hours into a training.

    Where every file lies in one of at least two subfolders, the folder is its "label".  The columns of metadata.csv or
    metadata.jsonl beside the files, which has their paths as file_name, are conditions too: words and whole numbers of
    few values labels, other numbers vectors of one, other words text, as is what is called text or caption; a file
    without a row lacks them.  Text becomes a condition where it is asked for, by `cond` or by a model.

    Arguments:
        root: the folder.
        size: the shorter side is resized to it (Lanczos), the centre size x size is kept; None: all have one size.
        channels: 1 (grey) or 3 (RGB); None: 1 if every file is grey, otherwise 3.
        test: a fraction or a count of the files; folders train/ and test/ (or validation/) of root are the splits.
        seed: of the split.
        background: what lies under transparent pixels, "white" or "black"; "drop": the colours that they hide; "keep":
            alpha is one more channel, and where it is 0 the colour is white.
        broken: a file that cannot be decoded is an "error", or left out ("skip").
        cond: what the images come with: names, or a mapping with the kind of each, None where its values tell it, or
            "text". None: all that fit, and text where a model asks for it.
        caption: a template of columns, which makes the text "caption": "{style} {name}".
        micro: whether what is kept of a resized image is anywhere in it, in the place of the centre, as a function of
            the seed and its number, and images come with "size", height and width of the file in pixels, and "crop",
            top and left of what is kept, in pixels of the resized one; then no image is too small (SDXL; Podell et al.,
            2023, arXiv 2307.01952).
        aspect: above 1, images are of several shapes of about the area of size x size, whose longer side is at most
            `aspect` times the shorter: each is resized to cover the shape that is nearest to its own, and with `micro`
            comes with "target", height and width of that.  Those that are size x size are `train` and `test`, the other
            ones `Data.buckets`.
        multiple: what the sides of these shapes are multiples of.

    Returns:
        A `Data`, whose datasets have `names`, the files' paths.

    Raises:
        InputError: no folder, no images, a file that cannot be decoded, different sizes with size=None, metadata that
            cannot be read or does not fit, a bad option.
    """
    root = find(root, "give the folder with the image files", folder=True)
    found = Found(root, broken == "skip")
    found.look_at_all()
    if not found.headers:
        left = f" ({found.left_out()})" if found.left_out() else ""
        raise InputError(f"root={root} has no image files{left}: expected some of .png .jpg .webp .tif ...", "root")
    paths, headers = list(found.headers), list(found.headers.values())
    if channels is None:
        channels = 1 if all(h.grey for h in headers) else 3
    if size is None and (micro or aspect > 1):
        raise InputError("size=None: micro and aspect are of resized images: give size=32, say", "size")
    shape = (channels + (background == "keep"), *_common_size(paths, headers, size))
    crops = None if size is None else crops_of(headers, shapes_of(size, aspect, multiple), seed, micro)
    parts = beside.parts(paths, root)
    index = parts.index or split(len(paths), test, seed)
    given = beside.read(paths, root, parts.bases, cond, index[0], caption)
    found.read(given.files)
    values, kinds = _conditions(given.found, crops if micro else None, index[0])
    keep = len(paths) * int(np.prod(shape)) < IN_MEMORY
    made = []
    for part, like in _parts(index, shape, crops):
        own = {name: value[torch.from_numpy(part)] for name, value in values.items()}
        items = ImageFiles([paths[i] for i in part], root, like, size, background, own, crops, part)
        made.append(items.checked(keep))
    notes = (found.note(background), *parts.notes, *given.notes, *given.found.notes)
    notes = (*notes, *_shapes_note(made, crops, index, given.found.more))
    more = {k: of_parts(make, (index[0], index[1])) for k, make in given.found.more.items()} if len(made) == 2 else {}
    name, space = root.resolve().name or "images", Bins(256)
    return Data(name, *made[:2], space, conditions=kinds, notes=notes, more=more, buckets=tuple(made[2:]))


class ImageFiles(Rows):
    """Images that are decoded when they are asked for, to uint8 tensors of one shape (C, H, W), with conditions.

    They are those at the `places` of all that `crops` are of.
    """

    def __init__(
        self,
        paths: list[Path],
        root: Path,
        shape: tuple[int, ...],
        size: int | None,
        background: str,
        cond: Mapping[str, Tensor],
        crops: Crops | None,
        places: np.ndarray,
    ):
        self.paths, self.shape, self.size, self.background, self.cond = paths, shape, size, background, cond
        self.crops, self.places = crops, places
        self.names = [path.relative_to(root).as_posix() for path in paths]

    def __len__(self) -> int:
        return len(self.paths)

    def rows(self, index: np.ndarray) -> Tensor:
        return torch.stack([self.picture(i) for i in index.tolist()])

    def picture(self, index: int) -> Tensor:
        """One of them, decoded."""
        channels = self.shape[0] - (self.background == "keep")
        size, corner = (self.size, None) if self.crops is None else self.crops.of(self.places[index])
        x = pixels.load(self.paths[index], channels, size, self.background, corner)
        if x.shape != self.shape:
            sides = " and not ".join(f"{shape[2]}x{shape[1]}" for shape in (x.shape, self.shape))
            raise InputError(f"{self.paths[index]} is {sides} once it is decoded: give size=... to make all equal")
        return x

    def checked(self, keep: bool) -> Rows:
        """Decodes every file once, and keeps what it saw or only the paths."""
        x = torch.empty(len(self) if keep else 1, *self.shape, dtype=torch.uint8)
        for i in range(len(self)):
            x[i if keep else 0] = self.picture(i)
        return Tensors(x, self.names, self.cond) if keep else self


def _conditions(found: Offered, crops: Crops | None, train: np.ndarray) -> tuple[dict[str, Tensor], dict[str, Kind]]:
    """What all images come with: of their own, and of how they are cropped."""
    values, kinds = ({}, {}) if crops is None else crops.told(train)
    if taken := [name for name in values if name in found.kinds or name in found.more]:
        words = f"the images come with a {taken[0]} of their own: name the others, cond=[...], or say micro=false"
        raise InputError(f"micro=True: {words}", "micro")
    return {**found.values, **values}, {**found.kinds, **kinds}


def _parts(
    index: tuple[np.ndarray, np.ndarray], shape: tuple[int, ...], crops: Crops | None
) -> list[tuple[np.ndarray, tuple[int, ...]]]:
    """The places of train and of test, and those of training images of other shapes, with the shape of each."""
    if crops is None:
        return [(part, shape) for part in index]
    found = [(part[crops.which[part] == 0], shape) for part in index]
    if lacking := [name for name, (part, _) in zip(("train", "test"), found, strict=True) if not len(part)]:
        words = f"no image of {lacking[0]} is nearest to {shape[1]} x {shape[2]}: lower the aspect"
        raise InputError(f"aspect: {words}", "aspect")
    others = [(index[0][crops.which[index[0]] == k], (shape[0], *s)) for k, s in enumerate(crops.shapes) if k]
    return found + [(part, like) for part, like in others if len(part)]


def _shapes_note(
    made: list[Rows], crops: Crops | None, index: tuple[np.ndarray, np.ndarray], texts: Collection[str]
) -> list[str]:
    """How many images there are of each shape."""
    if crops is None or len(crops.shapes) == 1:
        return []
    many = [(part, item(part[0]).shape[1:]) for part in (made[0], *made[2:])]
    words = ", ".join(f"{len(part)} of {height} x {width}" for part, (height, width) in many)
    left = len(index[1]) - len(made[1])
    notes = [f"training images by shape: {words}", *[f"{left} test images of other shapes are not used"] * bool(left)]
    if texts:
        notes.append(f"of several shapes {', '.join(texts)} is read where it is named: cond=[{next(iter(texts))}, ...]")
    return notes


def _common_size(paths: list[Path], headers: list[pixels.Header], size: int | None) -> tuple[int, int]:
    """The (height, width) that all images will have."""
    if size is not None:
        return size, size
    first = headers[0].size
    for path, header in zip(paths, headers, strict=True):
        if header.size != first:
            pair = f"{paths[0]} is {first[0]}x{first[1]}, {path} is {header.size[0]}x{header.size[1]}"
            least = min(min(h.size) for h in headers)
            raise InputError(f"size=None: {pair}: give size={least} to make them equal", "size")
    return first[1], first[0]
