"""Figures of each class: samples of it against held-out items of it."""

from collections.abc import Callable

from torch import Tensor

from ... import metrics
from ...conditions import Label
from ...data import Data
from ...data.items import collate, column
from ...errors import InputError
from ...metrics import Estimate
from ...run import Run
from ...settings import nearest
from ..given import drawn_items

EACH = ("frechet", "kid")  # metrics that are taken of each class


def check(data: Data, by: str | None, drawn: bool = True) -> None:
    """Raises `InputError` unless the items come with a label of that name, and samples are drawn."""
    if by is not None and not drawn:
        raise InputError(f"task.by={by}: the classes of samples in a file are not known: leave it out", "by")
    labels = [name for name, kind in data.conditions.items() if isinstance(kind, Label)]
    if by is not None and by not in labels:
        tip = nearest(by, labels) if labels else "; its items come with none"
        raise InputError(f"task.by={by}: {data.name} has no such label{tip}", "by")


def of_samples(run: Run, by: str | None, cond: dict[str, Tensor], split: str) -> Tensor | None:
    """The classes (n,) of the samples to be: what they are given, or those of the items whose conditions they have."""
    if by is None:
        return None
    if by in cond:
        return cond[by]
    if run.plain["given"]:
        words = "give it too, or give nothing: then samples are of the classes of items"
        raise InputError(f"task.by={by}: the samples are given something else: {words}", "by")
    return collate(getattr(run.data, split), drawn_items(run, run.config.n, split), [by]).cond[by]


def figures(
    by: str, data: Data, own: Tensor, classes: Tensor, real: Tensor, names: tuple[str, ...], groups: int
) -> tuple[dict, list[tuple[str, str]]]:
    """The figures of each class, and the rows of a table.

    Arguments:
        own, classes: features (n, D) of samples, and the class of each.
        real: features (m, D) of the test items.
        names: of the metrics that are asked for.
        groups: of the jackknife, and the least items of a class.
    """
    kind, test = data.conditions[by], column(data.test, by)
    wanted: dict[str, Callable[[Tensor, Tensor], Estimate]] = {
        "frechet": lambda x, y: metrics.frechet(x, y, groups),
        "kid": metrics.kid,
    }
    wanted = {name: wanted[name] for name in EACH if name in names}
    numbers, rows, few = {}, [], []
    for k in range(kind.classes):
        x, y = own[classes == k], real[test == k]
        called = kind.names[k] if kind.names else str(k)
        if min(len(x), len(y)) < max(groups, 8):
            few.append(called)
            continue
        found = {name: make(x, y) for name, make in wanted.items()}
        for name, value in found.items():
            key = f"{name}_{by}_{called}"
            numbers |= {key: value.value, f"{key}_low": value.low, f"{key}_high": value.high}
        words = "; ".join(f"{n} {v.value:.3g} ({v.low:.3g} to {v.high:.3g})" for n, v in found.items())
        rows.append((f"{by} {called}"[:24], f"{words}; {len(x)} samples, {len(y)} items"))
    if few:
        some = ", ".join(few[:8]) + f" and {len(few) - 8} more" * (len(few) > 8)
        rows.append((by, f"fewer than {max(groups, 8)} samples or items: {some}"))
    return numbers, rows
