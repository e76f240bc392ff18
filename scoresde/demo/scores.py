"""Likelihoods: of one item, and of held-out data to place it among."""

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from .. import likelihood as lik
from ..errors import InputError
from ..machine import files
from ..settings import Seed
from .subject import Subject

LN2 = math.log(2)
FEW = {64: 256, 4096: 32}  # held-out items of up to so many numbers that are scored here where no result has them; 8
LARGEST = 1 << 26  # bytes of a result that is read


@dataclass(frozen=True)
class How(lik.How):
    """How an item is scored: the settings `likelihood.*` of the command line of the same names, and its seed."""

    dequantiser: Literal["uniform", "importance", "truncated_normal", "decoder"] = "uniform"
    seed: Seed = 0


@dataclass(frozen=True)
class Held:
    """The figures (n,) of held-out items in `units`, how they were scored, and in words where they come from."""

    values: Tensor
    units: str
    how: How
    source: str

    def place(self, value: float) -> float:
        """The share of these items that are less likely than a value."""
        less = self.values < value if self.units == "nats" else self.values > value
        return float(less.double().mean())


def units(subject: Subject) -> str:
    """Bits/dim of data with levels, nats in the data's own units of other data."""
    return "nats" if subject.model.levels is None else "bits/dim"


def score(subject: Subject, raw: Tensor, cond: dict[str, Tensor] | None, how: How, first: int = 0) -> Tensor:
    """Bits/dim of raw items (B, *shape), or their nats in the data's own units, (B,):

        bits/dim = log2(levels) - (log p(x) + log q + log|det dx/dy|) / (D ln 2)

    as `task=likelihood` reports them.  `cond` are their conditions; row i has the noise of item number `first + i`.
    Raises `InputError` for a model that has no likelihood.
    """
    model, space = subject.model, subject.model.space
    t_min = lik.start_time(model.sde, how.t_min)
    flow = how.flow | {"t_min": t_min, "seed": how.seed}
    known = cond if model.conditions else None

    def density(x: Tensor) -> lik.Likelihood:
        return lik.log_likelihood(model, x.to(subject.device), offset=first, cond=known, **flow)

    if model.levels is None:
        return density(model.encode(raw)).log_prob.detach().double().cpu() + space.log_det(model.shape)
    dequantiser = how.dequantised(model.sde, t_min)
    found = dequantiser.log_prob(density, raw, space, torch.arange(first, first + len(raw)), how.seed)
    parts = {"log_prob": found.model, "dequantisation": found.dequantisation, "decoder": found.decoder}
    return _figures(subject, {k: v.detach().double().cpu() for k, v in parts.items()})


def _figures(subject: Subject, columns: dict[str, Tensor]) -> Tensor:
    nats = sum(columns.values()) + subject.model.space.log_det(subject.model.shape)
    if subject.model.levels is None:
        return nats
    return math.log2(subject.model.levels) - nats / (math.prod(subject.model.shape) * LN2)


def held(subject: Subject) -> Held:
    """Figures of held-out items: of the largest result of `task=likelihood` in the folder that these weights made and
    that can be made alike here, otherwise of a few items, computed now.

    Raises `InputError` where there is neither a result nor data.
    """
    found = (
        [_result(subject, path.parent) for path in sorted(subject.folder.glob("likelihood-*/summary.json"))]
        if (subject.folder is not None)
        else []
    )
    known = [result for result in found if result is not None]
    return max(known, key=lambda result: len(result.values)) if known else _few(subject)


def _few(subject: Subject) -> Held:
    size = math.prod(subject.model.shape)
    most = next((n for least, n in FEW.items() if size <= least), 8)
    n = most if subject.data is None else min(most, len(subject.data.test))
    raw, cond = subject.held_out(range(n))
    values = score(subject, raw, cond, How())
    values = values[values.isfinite()]
    if not len(values):
        raise InputError("none of the held-out items has a finite likelihood")
    words = f"{len(values)} held-out items (the first ones, scored now; task=likelihood scores all of them)"
    return Held(values, units(subject), How(), words)


def _result(subject: Subject, folder: Path) -> Held | None:
    """What a folder of `task=likelihood` has; None for other weights, other items, and what is not made alike here."""
    needs = {"split": str, "weights": str, "n": int}
    said = files.read_json(folder / "summary.json", needs, default=None)
    path = folder / "likelihood.npz"
    if said is None or said["split"] != "test" or said["weights"] != subject.model.weights or said.get("control"):
        return None
    try:
        how = How(**{f.name: said[f.name] for f in fields(How) if f.name in said})
        with files.reading(path) as file:
            if file.seek(0, 2) > LARGEST:
                return None
            file.seek(0)
            with np.load(file, allow_pickle=False) as held_in:
                names = ["log_prob"] + (["dequantisation", "decoder"] if subject.model.levels else [])
                columns = {k: torch.from_numpy(np.asarray(held_in[k], dtype=np.float64)) for k in names}
        values = _figures(subject, columns)
    except Exception:  # a file that somebody else made may hold anything: there is a way without it
        return None
    values = values[values.isfinite()] if values.ndim == 1 else values[:0]
    words = f"{len(values)} held-out items of {folder.name}"
    return Held(values, units(subject), how, words) if len(values) else None
