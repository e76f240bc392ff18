"""The U-Nets of the field, from their papers: each a `UNet` with its settings, any of which may be given otherwise.

`ncsnpp(shape, channels=32)` is NCSN++ of a quarter of the width.  The layers are the originals', with these
differences: the level c = log(sigma / alpha) takes the place of a time or a sigma; weights begin as PyTorch's layers
do, the last of each branch at zero; convolutions that halve the resolution pad both sides alike; filters go on beyond
the border.
"""

from collections.abc import Sequence
from typing import Any

from ...settings import Count, checked
from ..unets import UNet

ALL = {"attention": 0, "groups": 32, "embedding": "sinusoidal"}
DDPM = {"channels": 128, "mults": (1, 2, 2, 2), "heads": 1, "dropout": 0.1, "factors": (2,), "modulation": "add"}
SONG = DDPM | {"blocks": 4, "attend": "last_up", "resampling": "biggan", "rescale": True}


@checked
def ddpm(shape: Sequence[Count], **changes: Any) -> UNet:
    """The network of DDPM, as for CIFAR-10: 35,746,307 parameters at 3 x 32 x 32.

    Ho, Jain, Abbeel (2020), arXiv 2006.11239, appendix B.

    Arguments:
        shape: of x, (C, *space) with 1 to 3 space axes.
        changes: settings of `UNet`.

    Raises:
        InputError: as `UNet` does.
    """
    return UNet(shape, **ALL | DDPM | {"blocks": 2} | changes)


@checked
def iddpm(shape: Sequence[Count], **changes: Any) -> UNet:
    """The network of improved DDPM, as for CIFAR-10: 52,546,438 parameters at 3 x 32 x 32 with `outputs=2`.

    The level scales and shifts, four heads attend at two resolutions.  Nichol, Dhariwal (2021), arXiv 2102.09672.

    Arguments:
        shape: of x, (C, *space) with 1 to 3 space axes.
        changes: settings of `UNet`; `outputs=2` for a learned variance.

    Raises:
        InputError: as `UNet` does.
    """
    own = {"blocks": 3, "heads": 4, "dropout": 0.3, "factors": (2, 4), "modulation": "scale_shift"}
    return UNet(shape, **ALL | DDPM | own | changes)


@checked
def ddpmpp(shape: Sequence[Count], **changes: Any) -> UNet:
    """DDPM++ (continuous), as for CIFAR-10: 61,804,419 parameters at 3 x 32 x 32; `blocks=8` is the deep one.

    Resampling within residual blocks, rescaled skips, twice DDPM's blocks.  Song et al. (2021), arXiv 2011.13456,
    appendix H.

    Arguments:
        shape: of x, (C, *space) with 1 to 3 space axes.
        changes: settings of `UNet`.

    Raises:
        InputError: as `UNet` does.
    """
    return UNet(shape, **ALL | SONG | changes)


@checked
def ncsnpp(shape: Sequence[Count], **changes: Any) -> UNet:
    """NCSN++ (continuous), as for CIFAR-10: 62,758,787 parameters at 3 x 32 x 32; `blocks=8` is the deep one.

    DDPM++ with filtered resampling, a residual input at each resolution and random Fourier features of c.  Song et al.
    (2021), arXiv 2011.13456, appendix H.

    Arguments:
        shape: of x, (C, *space) with 1 to 3 space axes.
        changes: settings of `UNet`.

    Raises:
        InputError: as `UNet` does.
    """
    own = {"embedding": "fourier", "fir": (1.0, 3.0, 3.0, 1.0), "progressive_input": "residual"}
    return UNet(shape, **ALL | SONG | own | changes)


@checked
def adm(shape: Sequence[Count], **changes: Any) -> UNet:
    """The network of ADM, as for ImageNet 64x64: 295,904,454 parameters with `outputs=2` and 1000 classes.

    And 768 more for a class that is missing.  Resampling within residual blocks, attention at three resolutions by
    heads of 64 channels.  Dhariwal, Nichol (2021), arXiv 2105.05233, table 4.

    Arguments:
        shape: of x, (C, *space) with 1 to 3 space axes.
        changes: settings of `UNet`.

    Raises:
        InputError: as `UNet` does.
    """
    own = {"channels": 192, "mults": (1, 2, 3, 4), "blocks": 3, "factors": (2, 4, 8), "head_channels": 64}
    return UNet(shape, **ALL | own | {"dropout": 0.1, "resampling": "residual"} | changes)


@checked
def imagen(shape: Sequence[Count], **changes: Any) -> UNet:
    """Imagen's Efficient U-Net, as for 256x256.

    More blocks at low resolution, halved before the blocks and doubled after them, rescaled skips.  Of the paper are
    the widths, the blocks and where attention is; its text encoder and how it is pooled are not here.  Saharia et al.
    (2022), arXiv 2205.11487, appendix B.

    Arguments:
        shape: of x, (C, *space) with 1 to 3 space axes.
        changes: settings of `UNet`.

    Raises:
        InputError: as `UNet` does.
    """
    own = {"channels": 128, "mults": (1, 2, 4, 8), "blocks": 2, "block_mults": (1, 2, 4, 4), "heads": 8}
    own |= {"factors": (16,), "attend": "last", "rescale": True, "efficient": True}
    return UNet(shape, **ALL | own | changes)
