"""Data of pyramids: pictures at several resolutions at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..errors import InputError
from ..settings import Positive, Range, checked
from ..spaces import Affine, Pyramid
from .base import Data
from .items import held, stack
from .rows import Rows


@checked
def pyramid(data: Data, resolutions: Annotated[int, Range(1, 8)] = 2, scale: Positive = 0.5) -> Data:
    """Data whose items are the pictures of other data at several resolutions, each with noise of its own.

    With the means x_r of a picture over squares, of side d / 2^(R - r), and x_R the picture, an item is their pyramid
    (`spaces.Pyramid`), and a model of it denoises and draws all at once: under one SDE

        z_r(t) = alpha_t b_r x_r + sigma_t eps_r,    b_r = scale^(r - 1)

    so that resolution r has the schedule of the smallest, moved by 2 log b_r (`Shifted`): at 1/2 the noise of a square
    of pixels hides as much as that of the pixel which is their mean.  `decode` of the data and of a model of it gives
    the largest picture, in its own values.  The x_r are functions of x_R, and of the pyramid there is no density.

    Gu, Zhai, Zhang, Susskind, Jaitly (2023), Matryoshka Diffusion Models, arXiv 2310.15111; the shift: Hoogeboom et al.
    (2023), arXiv 2301.11093.

    Arguments:
        data: of pictures (series, volumes), (C, *space).
        resolutions: how many, R; 1: the picture alone.
        scale: b of each doubling; 1: no shift.

    Returns:
        A `Data` of shape (C', *grid), with `codec`, the `Pyramid`, and `origin`, the data of pictures.

    Raises:
        InputError: pictures that cannot be halved so often; data that is made of other data, or has scales by channel.
    """
    codec, space = Pyramid(data.shape, resolutions, data.levels), data.space
    if data.codec is not None or any(isinstance(v, Tensor) and v.ndim for v in (space.scale, space.shift)):
        words = "is made of other data" if data.codec is not None else "has a scale for each channel"
        raise InputError(f"{data.name} {words}: give pictures of one scale", "data")
    codec = replace(codec, scale=float(space.scale), shift=float(space.shift))
    sets = [
        Pyramids(part, data, codec, {name: held(part, name) for name in data.conditions})
        for part in (data.train, data.test)
    ]
    own, kinds = Affine(codec.scales(scale), 0.0), dict(data.conditions)
    return Data(f"{data.name} pyramid", *sets, own, conditions=kinds, judge=data.judge, codec=codec, origin=data)


class Pyramids(Rows):
    """The pyramids of the items of a dataset, which are made when they are asked for; of levels the middle."""

    def __init__(self, items: Dataset, data: Data, codec: Pyramid, cond: Mapping[str, Any]) -> None:
        self.items, self.data, self.codec, self.cond = items, data, codec, cond

    def __len__(self) -> int:
        return len(self.items)

    def rows(self, index: np.ndarray) -> Tensor:
        return self.codec.pack(self.data.encode(stack(self.items, torch.from_numpy(index))))
