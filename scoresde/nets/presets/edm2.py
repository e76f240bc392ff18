"""EDM2 in the sizes of its paper."""

from collections.abc import Sequence
from typing import Any, Literal

from ...settings import Count, checked
from ..unets import EDM2

CHANNELS = {"XS": 128, "S": 192, "M": 256, "L": 320, "XL": 384, "XXL": 448}


@checked
def edm2(shape: Sequence[Count], size: Literal["XS", "S", "M", "L", "XL", "XXL"] = "S", **changes: Any) -> EDM2:
    """EDM2-`size`: four resolutions of three blocks each, with attention at 16 and 8 pixels of latents (4, 64, 64).

    Karras et al. (2023), arXiv 2312.02696, table 4.

    Arguments:
        shape: of x.
        size: by which the paper calls it.
        changes: of the settings of `EDM2`; `conditions={"label": Label(1000)}` is the paper's.

    Raises:
        InputError: as `EDM2` does.
    """
    sizes = {"channels": CHANNELS[size], "mults": (1, 2, 3, 4), "blocks": 3, "attention": 256}
    return EDM2(shape, **sizes | changes)
