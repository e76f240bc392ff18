"""Pictures that a model is told, made noisy or blurred in training: noise-conditioning augmentation."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ...conditions import Corruption, Kind, Picture


def pictures(kinds: Mapping[str, Kind]) -> list[str]:
    """The names of the conditions that are pictures of items."""
    return [name for name, kind in kinds.items() if isinstance(kind, Picture) and kind.of_items]


def corrupted(
    kinds: Mapping[str, Kind], name: str, cond: Mapping[str, Tensor], size: int, part: slice
) -> dict[str, Tensor]:
    """The pictures of a step, each row as noisy or blurred as a number s ~ U(0, most) of its own, which is told.

    Ho et al. (2021), Cascaded Diffusion Models, arXiv 2106.15282, section 4.2.

    Arguments:
        kinds: the model's conditions, of which `name` is the `Corruption`.
        name: of the condition that tells s.
        cond: the rows' conditions.
        size: of the whole batch, over all processes, whose numbers are drawn by torch's generator.
        part: which rows of it these are.

    Returns:
        The pictures (B, C, *space) by name, and s (B, 1).
    """
    kind = kinds[name]
    assert isinstance(kind, Corruption)
    told = {k: cond[k] for k in pictures(kinds) if k in cond}
    device = next(iter(told.values())).device
    s = kind.most * torch.rand(size, 1, device=device)[part]
    for k, z in told.items():
        noise = torch.randn(size, *z.shape[1:], dtype=z.dtype, device=device)[part] if kind.by == "noise" else None
        told[k] = kind.corrupted(z, s, noise)
    return {**told, name: s}
