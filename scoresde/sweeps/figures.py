"""The figures of runs: read from their summaries, with intervals, and averaged."""

import math
from dataclasses import dataclass, field
from pathlib import Path

from scipy import stats

from ..config import build
from ..config.jobs import STATUS, read, statuses
from ..errors import InputError
from ..machine import files

# Figures that are better when high; of those that are better when low, the beginnings of their names.
HIGH = ("nats", "bound_nats", "precision", "recall", "density", "coverage", "auroc", "round_trip_same")
LOW = (
    *("bits_per_dim", "bound_bits_per_dim", "frechet", "kid", "mmd", "sliced", "wasserstein", "energy", "c2st"),
    *("memorisation", "copies", "validation", "loss", "evaluations", "seconds", "error_", "round_trip"),
)


def direction(name: str) -> str | None:
    """Whether a figure, TASK.NAME, is better high ("maximize") or low ("minimize"); None where that is not known."""
    name = name.rpartition(".")[2]
    return "maximize" if name in HIGH else "minimize" if name.startswith(LOW) else None


@dataclass(frozen=True)
class Figure:
    """A value, and the ends of its confidence interval where one is known."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass
class Row:
    """What was asked for, by key, and the figures that came of it."""

    keys: dict[str, str]
    figures: dict[str, Figure] = field(default_factory=dict)


def rows(folder: Path, level: float = 0.95) -> list[Row]:
    """The rows of a folder: one a job of a sweep, one a result beneath a model, or one for a job or a result itself.

    Figures get the interval at the `level` that they were stored with: `X_low` and `X_high`, `X_interval`, or by the
    normal distribution from `X_stderr`.
    """
    if jobs := statuses(folder):
        return [_job(folder / str(s["job"]), s, level) for s in jobs]
    if status := files.read_json(folder / "status.json", STATUS, default=None):
        return [_job(folder, status, level)]
    found = []
    for path in [folder / "summary.json", *sorted(folder.glob("*/summary.json"))]:
        summary = files.read_json(path, {"task": str}, default=None)
        if summary is None:
            continue
        model = path.parent if summary["task"] == "train" else path.parent.parent
        keys = {"model": model.name, "result": summary["task"] if path.parent == model else path.parent.name}
        keys |= {k: str(summary[k]).partition("(")[0] for k in ("sampler", "seed") if k in summary}
        found.append(Row(keys, figures({summary["task"]: summary}, level)))
    return found


def _job(folder: Path, status: dict, level: float) -> Row:
    keys = {"job": str(status["job"]), **dict(w.lstrip("+").split("=", 1) for w in status["overrides"] if "=" in w)}
    keys["state"] = status["state"]
    return Row(keys, figures(read(folder / "summary.json"), level) if status["state"] == "done" else {})


def figures(summaries: dict[str, dict], level: float = 0.95) -> dict[str, Figure]:
    """TASK.NAME -> its value with its interval, of all numbers in the summaries of tasks."""
    wide = float(stats.norm.ppf((1 + level) / 2))
    found = {}
    for task, summary in summaries.items():
        flat = build.flatten(summary) if isinstance(summary, dict) else {}
        for name, value in flat.items():
            if not _number(value) or name.endswith(("_stderr", "_low", "_high", ".stderr", ".low", ".high")):
                continue
            base, mark = (name[: -len(".value")], ".") if name.endswith(".value") else (name, "_")
            low, high = (flat.get(f"{base}{mark}{end}") for end in ("low", "high"))
            if isinstance(ends := flat.get(f"{base}_interval"), list) and len(ends) == 2:
                low, high = ends
            if not (_number(low) and _number(high)) and _number(error := flat.get(f"{base}{mark}stderr")):
                low, high = value - wide * error, value + wide * error
            found[f"{task}.{base}"] = Figure(value, *((low, high) if _number(low) and _number(high) else ()))
    return found


def _number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


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
