"""An examination: all checks, on the same items and the same noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from ..conditions import Label, of_items
from ..data import as_data
from ..denoiser import Denoiser, device_of
from ..errors import InputError
from ..sampling import GaussianAdams, sample
from ..sde import SDE
from ..settings import Count, Seed, checked
from . import derivatives, ends, fit, strength, told, training, values
from .finding import Finding, ordered
from .material import Material
from .training import Course

SAMPLES = 128
CAUSES = (  # the first that is wrong says what to change; what follows from it is said after it
    "order of the channels",
    "range of the data",
    "average",
    "end of the training",
    "scale of the output",
    "memorisation",
    "data",
    "noise at the end",
    "noise at t_min",
    "guidance",
)
EFFECTS = ("score", "scale of the output", "average", "memorisation", "range of the data", "order of the channels")


@checked
def examine(
    model: Denoiser,
    data: Any,
    raw: Denoiser | None = None,
    guided: Denoiser | None = None,
    cond: Mapping[str, Tensor] | None = None,
    course: Course | None = None,
    n: Count = 256,
    seed: Seed = 0,
    dequantise: Literal["uniform", "none"] = "uniform",
) -> list[Finding]:
    """Is the score right?  One finding for each check, the worst first.

    Arguments:
        model: a trained `Model`, or any Denoiser.
        data: as it is given now: a `Data`, a dataset or a tensor, see `data.as_data`.
        raw: the same with the raw weights, in place of the averaged ones.
        guided: what guides it, to be looked at too.
        cond: the conditions of the guided samples; None: those of training items.
        course: how the training went.
        n: items of each split to look at.
        seed: of all noise.
        dequantise: how training placed values within their bins, "uniform" or "none".

    Returns:
        Findings; `finding.ill` where something is wrong or suspect.

    Raises:
        InputError: data of another shape than the model's, or too few items.
    """
    data = as_data(data)
    shape = getattr(model, "shape", None)
    if shape is not None and tuple(shape) != tuple(data.shape):
        raise InputError(f"data={data.name} has items {tuple(data.shape)}, and the model's are {tuple(shape)}", "data")
    if len(data.train) < 8:
        raise InputError(f"data={data.name} has {len(data.train)} training items: an examination takes 8", "data")
    names = {*model.conditions, *(guided.conditions if guided is not None else ())}
    material = Material(model.sde, data, names, n, seed, dequantise, device_of(model))
    found = _known(material) + _of_model(material, model, raw, course)
    if guided is not None:
        found.append(strength.strength(material, guided, cond))
    labels = [f.check for f in found if f.check.startswith("condition ")]
    return ordered(found, (*labels, *CAUSES), EFFECTS)


def _of_model(material: Material, model: Denoiser, raw: Denoiser | None, course: Course | None) -> list[Finding]:
    """The checks of a model; conditions first, as one that is told wrongly would be laid to the network."""
    found: list[Finding] = []
    own = "test" if len(material.test) >= 8 else "train"
    answers = lambda: {name: material.answers(model, getattr(material, name)) for name in ("test", "train")}
    given = answers()
    for name, kind in of_items(model.conditions).items():
        found.append(told.told(material, model, name, given["test"]))
        if found[-1].state == "wrong" and kind.drop and name in material.names:
            material.forget(name)
            given = answers()
    found += [values.moved(material, model.moments), values.channels(material, model)]
    found += [fit.score(material, given), fit.scale(material, model, given)]
    found += [fit.memory(material, given, _samples(material, model))]
    found += derivatives.tweedie(material, model, material.error(given[own], getattr(material, own)))
    found += [derivatives.fokker_planck(material, model)]
    return [*found, training.average(material, given[own], raw, course), training.ended(course)]


@checked
def before(
    sde: SDE, data: Any, conditions: Mapping[str, Any] | None = None, t_min: float | None = None
) -> list[Finding]:
    """What can be said before a training.

    Whether the data is scaled as a network expects it, whether the SDE begins and ends where the data asks it to, and
    whether labels tell anything.

    Arguments:
        sde: that of the training.
        data: see `examine`.
        conditions: the kinds that the model will take, by name; None: those of the data.
        t_min: where sampling ends; None: as the SDE says.

    Returns:
        Findings, the worst first.

    Raises:
        InputError: fewer than 8 training items.
    """
    data = as_data(data)
    if len(data.train) < 8:
        raise InputError(f"data={data.name} has {len(data.train)} training items: an examination takes 8", "data")
    names = data.conditions if conditions is None else conditions
    material = Material(sde, data, names)
    found = _known(material, t_min)
    found += [told.unrelated(material, k) for k in material.names if isinstance(data.conditions[k], Label)]
    return ordered(found, CAUSES, EFFECTS)


def _known(material: Material, t_min: float | None = None) -> list[Finding]:
    """What needs no model."""
    return [values.values(material), ends.prior(material), ends.start(material, t_min)]


@torch.no_grad()
def _samples(material: Material, model: Denoiser) -> Tensor | None:
    """A few samples, given the conditions of training items; None where the model diverges."""
    some = material.train.rows(SAMPLES)
    cond = {k: v for k, v in some.cond.items() if k in model.conditions}
    try:
        shape = (len(some), *material.data.shape)
        return sample(model, GaussianAdams(), shape, material.seed, cond=cond or None, progress=False)
    except FloatingPointError:
        return None
