"""The task that compares: the figures of many runs in one table with intervals, one picture and one CSV file."""

import glob
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from .. import pictures
from ..config import build
from ..errors import InputError
from ..report.figures import drop_constant, floors, label, shown
from ..report.sweep import keep
from ..run import Task
from ..settings import Range, check, nearest
from ..tracking import tables
from ..tracking.report import plain, say
from .figures import Row, average, rows
from .page import leave

USUAL = (
    *("likelihood.bits_per_dim", "likelihood.nats", "likelihood.bound_bits_per_dim", "evaluate.frechet"),
    *("evaluate.kid", "evaluate.precision", "evaluate.recall", "evaluate.c2st", "evaluate.evaluations"),
    *("evaluate.seconds", "sample.evaluations", "sample.seconds_per_sample", "likelihood.evaluations"),
    *("train.validation", "train.seconds"),
)
ASIDE = ("step", "seed", "n", "parameters", "examples", "lr")  # told by the other columns, or no figure of merit


@dataclass(frozen=True)
class Compare(Task):
    """One table, one picture and one CSV of the runs in `runs`: compare.csv and compare.png.

    `figures` by name, or the usual ones; rows that differ in the key `over` alone become their mean; intervals at the
    `level`; written to the folder `to`.
    """

    alone: ClassVar[bool] = True

    figures: tuple[str, ...] | None = None
    over: str | None = None
    level: Annotated[float, Range(above=0, below=1)] = 0.95
    to: str | None = None

    def __call__(self, config: DictConfig) -> None:
        compare(config, self)


def compare(config: DictConfig, task: Compare) -> None:
    """Does what `Compare` says.  Raises `InputError` where there is nothing to read."""
    check("runs", _plain(config.runs), str | tuple[str, ...] | None)
    if not config.runs:
        raise InputError("runs is not set: say runs=FOLDER, runs=[FOLDER,FOLDER] or runs='FOLDER/*'")
    given = [config.runs] if isinstance(config.runs, str) else list(OmegaConf.to_container(config.runs))
    folders = _folders(given)
    found = [row for folder in folders for row in rows(folder, task.level)]
    if not found:
        raise InputError(f"runs={given}: no summary.json was found there: give folders of sweeps, models or results")
    if task.over is not None:
        found = average(found, task.over, task.level)
    drop_constant(found)
    to = Path(task.to) if task.to else folders[0] if len(folders) == 1 else None
    to = to or Path(config.out) / f"compare-{build.short_hash(sorted(map(str, folders)))}"
    names = _chosen(found, task.figures)
    _write_csv(to / "compare.csv", found)
    columns = {n: [r.figures.get(n) for r in found] for n in names}
    states = [r.keys.get("state", "done") for r in found]
    pictures.intervals(to / "compare.png", [plain(label(r)) for r in found], columns, floors(found, names), states)
    keep(to, found, names, task.level)
    _print(found, names, task.level)
    say(f"\n{len(found)} rows: {to}/compare.csv, {to}/compare.png")
    leave(to)


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


def _folders(given: Iterable[str]) -> list[Path]:
    folders = []
    for name in given:
        place = Path(name).expanduser()  # which may have [ in its name
        there = [place] if place.exists() else [Path(p) for p in sorted(glob.glob(str(place)))]
        if not there:
            raise InputError(f"runs={name!r}: there is no such folder")
        folders += [p for p in there if p.is_dir()]
    return folders


def _chosen(found: list[Row], wanted) -> list[str]:
    known = list(dict.fromkeys(n for row in found for n in row.figures))
    if wanted is not None:
        for name in wanted:
            if name not in known:
                raise InputError(f"task.figures: {name} is no figure of these runs{nearest(name, known)}")
        return list(wanted)
    return [n for n in USUAL if n in known] or [n for n in known if n.rpartition(".")[2] not in ASIDE][:6]


def _write_csv(path: Path, found: list[Row]) -> None:
    keys = list(dict.fromkeys(k for row in found for k in row.keys))
    names = list(dict.fromkeys(n for row in found for n in row.figures))
    ends = {n for n in names if any(r.figures[n].low is not None for r in found if n in r.figures)}
    columns = [c for n in names for c in ([n, f"{n}_low", f"{n}_high"] if n in ends else [n])]
    rows = []
    for row in found:
        values = {}
        for name, figure in row.figures.items():
            values |= {name: figure.value, f"{name}_low": figure.low, f"{name}_high": figure.high}
        rows.append([*(row.keys.get(k) for k in keys), *(values.get(c) for c in columns)])
    tables.write_csv(path, [*keys, *columns], rows)


def _print(found: list[Row], names: list[str], level: float) -> None:
    table = Table(box=None, pad_edge=False, title=f"[..]: intervals at {100 * level:g} %", title_justify="left")
    keys = list(dict.fromkeys(k for row in found for k in row.keys))
    for key in keys:
        table.add_column(plain(key), no_wrap=True)
    for name in names:
        table.add_column(plain(name).replace(".", "\n", 1), justify="right", no_wrap=True)
    for row in found:
        table.add_row(*(plain(row.keys.get(k, "")) for k in keys), *(shown(row.figures.get(n)) for n in names))
    if (floor := floors(found, names)) and keys:
        table.add_row("real data", *[""] * (len(keys) - 1), *(shown(floor.get(n)) for n in names))
    width = None if Console().is_terminal else 400  # in a file or a pipe no column is cut
    Console(highlight=False, width=width, markup=False, emoji=False).print(table)
