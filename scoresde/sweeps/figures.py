"""The figures of many runs: averaged over a key."""

import math

from scipy import stats

from ..errors import InputError
from ..report.figures import Figure, Row, direction, figures, rows

__all__ = ["Figure", "Row", "average", "direction", "figures", "rows"]


def average(found: list[Row], over: str, level: float) -> list[Row]:
    """Rows that differ in the key `over` alone become one: the mean of each figure with Student's interval.

    mean +- t_(n-1) s / sqrt(n), with s the standard deviation over the rows.  Raises `InputError` for an unknown key.
    """
    if not any(over in row.keys for row in found):
        known = ", ".join(dict.fromkeys(k for row in found for k in row.keys))
        raise InputError(f"task.over={over}: the runs have no such key; they have {known}")
    groups: dict[tuple, list[Row]] = {}
    for row in found:
        if row.figures:
            same = {k: v for k, v in row.keys.items() if k not in (over, "job", "result")}
            groups.setdefault(tuple(same.items()), []).append(row)
    result = []
    for same, members in groups.items():
        merged = Row({**dict(same), f"n of {over}": str(len(members))})
        for name in dict.fromkeys(n for m in members for n in m.figures):
            values = [m.figures[name].value for m in members if name in m.figures]
            mean, n = sum(values) / len(values), len(values)
            merged.figures[name] = (
                Figure(mean) if n > 1 else next(m.figures[name] for m in members if name in m.figures)
            )
            if n > 1:
                spread = math.sqrt(sum((v - mean) ** 2 for v in values) / (n - 1) / n)
                wide = float(stats.t.ppf((1 + level) / 2, n - 1)) * spread
                # Values that are all the same, as of a model that the rows share, say nothing of a spread.
                merged.figures[name] = Figure(mean, mean - wide, mean + wide) if spread else Figure(mean)
        result.append(merged)
    return result
