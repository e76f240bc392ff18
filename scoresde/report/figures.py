"""The figures of runs: read from their summaries, with intervals."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import NormalDist

from ..machine import files

STATUS = {"job": int, "state": str, "overrides": files.list_of(str)}
# Figures that are better when high; of those that are better when low, the beginnings of their names.
HIGH = ("nats", "bound_nats", "precision", "recall", "density", "coverage", "auroc", "round_trip_same", "accuracy")
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


def statuses(sweep: Path) -> list[dict]:
    """The status of every job in a sweep's folder, by number."""
    found = [files.read_json(p, STATUS, default=None) for p in Path(sweep).glob("*/status.json")]
    return sorted((s for s in found if s is not None), key=lambda s: s["job"])


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
    summaries = files.read_json(folder / "summary.json", default={})
    return Row(keys, figures(summaries, level) if status["state"] == "done" else {})


def figures(summaries: dict[str, dict], level: float = 0.95) -> dict[str, Figure]:
    """TASK.NAME -> its value with its interval, of all numbers in the summaries of tasks."""
    wide = NormalDist().inv_cdf((1 + level) / 2)
    found = {}
    for task, summary in summaries.items():
        flat = flatten(summary) if isinstance(summary, dict) else {}
        for name, value in flat.items():
            if not number(value) or name.endswith(("_stderr", "_low", "_high", ".stderr", ".low", ".high")):
                continue
            base, mark = (name[: -len(".value")], ".") if name.endswith(".value") else (name, "_")
            low, high = (flat.get(f"{base}{mark}{end}") for end in ("low", "high"))
            if isinstance(ends := flat.get(f"{base}_interval"), list) and len(ends) == 2:
                low, high = ends
            if not (number(low) and number(high)) and number(error := flat.get(f"{base}{mark}stderr")):
                low, high = value - wide * error, value + wide * error
            found[f"{task}.{base}"] = Figure(value, *((low, high) if number(low) and number(high) else ()))
    return found


def flatten(value: Mapping, prefix: str = "") -> dict:
    """{"a": {"b": 1}} to {"a.b": 1}."""
    found = {}
    for key, part in value.items():
        name = f"{prefix}.{key}" if prefix else str(key)
        found |= flatten(part, name) if isinstance(part, Mapping) else {name: part}
    return found


def number(value) -> bool:
    """Whether it is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def drop_constant(found: list[Row]) -> None:
    """Takes out of the rows the keys that all of them share with one value; `state` stays."""
    for key in list(dict.fromkeys(k for row in found for k in row.keys)):
        if len(found) > 1 and len({row.keys.get(key) for row in found}) == 1 and key != "state":
            for row in found:
                row.keys.pop(key, None)


def floors(found: list[Row], names: list[str]) -> dict[str, Figure]:
    """What real data has in place of the samples, where it is the same for all rows."""
    known = {n: [r.figures.get(f"{n}_floor") for r in found if n in r.figures] for n in names}
    return {n: same[0] for n, same in known.items() if same and same[0] is not None and len(set(same)) == 1}


def label(row: Row) -> str:
    """A row in a few words: what it was asked for and others were not."""
    words = [v for k, v in row.keys.items() if k not in ("job", "state", "result") and not k.startswith("n of")]
    return " ".join(words) or row.keys.get("result", row.keys.get("job", ""))


def shown(figure: Figure | None) -> str:
    """A figure for reading: its value to what its interval makes certain, and the interval."""
    if figure is None:
        return ""
    value, ends = apart(figure)
    return f"{value} {ends}".rstrip()


def apart(figure: Figure) -> tuple[str, str]:
    """The value and the interval of a figure, each for reading; "" where there is no interval."""
    if figure.low is None or figure.high is None:
        return f"{figure.value:.4g}", ""
    half = max(figure.high - figure.low, 0.0) / 2
    digits = min(max(1 - math.floor(math.log10(half)), 0), 8) if half > 0 else 4
    return f"{figure.value:.{digits}f}", f"[{figure.low:.{digits}f}, {figure.high:.{digits}f}]"
