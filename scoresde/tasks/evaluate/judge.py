"""Whether samples are what they were told to be, by the data's own judge."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ...data import Data, collate
from ...metrics.estimate import student, wilson

REAL = 1000  # held-out items that the judge sees too


def verdicts(data: Data, raw: Tensor, cond: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """What the data's judge says of raw items that were told `cond`, by attribute (B,); nothing where there is none."""
    return {} if data.judge is None or not cond else data.judge(raw, cond)


def joined(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The verdicts of all parts."""
    return {name: torch.cat([part[name] for part in parts]) for name in (parts[0] if parts else ())}


def figures(data: Data, found: Mapping[str, Tensor]) -> tuple[dict, list[tuple[str, str]]]:
    """The share of samples that are right, by attribute, and the rows of a table.

    Beside them stand that of held-out items, and of the same items with the conditions of others: what chance gives.
    """
    if not found:
        return {}, []
    real = collate(data.test, range(min(REAL, len(data.test))), data.conditions)
    floor = data.judge(real.x, real.cond)
    # By two, as items may differ by turns.
    chance = data.judge(real.x, {name: value.roll(2, 0) for name, value in real.cond.items()})
    words = "share that is as told (95 % interval); that of real items; of real items of other conditions"
    numbers, rows = {}, [("", words)]
    for name, value in found.items():
        known = value[~value.isnan()]
        if not len(known):
            continue
        right, n = float(known.mean()), len(known)
        low, high = wilson(right, n, student(float("inf")))
        others = float(floor[name].nanmean()), float(chance[name].nanmean())
        numbers |= {name: right, f"{name}_low": low, f"{name}_high": high, f"{name}_n": n}
        numbers |= {f"{name}_real": others[0], f"{name}_chance": others[1]}
        words = f"{right:.3f} ({low:.3f} to {high:.3f}); real {others[0]:.3f}; chance {others[1]:.3f}"
        rows.append((name.replace("_", " "), words))
    return numbers, rows
