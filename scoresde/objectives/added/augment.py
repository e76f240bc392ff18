"""Items turned, moved and scaled, with numbers that say how."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

SPREAD, MOVED = 0.2, 0.125  # of the logarithm to base 2 of a scale; of a shift, in sides of the picture
OF_PICTURES = 7  # numbers beside the flips


def numbers(axes: int) -> int:
    """How many numbers say how an item with so many axes of space was augmented."""
    return axes + (OF_PICTURES if axes == 2 else 0)


def augmented(x: Tensor, chance: float, size: int, part: slice) -> tuple[Tensor, Tensor]:
    """Items, each change made to a row with a chance of its own, and what was done to them.

    Flips of each axis of space; of pictures, in two axes, also a scale 2^(0.2 n), a turn by any angle, a stretch of the
    same size along any direction, and a shift by 1/8 n of a side, n normal; pixels from beyond an edge are mirrored.

    Karras et al. (2022), arXiv 2206.00364, appendix F.2.

    Arguments:
        x: (B, C, *space), in the model's space.
        chance: of each change.
        size: of the whole batch, over all processes, whose numbers are drawn by torch's generator.
        part: which rows of it these are.

    Returns:
        x (B, C, *space), to the bit as it was in rows without a change; and (B, numbers): 1 for each axis that was
        flipped, n of the scale, cos - 1 and sin of the angle, n times cos and sin of the direction, n of the shifts;
        NaN in rows without a change.
    """
    axes = x.ndim - 2
    flips = torch.rand(size, axes, device=x.device)[part] < chance
    for axis in range(axes):
        x = torch.where(flips[:, axis].reshape(-1, *[1] * (x.ndim - 1)), x.flip(2 + axis), x)
    said, any_at_all = flips.to(x.dtype), flips.any(1)
    if axes == 2:
        done = torch.rand(size, 4, device=x.device)[part] < chance
        n, angles = (
            torch.randn(size, 4, device=x.device)[part],
            2 * math.pi * torch.rand(size, 2, device=x.device)[part],
        )
        scale, turn, stretch, shift = done.to(n.dtype).unbind(1)
        along = angles[:, 1]
        n = n * torch.stack([scale, stretch, shift, shift], 1)
        angle = angles[:, 0] * turn
        x = torch.where(done.any(1).reshape(-1, 1, 1, 1), _moved(x, n, angle, along), x)
        known = [n[:, 0], angle.cos() - 1, angle.sin(), n[:, 1] * along.cos(), n[:, 1] * along.sin(), n[:, 2], n[:, 3]]
        said = torch.cat([said, torch.stack(known, 1).to(x.dtype)], 1)
        any_at_all = any_at_all | done.any(1)
    return x, torch.where(any_at_all[:, None], said, math.nan)


def _moved(x: Tensor, n: Tensor, angle: Tensor, along: Tensor) -> Tensor:
    """x (B, C, H, W) scaled, stretched, turned and shifted: each pixel is looked up where it came from."""
    height, width = x.shape[2:]
    grow, stretch = torch.exp2(SPREAD * n[:, 0]), torch.exp2(SPREAD * n[:, 1])
    back = _turn(along) @ torch.diag_embed(torch.stack([1 / stretch, stretch], 1)) @ _turn(-along) @ _turn(-angle)
    back = back / grow[:, None, None]  # in pixels; grid_sample has half sides
    sides = torch.tensor([width / 2, height / 2], device=x.device)
    back = back * sides / sides[:, None]
    origin = -back @ (2 * MOVED * n[:, 2:, None])
    grid = F.affine_grid(torch.cat([back, origin], 2).to(x.dtype), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)


def _turn(angle: Tensor) -> Tensor:
    """The rotations (B, 2, 2) by angles (B,)."""
    return torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).reshape(-1, 2, 2)
