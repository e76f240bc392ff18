"""What a stage is told of the stage before: its samples, in this one's space, as noisy or blurred as it says."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ..conditions import Corruption, Kind, Picture
from ..denoiser import Denoiser
from ..noise import Stream, normal


def corruption(kinds: Mapping[str, Kind]) -> tuple[str, Corruption] | None:
    """The name and the kind of the condition that says how noisy or blurred pictures are; None: there is none."""
    return next(((name, kind) for name, kind in kinds.items() if isinstance(kind, Corruption)), None)


def told(
    kinds: Mapping[str, Kind], cond: Mapping[str, Tensor], s: float | Tensor, index: Tensor, seed: int
) -> dict[str, Tensor]:
    """Conditions with their pictures made as noisy or blurred as s says, and s.

    The noise of a row is a function of (seed, index), whatever is computed beside it.

    Arguments:
        kinds: the conditions of a model, with its `Corruption`.
        cond: checked conditions by name, tensors of B rows.
        s: a number, or (B, 1).
        index: the rows' numbers (B,).
        seed: of the noise.

    Returns:
        All of them by name.
    """
    found = corruption(kinds)
    if found is None:
        return dict(cond)
    name, kind = found
    s = kind.rows(name, s, len(index)).to(index.device)
    pictures = [k for k, picture in kinds.items() if isinstance(picture, Picture) and picture.of_items and k in cond]
    made = dict(cond)
    for number, k in enumerate(pictures):
        noise = normal(cond[k], index, seed, *Stream.TOLD(number)) if kind.by == "noise" else None
        made[k] = kind.corrupted(cond[k], s, noise)
    return {**made, name: s}


def handed(x: Tensor, before: Denoiser, after: Denoiser) -> Tensor:
    """A sample x (B, *shape) in the space of the model `before` as it lies in that of the model `after`.

    By the values that it stands for; of two models with levels, by the unit cube, so that black stays black.  As it is
    where the two spaces are alike, or where one of them is not known.
    """
    if alike(before, after):
        return x
    a, b = before.space, after.space
    y = a.inverse(x)
    return (b(y) if b.levels is None else b.place(y * b.levels, 0.0)).to(x)


def alike(before: Denoiser, after: Denoiser) -> bool:
    """Whether a sample of one model is in the space of the other as it is."""
    a, b = (getattr(model, "space", None) for model in (before, after))
    if a is None or b is None or (a.levels is None) != (b.levels is None):
        return True
    same = lambda u, v: torch.equal(*torch.broadcast_tensors(torch.as_tensor(u), torch.as_tensor(v)))
    return same(a.scale, b.scale) and same(a.shift, b.shift)
