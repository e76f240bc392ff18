"""One image file as a person sees it: turned as its EXIF data say, over a background, 8 bits a channel."""

from __future__ import annotations

import contextlib
import functools
import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ....errors import InputError
from ...checks import reason

GREY = ("1", "L", "LA", "La", "I;16", "I;16L", "I;16B", "I;16N", "I")
SOUND = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "JPEG2000", "HEIF")  # known by how they begin
STUBS = {"BUFR", "GRIB", "HDF5", "MPEG", "EPS", "WMF", "PDF"}  # no pictures, or none that pillow decodes alone
RAW = {".dng", ".nef", ".cr2", ".cr3", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw"}  # TIFF with a small preview
ORIENTATION = 0x0112  # the EXIF tag, and by its values what puts an image upright; those from 5 on change its sides
UPRIGHT = dict(
    zip(
        range(2, 9),
        ("FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90"),
        strict=True,
    )
)


@dataclass(frozen=True)
class Header:
    """What is known of an image before its pixels: (width, height) as shown; is it grey, does it move, is it clear?"""

    size: tuple[int, int]
    grey: bool
    moves: bool
    clear: bool


def suffixes() -> set[str]:
    """The suffixes of the image files that pillow reads."""
    module = pillow()
    return {s for s, kind in module.registered_extensions().items() if kind in module.OPEN and kind not in STUBS}


def header(path: Path, known: bool = True) -> Header:
    """The header of an image file; `known`: its suffix is one of `suffixes`.

    Raises:
        InputError: it is no image that pillow reads, or has 32-bit pixels.
    """
    with opened(path, known) as image:
        if image.mode in ("I", "F") and not _sixteen(image):
            raise InputError(f"{path} has 32-bit pixels (mode {image.mode}): make it 8 or 16 bits, or read arrays")
        moves = image.format not in ("MPO", "PSD") and getattr(image, "is_animated", False)
        if image.format == "TIFF" and _turn(image) >= 5:
            image.load()  # some versions of pillow turn these, and then forget the tag
        size = image.size[::-1] if _turn(image) >= 5 else image.size
        return Header(size, image.mode in GREY, moves, _clear(image))


def resized(size: tuple[int, int], target: tuple[int, int]) -> tuple[int, int]:
    """(width, height) of an image of this `size` once it just covers the `target`."""
    scale = max(target[0] / size[0], target[1] / size[1])
    return max(target[0], round(scale * size[0])), max(target[1], round(scale * size[1]))


def load(
    path: Path,
    channels: int,
    size: int | tuple[int, int] | None = None,
    background: str = "white",
    corner: tuple[int, int] | None = None,
) -> Tensor:
    """One image file as a uint8 tensor (channels, H, W), the first frame of several; with alpha one channel more.

    Arguments:
        channels: 1 (grey) or 3 (RGB).
        size: the shorter side is resized to it (Lanczos), and the centre size x size is kept; (height, width): it is
            resized to cover them; None: as it is.
        background: what lies under transparent pixels, "white" or "black"; "drop": the colours that they hide; "keep":
            alpha is one more channel, and where it is 0 the colour is white.
        corner: (top, left) of what is kept, in pixels of the resized image; None: the centre.

    Raises:
        InputError: it cannot be decoded.
    """
    module = pillow()
    with opened(path) as image:
        image.load()
        turn = _turn(image)
        image = _upper_bits(image) if _sixteen(image) else image
        alpha = image.convert("RGBA").getchannel("A") if background == "keep" else None
        image = _in_srgb(_over(image, background)).convert("L" if channels == 1 else "RGB")
        if alpha is not None:
            image.putalpha(alpha)
        if turn in UPRIGHT:
            image = image.transpose(module.Transpose[UPRIGHT[turn]])
        if size is not None:
            high, wide = (size, size) if isinstance(size, int) else size
            width, height = resized(image.size, (wide, high))
            top, left = corner or ((height - high) // 2, (width - wide) // 2)
            image = image.resize((width, height), module.Resampling.LANCZOS)
            image = image.crop((left, top, left + wide, top + high))
        x = np.array(image).reshape(image.height, image.width, -1)
        if alpha is not None:
            x[..., :-1][x[..., -1] == 0] = 255  # what nobody sees
        return torch.from_numpy(x.transpose(2, 0, 1).copy())


@contextlib.contextmanager
def opened(path: Path, known: bool = True) -> Iterator:
    """The image of a file, silent about its oddities; what goes wrong with it is an InputError."""
    module = pillow()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if not path.stat().st_size:
                raise InputError(f"{path} cannot be decoded (it is empty): remove or replace it")
            with module.open(path, formats=None if known else [f for f in SOUND if f in module.OPEN]) as image:
                yield image
        except InputError:
            raise
        except module.DecompressionBombError as error:
            most = 2 * (module.MAX_IMAGE_PIXELS or 0)
            raise InputError(
                f"{path} has more than {most} pixels, which pillow takes for an attack: shrink it"
            ) from error
        except Exception as error:  # pillow's decoders raise nearly anything
            why = reason(error).replace(f" {str(path)!r}", "")
            raise InputError(f"{path} cannot be decoded ({why}): remove or replace it") from error


def _sixteen(image) -> bool:
    """Whether the image is grey with 16 bits, which some readers widen to 32."""
    return image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM", "JPEG2000"))


def _upper_bits(image):
    """The upper 8 bits of a grey image with 16, and alpha where one value counts as transparent."""
    module, x, hidden = pillow(), np.asarray(image), image.info.get("transparency")
    grey = module.fromarray((x >> 8).astype(np.uint8))
    if isinstance(hidden, int):
        grey.putalpha(module.fromarray(np.where(x == hidden, 0, 255).astype(np.uint8)))
    return grey


def _over(image, background: str):
    """An image without transparency: over the background, or with the colours that it hides ("drop", "keep")."""
    image = image.convert({"La": "LA", "RGBa": "RGBA"}.get(image.mode, image.mode))
    if background in ("drop", "keep") or not _clear(image):
        return image
    profile = image.info.get("icc_profile")
    canvas = pillow().new("RGBA", image.size, background)
    image = pillow().alpha_composite(canvas, image.convert("RGBA")).convert("RGB")
    image.info["icc_profile"] = profile
    return image


def _clear(image) -> bool:
    """Whether an image may have transparent pixels."""
    return image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info


def _in_srgb(image):
    """A colour image in sRGB, by the profile that comes with it: without that, CMYK is far too bright."""
    profile = image.info.get("icc_profile")
    image = image.convert("RGB") if image.mode in ("P", "PA", "RGBA") else image
    if not profile or image.mode not in ("RGB", "CMYK"):
        return image
    try:
        from PIL import ImageCms

        transform = _transform(profile, image.mode)
        return image if transform is None else ImageCms.applyTransform(image, transform)
    except Exception:  # pillow without littlecms, or a profile that is broken or of another mode: viewers pass them too
        return image


@functools.lru_cache(16)
def _transform(profile: bytes, mode: str):
    from PIL import ImageCms

    own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    if mode == "RGB" and "srgb" in ImageCms.getProfileDescription(own).lower():
        return None
    return ImageCms.buildTransform(own, ImageCms.createProfile("sRGB"), mode, "RGB")


def _turn(image) -> int:
    """How an image is to be turned, a value of EXIF's orientation; 1 for a PNG that has it at its end, undecoded."""
    if image.format == "PNG" and not {"exif", "Raw profile type exif"} & image.info.keys():  # else all is decoded
        return 1
    try:
        found = image.getexif().get(ORIENTATION, 1)
        return found if isinstance(found, int) else 1
    except Exception:  # broken EXIF data are no reason not to show an image
        return 1


@functools.cache
def pillow():
    """The module PIL.Image, with what reads HEIF where that is installed."""
    try:
        from PIL import Image
    except ImportError as error:
        raise InputError("images need pillow: pip install pillow") from error
    with contextlib.suppress(ImportError):
        from pillow_heif import register_heif_opener

        register_heif_opener()
    Image.init()
    return Image
