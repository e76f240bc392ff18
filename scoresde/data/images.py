"""A folder of image files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..errors import InputError
from .base import CUBE, Data, Tensors
from .checks import check_choice, check_count, find, reason, split

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".gif")
GREY = ("1", "L", "LA", "I;16", "I;16L", "I;16B")
IN_MEMORY = 2 * 2**30  # bytes of decoded images below which they are all kept in memory


def images(
    root: str | Path, size: int | None = None, channels: int | None = None, test: float = 0.1, seed: int = 0
) -> Data:
    """The image files under root and its subfolders, in the order of their paths: (C, H, W) uint8, 256 levels.

    Every file is decoded once before this returns, so that a broken one shows up here and not hours into a training.
    An alpha channel is dropped, 16-bit grey keeps its upper 8 bits, an animation its first frame, and names that start
    with a dot are skipped.

    Arguments:
        size: the shorter side is resized to it (Lanczos), the centre size x size is kept; None: all have one size.
        channels: 1 (grey) or 3 (RGB); None: 1 if every file is grey, otherwise 3.
        test: a fraction or a count of the files.

    Raises:
        InputError: no folder, no images, a file that cannot be decoded, different sizes with size=None, a bad option.
    """
    check_choice("data.channels", channels, (None, 1, 3))
    if size is not None:
        size = check_count("data.size", size)
    root = find(root, "give the folder with the image files", folder=True)
    paths = sorted(p for p in root.rglob("*") if _is_image(p))
    if not paths:
        raise InputError(f"data.root={root} has no image files: expected some of {' '.join(SUFFIXES)}")
    headers = [_header(path) for path in paths]
    if channels is None:
        channels = 1 if all(mode in GREY for mode, _ in headers) else 3
    shape = (channels, *_common_size(paths, [s for _, s in headers], size))
    keep = len(paths) * int(np.prod(shape)) < IN_MEMORY
    train, hold = split(len(paths), test, seed)
    train, hold = (_read([paths[i] for i in part], shape, size, keep) for part in (train, hold))
    return Data(root.resolve().name or "images", train, hold, CUBE, levels=256)


class ImageFiles(Dataset):
    """Images that are decoded when they are asked for, to (C, H, W) uint8 tensors."""

    def __init__(self, paths: list[Path], channels: int, size: int | None) -> None:
        self.paths, self.channels, self.size = paths, channels, size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        return load(self.paths[index], self.channels, self.size)


def load(path: Path, channels: int, size: int | None = None) -> Tensor:
    """One image file as a uint8 tensor (channels, H, W), resized and cropped to size if that is given.

    Raises:
        InputError: it cannot be decoded.
    """
    image_module = _pillow()
    try:
        with image_module.open(path) as image:
            if image.mode.startswith("I;16"):
                image = image_module.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            image = image.convert("L" if channels == 1 else "RGB")
    except Exception as error:  # pillow's decoders raise nearly anything
        raise _broken(path, error) from error
    if size is not None:
        scale = size / min(image.size)
        width, height = (max(size, round(scale * side)) for side in image.size)
        left, top = (width - size) // 2, (height - size) // 2
        image = image.resize((width, height), image_module.Resampling.LANCZOS)
        image = image.crop((left, top, left + size, top + size))
    return torch.from_numpy(np.array(image).reshape(image.height, image.width, channels).transpose(2, 0, 1).copy())


def _read(paths: list[Path], shape: tuple[int, ...], size: int | None, keep: bool) -> Dataset:
    """Decodes every file once, and keeps what it saw or only the paths."""
    files = ImageFiles(paths, shape[0], size)
    x = torch.empty(len(paths) if keep else 1, *shape, dtype=torch.uint8)
    for i in range(len(paths)):
        x[i if keep else 0] = files[i]
    return Tensors(x) if keep else files


def _header(path: Path) -> tuple[str, tuple[int, int]]:
    """The mode and the size (width, height) of an image file, without decoding it."""
    try:
        with _pillow().open(path) as image:
            mode, size = image.mode, image.size
    except InputError:
        raise
    except Exception as error:
        raise _broken(path, error) from error
    if mode in ("I", "F"):
        raise InputError(f"{path} has 32-bit pixels (mode {mode}): convert it to 8 or 16 bits, or use data=array")
    return mode, size


def _common_size(paths: list[Path], sizes: list[tuple[int, int]], size: int | None) -> tuple[int, int]:
    """The (height, width) that all images will have."""
    if size is not None:
        return size, size
    for path, other in zip(paths, sizes, strict=True):
        if other != sizes[0]:
            pair = f"{paths[0]} is {sizes[0][0]}x{sizes[0][1]}, {path} is {other[0]}x{other[1]}"
            raise InputError(f"data.size=null: {pair}: give data.size={min(min(s) for s in sizes)} to make them equal")
    return sizes[0][1], sizes[0][0]


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def _broken(path: Path, error: Exception) -> InputError:
    why = reason(error).replace(f" {str(path)!r}", "")
    return InputError(f"{path} cannot be decoded ({why}): remove or replace it")


def _pillow():
    try:
        from PIL import Image
    except ImportError as error:
        raise InputError("data=images needs pillow: pip install pillow") from error
    return Image
