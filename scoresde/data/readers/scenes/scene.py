"""Which shapes lie where: numbers, drawn from a seed and an index."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from ....noise import uniform

SHAPES = ("circle", "square", "triangle", "cross", "ring", "star")
COLOURS = ("red", "green", "blue", "yellow", "purple", "black")
SIZES = ("small", "large")
RELATIONS = ("above", "below", "left of", "right of")
SIDE = 16  # of a picture, in the units of places
WIDTH = (5, 7)  # of a small and of a large shape
GAP = 1  # between two of them
MARGIN = 3  # between the middles of two shapes of which one is above the other, or left of it
MOST = 3  # shapes
TRIES = 16  # pairs of places that are tried for a third shape
DRAWN = 18 + TRIES  # numbers for each scene


@dataclass(frozen=True)
class Scene:
    """B scenes of up to three shapes: whole numbers, -1 where there is none.

    `shape`, `colour`, `size` (B, 3): places in `SHAPES`, `COLOURS`, `SIZES`; `x`, `y` (B, 3): of the left upper corner,
    in sixteenths of the side; `relation` (B, 2): the place in `RELATIONS` of what the first is to the second and to the
    third, as the sentence says it.
    """

    shape: Tensor
    colour: Tensor
    size: Tensor
    x: Tensor
    y: Tensor
    relation: Tensor

    def __len__(self) -> int:
        return len(self.shape)

    @property
    def count(self) -> Tensor:
        """How many shapes there are, (B,)."""
        return (self.shape >= 0).sum(1)

    @property
    def middle(self) -> tuple[Tensor, Tensor]:
        """x and y (B, 3) of the middles, floating."""
        half = torch.tensor(WIDTH)[self.size.clamp_min(0)] / 2
        return self.x + half, self.y + half

    def rows(self, index: Tensor | slice) -> Scene:
        """Some of them."""
        return Scene(*(getattr(self, field.name)[index] for field in fields(self)))


def holds(dx: Tensor, dy: Tensor, margin: float = MARGIN) -> Tensor:
    """Which relations (*, 4) hold of a first shape to one whose middle is further by dx to the right and dy down."""
    return torch.stack([dy >= margin, -dy >= margin, dx >= margin, -dx >= margin], -1)


def drawn(
    index: Tensor, seed: int, counts: Sequence[int], pairs: Tensor, must: Tensor | None = None, stream: int = 0
) -> Scene:
    """The scenes of these numbers.

    Arguments:
        index: (B,), the numbers of scenes.
        seed: of all.
        counts: how many shapes a scene may have, each alike often.
        pairs: (K, 2), the colours and shapes that may go together.
        must: (L, 2), those of which each scene has one at least; None: there are none.
        stream: of the numbers, so that those of the two splits are not the same.

    Returns:
        A `Scene`: no two shapes overlap, and what the sentence says is true.
    """
    u = uniform(torch.empty(len(index), DRAWN, dtype=torch.float64), index, seed, stream)
    which, pair, place, chosen, size, said, spot = u.split([1, MOST, 1, 1, MOST, 8, TRIES + 1], 1)
    count = torch.tensor(counts)[_pick(which, len(counts))]  # (B, 1)
    there = torch.arange(MOST) < count
    pair = pairs[_pick(pair, len(pairs))]
    if must is not None:
        place = (place * count.clamp_max(2)).long()  # a third may find no room
        pair = torch.where((torch.arange(MOST) == place)[..., None], must[_pick(chosen, len(must))], pair)
    size = _pick(size, len(SIZES))
    x, y, found = _places(size, count[:, 0], spot)
    scene = Scene(pair[..., 1], pair[..., 0], size, x, y, torch.full((len(index), 2), -1))
    mx, my = scene.middle
    fits = holds(mx[:, 1:] - mx[:, :1], my[:, 1:] - my[:, :1])  # (B, 2, 4)
    relation = (fits * (said.reshape(-1, 2, 4) + 1)).argmax(-1)
    there = there & (torch.arange(MOST) < found[:, None])
    gone = lambda value, here: torch.where(here, value, -1)
    parts = (gone(part, there) for part in (scene.shape, scene.colour, size, x, y))
    return Scene(*parts, gone(relation, there[:, 1:]))


def _pick(u: Tensor, n: int) -> Tensor:
    return (u * n).long()


def _places(size: Tensor, count: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Left upper corners x and y (B, 3) of shapes that do not overlap, and how many of them found a place (B,)."""
    spots = torch.cartesian_prod(torch.arange(SIDE), torch.arange(SIDE))  # (256, 2): y, x
    tables = _tables()
    kind = 2 * size[:, 0] + size[:, 1]  # of the pair
    total = torch.tensor([len(table) for table in tables])
    offset = total.cumsum(0) - total
    joint = torch.cat(tables)  # (M, 2): numbers of spots
    pick = (u[:, :TRIES] * total[kind][:, None]).long() + offset[kind][:, None]
    first, second = joint[pick].unbind(-1)  # (B, TRIES)
    a, b, c = size.unbind(1)
    third = _fits()[a[:, None], c[:, None], first] & _apart()[b[:, None], c[:, None], second]  # (B, TRIES, 256)
    able = third.any(-1) | (count < MOST)[:, None]
    attempt = able.int().argmax(1)
    rows = torch.arange(len(size))
    first, second, fits = first[rows, attempt], second[rows, attempt], third[rows, attempt]
    score = fits.cumsum(1)
    wanted = (u[:, TRIES] * score[:, -1]).long() + 1
    last = (score >= wanted[:, None]).int().argmax(1)
    places = spots[torch.stack([first, second, last], 1)]
    return places[..., 1], places[..., 0], torch.where(able.any(1), MOST, MOST - 1)


@functools.cache
def _apart() -> Tensor:
    """Whether shapes of two sizes at two spots lie within the picture and apart: (2, 2, 256, 256)."""
    spots = torch.cartesian_prod(torch.arange(SIDE), torch.arange(SIDE))
    inside = torch.stack([(spots + width <= SIDE).all(1) for width in WIDTH])  # (2, 256)
    found = torch.empty(2, 2, len(spots), len(spots), dtype=torch.bool)
    for i, a in enumerate(WIDTH):
        for j, b in enumerate(WIDTH):
            ahead = (spots[:, None] + a + GAP <= spots[None]).any(-1)
            behind = (spots[None] + b + GAP <= spots[:, None]).any(-1)
            found[i, j] = (ahead | behind) & inside[i][:, None] & inside[j]
    return found


@functools.cache
def _fits() -> Tensor:
    """The same, where a relation holds of the first to the second too."""
    spots = torch.cartesian_prod(torch.arange(SIDE), torch.arange(SIDE)).float()
    found = _apart().clone()
    for i, a in enumerate(WIDTH):
        for j, b in enumerate(WIDTH):
            dy, dx = ((spots[None] + b / 2) - (spots[:, None] + a / 2)).unbind(-1)
            found[i, j] &= holds(dx, dy).any(-1)
    return found


@functools.cache
def _tables() -> list[Tensor]:
    """For each pair of sizes the joint spots (M, 2) of two shapes."""
    return [_fits()[i, j].nonzero() for i in range(2) for j in range(2)]
