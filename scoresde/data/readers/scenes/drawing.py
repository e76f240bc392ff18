"""From numbers to pixels: flat shapes on white, with soft edges."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from .scene import SIDE, WIDTH, Scene

INK = ((214, 39, 40), (44, 160, 60), (40, 90, 220), (250, 200, 20), (140, 60, 180), (30, 30, 30))  # of `COLOURS`
FINE = 32  # points along a sixteenth of the side, in each of which a shape is there or not


def pictures(scene: Scene, side: int, margin: int = 0) -> Tensor:
    """Scenes as pictures, bytes (B, 3, side, side), with a white margin of so many sixteenths around the side.

    A pixel is the mean over its area, so that a picture of 16 pixels is that of 64, made smaller.
    """
    bank, unit = masks(side), side // SIDE
    width, side = bank.shape[-1], side + 2 * margin * unit
    found = torch.full((len(scene), side + width, side + width, 3), 255.0)
    ink = torch.tensor(INK, dtype=torch.float32) - 255
    for k in range(scene.shape.shape[1]):
        rows = (scene.shape[:, k] >= 0).nonzero()[:, 0]
        shape, colour, size, x, y = (
            part[rows, k] for part in (scene.shape, scene.colour, scene.size, scene.x + margin, scene.y + margin)
        )
        place = rows[:, None, None], _pixels(unit * y, width)[:, :, None], _pixels(unit * x, width)[:, None]
        found[place] += bank[size, shape][..., None] * ink[colour][:, None, None]
    return found[:, :side, :side].round().to(torch.uint8).permute(0, 3, 1, 2).contiguous()


def _pixels(first: Tensor, width: int) -> Tensor:
    return first.long()[:, None] + torch.arange(width)


@functools.cache
def masks(side: int) -> Tensor:
    """What share of each pixel a shape covers: (2 sizes, 6 shapes, w, w), 0 beyond a small one's own width."""
    unit = side // SIDE
    found = []
    for width in WIDTH:
        n = width * FINE
        line = (2 * torch.arange(n, dtype=torch.float64) + 1) / n - 1
        inside = torch.stack(_inside(line[None].expand(n, n), line[:, None].expand(n, n))).float()
        share = inside.unflatten(1, (width * unit, -1)).unflatten(3, (width * unit, -1)).mean((2, 4))
        more = (max(WIDTH) - width) * unit
        found.append(torch.nn.functional.pad(share, (0, more, 0, more)))
    return torch.stack(found)


def _inside(x: Tensor, y: Tensor) -> list[Tensor]:
    """Which points of the square from -1 to 1, y downwards, are in each shape of `SHAPES`."""
    r, angle = (x**2 + y**2).sqrt(), torch.atan2(x, -y)  # from the top
    fifth = 2 * torch.pi / 5
    turn = torch.remainder(angle + fifth / 2, fifth) - fifth / 2  # from the nearest tip
    # The edge from a tip (radius 1, angle 0) to the notch beside it (radius 0.42, angle pi / 5).
    notch = torch.polar(torch.tensor(0.42), torch.tensor(torch.pi / 5))
    along, across = r * turn.abs().cos(), r * turn.abs().sin()
    edge = (1 - along) * notch.imag - across * (1 - notch.real)
    return [
        r <= 1,
        torch.maximum(x.abs(), y.abs()) <= 0.92,
        (x.abs() <= (y + 1) / 2) & (y <= 1),
        torch.minimum(x.abs(), y.abs()) <= 0.34,
        (r <= 1) & (r >= 0.55),
        edge >= 0,
    ]
