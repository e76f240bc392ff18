"""From pixels to numbers: what a picture holds, and whether that is what a sentence says."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from .drawing import INK, masks, pictures
from .scene import MOST, SIDE, WIDTH, Scene, holds
from .words import Told, told

LEAST = 0.3  # of what a shape explains where it is drawn as it should be
LEFT = 0.1  # of what is not white, that shapes which are whole may leave
LOOSE = 2.0  # sixteenths by which a relation must hold, of the 3 that it is drawn with
ATTRIBUTES = ("number", "shape", "colour", "size", "relation", "all")


def read(raw: Tensor) -> Scene:
    """The shapes that pictures hold: those that explain most of their pixels, one after the other.

    With u = x - white, d a colour less white and a(p) the share of pixels that a shape at p covers, drawing it takes

        gain = 2 <u, a d> - |a d|^2

    off the squared error: a matched filter, the likeliest shape under Gaussian noise.  A shape counts whose gain is at
    least 0.3 |a d|^2; that of one that is drawn as it should be is |a d|^2.

    Arguments:
        raw: bytes (B, 3, side, side), side a multiple of 16.

    Returns:
        A `Scene` with up to three shapes, the clearest first, without relations.  Places are in sixteenths, floating.
    """
    unit, bank = raw.shape[-1] // SIDE, masks(raw.shape[-1])
    left, ink = raw.float() / 255 - 1, torch.tensor(INK) / 255 - 1
    found = []
    for _ in range(MOST):
        seen = torch.einsum("bcij,kc->bkij", left, ink)
        each = [_best(seen, bank[z, :, : w * unit, : w * unit], ink) for z, w in enumerate(WIDTH)]
        gain, *rest = (torch.stack(parts, 1) for parts in zip(*each, strict=True))  # (B, 2)
        gain, size = gain.max(1)
        colour, shape, y, x = (part.gather(1, size[:, None])[:, 0] for part in rest)
        there = gain > 0
        _take_off(left, there, bank[size, shape], ink[colour], y, x)
        found.append([torch.where(there, part, -1) for part in (shape, colour, size, x / unit, y / unit)])
    parts = (torch.stack(part, 1) for part in zip(*found, strict=True))
    return Scene(*parts, torch.full((len(raw), 2), -1))


def _best(seen: Tensor, bank: Tensor, ink: Tensor) -> tuple[Tensor, ...]:
    """The largest gain (B,) of shapes of one size, 0 where none counts, and its colour, shape, y and x.

    `seen` (B, colours, S, S) is <u, d>, `bank` (shapes, w, w).
    """
    match = F.conv2d(seen.flatten(0, 1)[:, None], bank[:, None]).unflatten(0, seen.shape[:2])  # (B, K, 6, T, T)
    whole = (ink.square().sum(1)[:, None] * bank.square().sum((1, 2)))[..., None, None]  # |a d|^2
    gain = 2 * match - whole
    gain = torch.where(gain >= LEAST * whole, gain, 0.0)
    most, place = gain.flatten(1).max(1)
    return most, *torch.unravel_index(place, gain.shape[1:])


def _take_off(left: Tensor, there: Tensor, share: Tensor, ink: Tensor, y: Tensor, x: Tensor) -> None:
    """Takes a shape's share (B, w, w) of its ink (B, 3) off pictures (B, 3, S, S), in place, where it is there."""
    width, side = share.shape[-1], left.shape[-1]
    offset = torch.arange(width)
    rows, columns = (y[:, None] + offset)[:, :, None], (x[:, None] + offset)[:, None]
    share = share * (there[:, None, None] & (rows < side) & (columns < side))
    place = torch.arange(len(left))[:, None, None], rows.clamp_max(side - 1), columns.clamp_max(side - 1)
    for channel in range(3):
        left[:, channel].index_put_(place, -share * ink[:, channel, None, None], accumulate=True)


def placed(raw: Tensor) -> dict[str, Tensor]:
    """Whether pictures hold their shapes whole, and in the middle, (B,) of true and false.

    `whole`: there is a shape, and those that are read leave at most a tenth of the squared difference to white: none is
    cut by the edge or blurred.  `centred`: they are whole, and the middle of what holds all of them is that of the
    picture, to half a sixteenth.

    Arguments:
        raw: bytes (B, 3, side, side).
    """
    scene = read(raw)
    square = lambda x: x.float().square().flatten(1).sum(1)
    left = square(raw.float() - pictures(scene, raw.shape[-1])) / square(raw.float() - 255).clamp_min(1)
    whole, there = (scene.count > 0) & (left <= LEFT), scene.shape >= 0
    width, centred = torch.tensor(WIDTH)[scene.size.clamp_min(0)], whole
    for place in (scene.x, scene.y):
        low, high = torch.where(there, place, SIDE).amin(1), torch.where(there, place + width, 0).amax(1)
        centred = centred & ((low + high - SIDE).abs() <= 1)
    return {"whole": whole.float(), "centred": centred.float()}


def follows(raw: Tensor, sentences: Sequence[str]) -> dict[str, Tensor]:
    """Whether pictures hold what sentences say, by attribute (B,): true or false, NaN where the sentence is silent.

    The shapes that are told of are those in the picture that they agree with most.  `number`: there are as many;
    `shape`, `colour`, `size`: all of them are right; `relation`: what is said of their places holds, by two sixteenths
    of the side; `all`: each of these.

    Arguments:
        raw: bytes (B, 3, side, side).
        sentences: B of them.

    Raises:
        InputError: a sentence that names no shape.
    """
    scene = read(raw)
    known = {sentence: told(sentence) for sentence in dict.fromkeys(sentences)}
    found = [_agrees(scene.rows(slice(i, i + 1)), known[sentence]) for i, sentence in enumerate(sentences)]
    return {name: torch.tensor([row[name] for row in found]) for name in ATTRIBUTES}


def _agrees(scene: Scene, said: Told) -> dict[str, float]:
    n, held = len(said.shapes), int(scene.count)
    names = ("size", "colour", "shape")
    seen = list(zip(*(getattr(scene, name)[0].tolist() for name in names), strict=True))[:held]
    middle = list(zip(*(part[0].tolist() for part in scene.middle), strict=True))
    best = None
    # A shape that is not there agrees with nothing.
    for order in itertools.permutations([*range(held), *[None] * max(0, n - held)], n):
        match = [
            [wanted is None or (place is not None and seen[place][k] == wanted) for k, wanted in enumerate(shape)]
            for place, shape in zip(order, said.shapes, strict=True)
        ]
        right = [_related(middle, order[0], place, r) for place, r in zip(order[1:], said.relations, strict=True)]
        score = sum(map(sum, match)), all(map(all, match)) and sum(right)  # of two alike either may be meant
        if best is None or score > best[0]:
            best = score, match, right
    _, match, right = best
    figures = {name: float(all(row[k] for row in match)) for k, name in enumerate(names)}
    for k, name in enumerate(names[:2]):
        figures[name] = figures[name] if any(shape[k] is not None for shape in said.shapes) else float("nan")
    figures["relation"] = float(all(right)) if any(r is not None for r in said.relations) else float("nan")
    figures["number"] = float(held == n)
    figures["all"] = float(all(value != 0 for value in figures.values()))
    return figures


def _related(middle: Sequence[tuple[float, float]], a: int | None, b: int | None, relation: int | None) -> bool:
    if relation is None:
        return True
    if a is None or b is None:
        return False
    dx, dy = (torch.tensor(middle[b][k] - middle[a][k]) for k in range(2))
    return bool(holds(dx, dy, LOOSE)[relation])
