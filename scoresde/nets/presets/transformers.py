"""The transformers of the papers."""

from collections.abc import Sequence
from typing import Any, Literal

from ...settings import Count, checked
from ..transformers import DiT, JiT, SimpleUViT, UViT

# (width, blocks, heads)
DITS = {"S": (384, 12, 6), "B": (768, 12, 12), "L": (1024, 24, 16), "XL": (1152, 28, 16)}
UVITS = {"S": (512, 13, 8), "S-deep": (512, 17, 8), "M": (768, 17, 12), "L": (1024, 21, 16), "H": (1152, 29, 16)}
# and (bottleneck, start)
JITS = {"B": (768, 12, 12, 128, 4), "L": (1024, 24, 16, 128, 8), "H": (1280, 32, 16, 256, 10)}


@checked
def dit(shape: Sequence[Count], size: Literal["S", "B", "L", "XL"] = "XL", patch: Count = 2, **changes: Any) -> DiT:
    """DiT-`size`/`patch`; the paper's have patches of 2, 4 or 8 of a latent (4, 32, 32), and a variance beside.

    Peebles, Xie (2022), arXiv 2212.09748, table 1.

    Arguments:
        shape: of x.
        size: by which the paper calls it.
        patch: pixels of a patch along each axis.
        changes: of the settings of `DiT`; `outputs=2` and `conditions={"label": Label(1000)}` are the paper's.

    Returns:
        A `DiT`, before training.

    Raises:
        InputError: as `DiT` does.
    """
    return DiT(shape, **dict(zip(("width", "blocks", "heads"), DITS[size], strict=True)) | {"patch": patch} | changes)


@checked
def uvit(
    shape: Sequence[Count], size: Literal["S", "S-deep", "M", "L", "H"] = "S", patch: Count = 2, **changes: Any
) -> UViT:
    """U-ViT-`size`/`patch`: of CIFAR-10 S/2, of CelebA at 64 pixels S/4, of ImageNet at 64 pixels M/4 and L/4.

    Bao et al. (2022), arXiv 2209.12152, table 1.

    Arguments:
        shape, size, patch: as in `dit`.
        changes: of the settings of `UViT`.

    Returns:
        A `UViT`, before training.

    Raises:
        InputError: as `UViT` does.
    """
    return UViT(shape, **dict(zip(("width", "blocks", "heads"), UVITS[size], strict=True)) | {"patch": patch} | changes)


@checked
def jit(shape: Sequence[Count], size: Literal["B", "L", "H"] = "B", patch: Count = 16, **changes: Any) -> JiT:
    """JiT-`size`/`patch`: patches of 16 pixels of pictures (3, 256, 256), of 32 for 512 pixels, and so on.

    Li, He (2025), arXiv 2511.13720, tables 3 and 9.

    Arguments:
        shape, size, patch: as in `dit`.
        changes: of the settings of `JiT`; `conditions={"label": Label(1000)}` is the paper's.

    Returns:
        A `JiT`, before training.

    Raises:
        InputError: as `JiT` does.
    """
    names = ("width", "blocks", "heads", "bottleneck", "start")
    return JiT(shape, **dict(zip(names, JITS[size], strict=True)) | {"patch": patch} | changes)


@checked
def simple_uvit(shape: Sequence[Count], **changes: Any) -> SimpleUViT:
    """The UViT of ImageNet at 128 pixels: three levels of two convolution blocks, 36 transformer blocks at 16 pixels.

    Hoogeboom et al. (2023), arXiv 2301.11093, appendix; of about 2 billion parameters there.

    Arguments:
        shape: of x, in the paper (3, 128, 128).
        changes: of the settings of `SimpleUViT`.

    Raises:
        InputError: as `SimpleUViT` does.
    """
    sizes = {"channels": 128, "mults": (1, 2, 4), "convolutions": 2, "width": 2048, "blocks": 36, "heads": 16}
    return SimpleUViT(shape, **sizes | {"dropout": 0.2} | changes)
