"""Whether the samples of each stage are what they were told to be, by the judges of the data of their models."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...cascade import Stage
from ...conditions import Kind
from ...data import Data, collate
from ...errors import InputError
from ...tracking.report import columns
from ..evaluate import judge
from .settings import Maker


def judging(maker: Maker, folder: Path) -> Data:
    """The data of the last stage's model, whose held-out items say what samples are told.

    Raises:
        InputError: it has no judge.
    """
    data = maker.data(folder)
    if data.judge is None:
        raise InputError(f"task.judge=true: {data.name} has no judge, as data=scenes has", "task.judge")
    return data


def held_out(data: Data, kinds: Mapping[str, Kind], n: int) -> dict[str, Tensor]:
    """The conditions of these kinds, of the first n held-out items, n rows each; of fewer items again and again."""
    names = [name for name in kinds if name in data.conditions]
    found = collate(data.test, torch.arange(n) % len(data.test), names).cond
    return {name: kinds[name].rows(name, value, n) for name, value in found.items()}


def figures(maker: Maker, folder: Path, stage: Stage, x: Tensor, cond: Mapping[str, Tensor]) -> dict[str, Any]:
    """The shares of a stage's samples that are as told, with their intervals; {} where its data has no judge."""
    data = maker.data(folder)
    found = judge.verdicts(data, stage.model.decode(x), cond)
    return judge.figures(data, found)[0]


def show(stages: Sequence[Mapping[str, Any]]) -> None:
    """Prints the shares of all stages beside those of the last one's real items, and of real items of others."""
    known = [(f"stage {i + 1}", stage["judged"]) for i, stage in enumerate(stages) if stage.get("judged")]
    if not known:
        return
    last = known[-1][1]
    names = [name for name in last if f"{name}_low" in last]
    word = lambda found, name: "" if name not in found else f"{found[name]:.3f}"
    rows = []
    for name in names:
        low, high = last[f"{name}_low"], last[f"{name}_high"]
        shares = [word(found, name) for _, found in known]
        beside = [word(last, f"{name}_{other}") for other in ("real", "chance")]
        rows.append((name.replace("_", " "), *shares, f"{low:.3f} to {high:.3f}", *beside))
    heads = [*(head for head, _ in known), "its 95 %", "real", "chance"]
    columns(None, ["as told"], heads, rows)
