"""A folder of image files."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor

from ...errors import InputError
from ...settings import Range, Seed, checked
from ...spaces import Bins
from ..base import Data
from ..checks import Part, Place, find, reason, split
from ..items import IN_MEMORY, Rows, Tensors
from . import pixels

Side = Annotated[int, Range(1, 2**15)]
CACHES = {"__MACOSX", "__pycache__", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found"}
CACHES |= {"Thumbs.db", "desktop.ini"}
# Not even opened: there may be one beside each image.
OTHER = re.compile(
    r"\.(txt|jsonl?|[ct]sv|xml|ya?ml|md|html|py|log|ini|db|np[yz]|pth?|mat|pkl|h5|parquet|zip|tar|t?gz|7z|rar|pdf|svg"
    r"|mp[34]|mov|avi|mkv|webm|wav)"
)
WHY = {".heic": " (needs pip install pillow-heif)", ".heif": " (needs pip install pillow-heif)"}
WHY |= dict.fromkeys(pixels.RAW, " (raw of a camera)")


@checked
def images(
    root: Place,
    size: Side | None = None,
    channels: Literal[1, 3] | None = None,
    test: Part = 0.1,
    seed: Seed = 0,
    background: Literal["white", "black", "drop"] = "white",
    broken: Literal["error", "skip"] = "error",
) -> Data:
    """The image files under root and its subfolders, in the order of their paths: (C, H, W) uint8, 256 levels.

    They are what a person sees: upright by their EXIF data, 16-bit grey by its upper 8 bits, colours in sRGB by the
    profile that comes with them, of an animation the first frame. Every file that pillow reads is taken, whatever its
    suffix; folders behind links are read, once; hidden files and folders and caches of other programs are not. A note
    says what was taken and what was left out. Every file is decoded once before this returns, so that a broken one
    shows up here and not hours into a training.

    Arguments:
        size: the shorter side is resized to it (Lanczos), the centre size x size is kept; None: all have one size.
        channels: 1 (grey) or 3 (RGB); None: 1 if every file is grey, otherwise 3.
        test: a fraction or a count of the files.
        background: what lies under transparent pixels, "white" or "black"; "drop": the colours that they hide.
        broken: a file that cannot be decoded is an "error", or left out ("skip").

    Raises:
        InputError: no folder, no images, a file that cannot be decoded, different sizes with size=None, a bad option.
    """
    root = find(root, "give the folder with the image files", folder=True)
    found = _Found(root, broken == "skip")
    found.look_at_all()
    if not found.headers:
        left = f" ({found.left_out()})" if found.left_out() else ""
        raise InputError(f"root={root} has no image files{left}: expected some of .png .jpg .webp .tif ...", "root")
    paths, headers = list(found.headers), list(found.headers.values())
    if channels is None:
        channels = 1 if all(h.grey for h in headers) else 3
    shape = (channels, *_common_size(paths, headers, size))
    train, hold = split(len(paths), test, seed)
    keep = len(paths) * int(np.prod(shape)) < IN_MEMORY
    parts = (ImageFiles([paths[i] for i in part], root, shape, size, background) for part in (train, hold))
    train, hold = (part.checked(keep) for part in parts)
    return Data(root.resolve().name or "images", train, hold, Bins(256), notes=(found.note(background),))


class ImageFiles(Rows):
    """Images that are decoded when they are asked for, to uint8 tensors of one shape (C, H, W)."""

    def __init__(self, paths: list[Path], root: Path, shape: tuple[int, ...], size: int | None, background: str):
        self.paths, self.shape, self.size, self.background = paths, shape, size, background
        self.names = [path.relative_to(root).as_posix() for path in paths]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        x = pixels.load(self.paths[index], self.shape[0], self.size, self.background)
        if x.shape != self.shape:
            sides = " and not ".join(f"{shape[2]}x{shape[1]}" for shape in (x.shape, self.shape))
            raise InputError(f"{self.paths[index]} is {sides} once it is decoded: give size=... to make all equal")
        return x

    def rows(self, index: np.ndarray) -> Tensor:
        return torch.stack([self[i] for i in index.tolist()])

    def checked(self, keep: bool) -> Rows:
        """Decodes every file once, and keeps what it saw or only the paths."""
        x = torch.empty(len(self) if keep else 1, *self.shape, dtype=torch.uint8)
        for i in range(len(self)):
            x[i if keep else 0] = self[i]
        return Tensors(x, self.names) if keep else self


@dataclass
class _Found:
    """The image files below a folder, with their headers in the order of their paths, and what else is there."""

    root: Path
    skip: bool
    headers: dict[Path, pixels.Header] = field(default_factory=dict)
    left: Counter = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    known: set[str] = field(default_factory=pixels.suffixes)

    def files(self) -> list[Path]:
        """All files that are not hidden: of real folders, and then of those behind links that are not read yet."""
        files, seen, folders, links = [], set(), [self.root], []
        while folders or links:
            folder = folders.pop() if folders else links.pop(0)
            real = folder.resolve()
            if real in seen or (folder != self.root and self.root.resolve().is_relative_to(real)):
                continue  # read already, or a circle
            seen.add(real)
            for path in sorted(_entries(folder)):
                folded = path.is_dir()
                if path.name.startswith(".") or path.name in CACHES:
                    self.left["hidden or cache folder" if folded else "hidden file"] += 1
                elif folded:
                    (links if path.is_symlink() else folders).append(path)
                elif path.is_file():
                    files.append(path)
                else:
                    self.left["broken link" if path.is_symlink() else "special file"] += 1
        return sorted(files, key=lambda path: path.relative_to(self.root).parts)

    def look_at_all(self) -> None:
        """Takes up the headers of all images, and decodes each where broken ones are to be left out."""
        for path in self.files():
            self.look(path)
        for path in list(self.headers) if self.skip else ():
            try:
                pixels.load(path, 3)
            except InputError as error:
                del self.headers[path]
                self._drop(path, error)

    def look(self, path: Path) -> None:
        """Takes up the header of a file, if it is an image."""
        suffix = path.suffix.lower()
        known = suffix in self.known
        if not known and (OTHER.fullmatch(suffix) or suffix in pixels.RAW):
            self.left[suffix + WHY.get(suffix, "")] += 1
            return
        try:
            self.headers[path] = pixels.header(path, known)
        except InputError as error:
            if not known:
                self.left[(suffix or "file without a suffix") + WHY.get(suffix, "")] += 1
            else:
                self._drop(path, error)

    def _drop(self, path: Path, error: InputError) -> None:
        if not self.skip:
            raise error
        self.broken.append(str(error).removeprefix(f"{path} ").rpartition(": ")[0] + f": {path.name}")

    def left_out(self) -> str:
        """What was left out, and why."""
        parts = [_many(n, what) for what, n in sorted(self.left.items())]
        if self.broken:
            more = ", ..." if len(self.broken) > 3 else ""
            parts.append(f"{len(self.broken)} broken ({'; '.join(self.broken[:3])}{more})")
        return ", ".join(parts)

    def note(self, background: str) -> str:
        """What was taken and what was left out, in one line."""
        count: Callable = lambda is_so: sum(map(is_so, self.headers.values()))
        text = f"{_many(len(self.headers), 'image')} in {_many(len({p.parent for p in self.headers}), 'folder')}"
        moves, clear = count(lambda h: h.moves), count(lambda h: h.clear)
        text += f", {_many(moves, 'animation')} by the first frame" * bool(moves)
        over = "with the colours that it hides" if background == "drop" else f"over {background}"
        text += f", {clear} with transparency, {over}" * bool(clear)
        return text + (f"; left out: {self.left_out()}" if self.left_out() else "")


def _entries(folder: Path) -> list[Path]:
    try:
        return [folder / entry for entry in os.listdir(folder)]
    except OSError as error:
        raise InputError(f"{folder} cannot be read ({reason(error)}): allow it, or move it away") from error


def _many(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 or what.startswith('.') else 's'}"


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
