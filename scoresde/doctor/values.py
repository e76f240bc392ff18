"""Whether the data's values are those that the model was trained with, and as a network expects them."""

from __future__ import annotations

import itertools
import math

import numpy as np
from torch import Tensor

from ..data import check_data, stack
from ..denoiser import Denoiser
from ..denoiser.moments import Moments
from ..errors import InputError
from .finding import Finding, errors, judged, near, paired, unseen, well
from .material import Material

MOVED = 0.1, 0.3  # of a deviation: a mean that is elsewhere, or the logarithm of a scale
GAIN = 0.03, 0.06  # of the loss that another order of the channels saves
CHANNELS = 4  # up to which all orders are tried
MIDDLE = (3, 4, 5, 6)  # levels at which the picture matters


def values(material: Material) -> Finding:
    """Whether a network can train on the data as it is scaled, and whether the declared levels are there.

    What `data.check_data` refuses is wrong, and what it notes is suspect.
    """
    data = material.data
    try:
        notes = check_data(data)
    except InputError as error:
        return Finding("data", "wrong", str(error).split(": give ")[0], "", str(error), "")
    raw = stack(data.train, np.arange(k := min(512, len(data.train))) * len(data.train) // k)
    low, high = float(raw.min()), float(raw.max())
    figures = {"low": low, "high": high, "mean": float(material.points.mean()), "deviation": material.deviation}
    if data.levels and high - low + 1 < data.levels / 3:
        words = f"the range of the data is wrong: values are {low:g} to {high:g}, of {data.levels} levels"
        change = f"give the bytes themselves, or levels={int(high) + 1}"
        return Finding("data", "suspect", words, f"{len(raw)} items", change, f"data.levels={int(high) + 1}", figures)
    if notes:
        return Finding("data", "suspect", notes[0], f"{len(raw)} items", "", "", figures)
    words = (
        f"{len(data.train)} items {tuple(data.shape)}, mean {figures['mean']:.2g}, deviation {material.deviation:.2g}"
    )
    return well("data", words, **figures)


def moved(material: Material, moments: Moments | None) -> Finding:
    r"""The data given now against the moments of the data that the model was trained with.

    The means differ by |m' - m| / s, and the deviations by s' / s, both in the model's space; a map x -> a x + b that
    takes one to the other is named.  Chance is told by the standard errors of the means, and of s' by 1 / sqrt(2 n d),
    d = (\sum s_i^2)^2 / \sum s_i^4 directions that count.
    """
    name = "range of the data"
    if moments is None:
        return unseen(name, "the moments of the data that the model was trained with are not known")
    if tuple(moments.mean.shape) not in ((), tuple(material.data.shape)):
        return unseen(name, "the model's data has another shape")
    mine, n = material.moments, len(material.points)
    theirs = moments.deviations.expand(moments.directions if moments.mean.ndim else material.data.shape)
    s, t = material.deviation, float(theirs.square().mean().sqrt())
    away = (mine.mean - moments.mean).expand(material.data.shape)
    chance = material.points.double().flatten(1).std(0).clamp_min(1e-3 * s) / math.sqrt(n)
    shift, z_shift = float(away.square().mean().sqrt()) / t, float((away.flatten().cpu() / chance.cpu()).abs().max())
    squares = mine.deviations.expand(mine.directions).square().flatten()
    count = float(squares.sum() ** 2 / squares.square().sum())
    stretch = math.log(s / t)
    z_stretch = abs(stretch) * math.sqrt(2 * n * count)
    figures = {"scale": s / t, "shift": shift, "z": max(z_shift, z_stretch)}
    effect, z = max((abs(stretch), z_stretch), (shift, z_shift))
    state = judged(effect, *MOVED, z, 6.0)
    if state == "well":
        return well(name, f"as in training: deviation {s / t:.3f} times, mean {shift:.2g} deviations away", **figures)
    a = t / s
    b = float(moments.mean.mean() - a * mine.mean.mean())
    rest = float((a * mine.mean + b - moments.mean).square().mean().sqrt()) / t
    words = f"the data has another range than the model was trained with: its deviation is {near(s / t)} times that, "
    words += f"its mean {near(shift)} deviations away"
    fits = rest < 0.1 or rest < shift / 5
    told = f"; x -> {near(a)} x {'+-'[b < 0]} {near(abs(b))} takes it back" if fits else ""
    change = "encode it as in training (model.encode), or train on it"
    return Finding(name, state, words + told, errors(z), change, "fresh=true", figures | {"a": a, "b": b})


def channels(material: Material, denoiser: Denoiser) -> Finding:
    r"""Whether another order of the channels (of vectors the entries, up to 4) has less loss than the order given.

    The error of v at the middle levels, of each order on the same items and noise: an order counts that is better by 5
    standard errors and by 3 % of the loss.
    """
    name, shape = "order of the channels", tuple(material.data.shape)
    if not 2 <= shape[0] <= CHANNELS:
        return unseen(name, f"there are {shape[0]} channels: 2 to {CHANNELS} are tried in all orders")
    some = (material.test if len(material.test) >= 32 else material.train).rows(96)
    first, *others = itertools.permutations(range(shape[0]))
    known = _loss(material, denoiser, some.x0, some, first)
    found = []
    for order in others:
        mean, z = paired(known - _loss(material, denoiser, some.x0[:, list(order)], some, order))
        found.append((mean / float(known.mean()), z, order))
    gain, z, order = max(found)
    if judged(gain, *GAIN, z) == "well":
        return well(name, f"no other of {len(found)} orders has less loss", gain=gain, z=z)
    words = (
        f"the channels are swapped: in the order {list(order)} of the data given the loss is {100 * gain:.0f} % less"
    )
    change = f"give the channels as in training: x[:, {list(order)}]"
    return Finding(name, judged(gain, *GAIN, z), words, errors(z), change, "", {"order": list(order), "gain": gain})


def _loss(material: Material, denoiser: Denoiser, x0: Tensor, some, order) -> Tensor:
    """The error of v of each item at the middle levels (n,), with the channels in an order."""
    given = type(some)(x0, some.cond, some.first)
    found = material.error(material.answers(denoiser, given, levels=MIDDLE), given)
    return (found * material.weight[list(MIDDLE)]).mean(0)
