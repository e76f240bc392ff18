"""One of several views for each item."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from ...errors import InputError
from .base import Choice, View, numbers


@dataclass(frozen=True)
class Mixed(View):
    """One of several views for each item, all alike often: one model of many tasks.

    Saharia et al. (2021), Palette, arXiv 2111.05826: one model of colourisation, inpainting, uncropping and JPEG
    restoration is about as good as one of each.

    Arguments:
        views: of one shape.

    Raises:
        InputError: no view, or one that is a mixture itself.
    """

    draws: ClassVar[bool] = True

    views: tuple[View, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "views", tuple(self.views) if isinstance(self.views, list) else self.views)
        super().__post_init__()
        if not self.views:
            raise InputError("views=[]: give one at least", "views")
        if any(isinstance(view, Mixed) for view in self.views):
            raise InputError("views has a Mixed: name its views beside the others", "views")

    @property
    def levels(self) -> bool:
        """Whether one of them is of values with levels."""
        return any(view.levels for view in self.views)

    def of(self, shape):
        shapes = [view.of(shape) for view in self.views]
        if other := [k for k, one in enumerate(shapes) if one != shapes[0]]:
            k = other[0]
            said = f"{type(self.views[0]).__name__} is {shapes[0]} and {type(self.views[k]).__name__} is {shapes[k]}"
            raise InputError(f"views: of items {shape} {said}: give views of one shape", "views")
        return shapes[0]

    def __call__(self, x, index, seed):
        chosen = self.which(index, seed).to(x.device)
        out = x.new_empty(len(x), *self.of(tuple(x.shape[1:])))
        for k, view in enumerate(self.views):
            rows = (chosen == k).nonzero()[:, 0]
            if len(rows):
                out[rows] = view(x[rows], index[rows.to(index.device)], seed)
        return out

    def which(self, index: torch.Tensor, seed: int) -> torch.Tensor:
        """The number of the view of each of the items `index` (B,), by the seed: (B,)."""
        return (numbers(index, 1, seed, Choice.VIEW)[:, 0] * len(self.views)).long()
