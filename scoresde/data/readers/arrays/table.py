"""Tables: columns of numbers with names, of a .csv or a .parquet file or of a table in memory, as one matrix."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from numbers import Real
from pathlib import Path

import numpy as np

from ....errors import InputError
from ....settings import brief
from ...checks import reason
from . import text

SUFFIXES = (".csv", ".tsv", ".parquet")
Columns = Mapping[str, Callable[[], np.ndarray | str]]  # an array of numbers, or what a column has in place of them


@dataclass(frozen=True)
class Column:
    """A column of a table: called, its numbers, or what it has in place of them; `get` gives it as it is held."""

    get: Callable[[], np.ndarray]

    def __call__(self) -> np.ndarray | str:
        return _numbers(self.get)


@dataclass(frozen=True)
class Table:
    """A matrix (N, D) with names of its columns; `exact`: whether every number is what was given, to the last bit.

    `beside`: columns that are not in it, as numbers or words.
    """

    x: np.ndarray
    columns: tuple[str, ...] | None
    exact: bool = True
    notes: tuple[str, ...] = ()
    beside: Mapping[str, Callable[[], np.ndarray]] = field(default_factory=dict)


def read(path: Path, columns: Sequence[str | int] | None, missing: str, cond: Sequence[str] = ()) -> Table:
    """The table of a .csv, .tsv or .parquet file, without the columns `cond`, which are beside it.

    Raises:
        InputError: it cannot be read, has no such columns, has text in place of numbers, lacks numbers (unless missing
            is "drop").
    """
    if path.suffix.lower() == ".parquet":
        return from_columns(_parquet(path), columns, str(path), cond)
    found = text.read(path, cond)
    names = text.called(found.names, found.x.shape[1])
    check_names(names, str(path))
    notes, left = (), set()
    if columns is None:
        left, notes = _unnamed(found)
    everything = {n: partial(found.numbers, i) for i, n in enumerate(names) if i not in left}
    own = chosen(everything, cond, str(path), "cond") if cond else []
    beside = {n: partial(found.held, names.index(n)) for n in own}
    everything = _without(everything, own, columns)
    index = [names.index(n) for n in chosen(everything, columns, str(path))]
    words = {names[i]: found.words[i] for i in index if i in found.words}
    if words:
        raise _texts(words, everything, str(path))
    x = found.x if index == list(range(len(names))) else found.x[:, index]
    if missing == "error" and np.isnan(x).any():
        row, at = (int(v) for v in np.argwhere(np.isnan(x))[0])
        where = f"row {row} (line {found.lines[row]} of the file), column {names[index[at]]}"
        cure = "fill it, or leave such rows out by missing=drop"
        raise InputError(f"{path}: {int(np.isnan(x).sum())} numbers are missing, first in {where}: {cure}")
    return Table(x, tuple(names[i] for i in index) if found.names else None, False, notes, beside)


def _without(found: Columns, own: Sequence[str], columns: Sequence[str | int] | None) -> Columns:
    """The columns that are left for x.  Raises `InputError` if there are none, or for one that x is to have too."""
    for n in own:
        if n in [str(c) for c in columns or ()]:
            raise InputError(f"cond={brief([*own])}: {n} is among columns={brief(columns)} too: name it once", "cond")
    if left := {n: get for n, get in found.items() if n not in own}:
        return left
    raise InputError(f"cond={brief([*own])}: these are all columns: leave one for the items themselves", "cond")


def _unnamed(found: text.Text) -> tuple[set[int], tuple[str, ...]]:
    """Columns that are no data: an empty one after the last delimiter, and the row numbers that pandas writes."""
    left, notes, x = set(), [], found.x
    last = x.shape[1] - 1
    if last and not (found.names and found.names[last]) and last not in found.words and np.isnan(x[:, last]).all():
        left.add(last)
        notes.append("the empty column at the end of each line is left out")
    if found.names and found.names[0] in ("", "Unnamed: 0") and (x[:, 0] == np.arange(len(x))).all() and last:
        left.add(0)
        notes.append("the first column, without a name, counts the rows and is left out")
    return left, tuple(notes)


def chosen(found: Columns, columns: Sequence[str | int] | None, name: str, setting: str = "columns") -> list[str]:
    """The names of the columns to keep, which a setting gives.

    Raises:
        InputError: one of them is not there, or is asked for twice.
    """
    if columns is None:
        return list(found)
    wanted = [str(c) for c in columns]
    for c in wanted:
        if c not in found:
            near = difflib.get_close_matches(c, found, 1, 0.5)
            meant = f"did you mean {near[0]}? " if near else ""
            words = f"{name} has no {c}: {meant}it has {_listed(found)}"
            raise InputError(f"{setting}={brief(columns)}: {words}", setting)
    if not wanted or len({*wanted}) < len(wanted):
        raise InputError(f"{setting}={brief(columns)}: name each column once, and at least one", setting)
    return wanted


def from_columns(found: Columns, columns: Sequence[str | int] | None, name: str, cond: Sequence[str] = ()) -> Table:
    """The chosen columns, side by side in the type that holds all of them, without those of `cond`.

    Raises:
        InputError: no such column, columns of different lengths, a column that holds no numbers.
    """
    index = [n for n in found if n.startswith("__index_level_") and columns is None]  # as pandas writes it
    notes = tuple(f"the column {n} counts the rows and is left out" for n in index)
    found = {n: get for n, get in found.items() if n not in index}
    beside = {n: found[n].get for n in (chosen(found, cond, name, "cond") if cond else ())}
    found = _without(found, list(beside), columns) if cond else found
    names = chosen(found, columns, name)
    made = {n: found[n]() for n in names}
    words = {n: v for n, v in made.items() if isinstance(v, str)}
    if words:
        raise _texts(words, {n: f for n, f in found.items() if n not in words}, name)
    if not names or len({len(v) for v in made.values()}) > 1:
        raise InputError(f"{name} has columns of {sorted({len(v) for v in made.values()})} rows: must be one number")
    kind = np.result_type(*(v.dtype for v in made.values()))
    exact = kind.kind != "f" or not any(v.dtype.kind in "iu" and v.dtype.itemsize == 8 for v in made.values())
    masked = any(np.ma.getmaskarray(v).any() for v in made.values())
    x = (np.ma.empty if masked else np.empty)((len(made[names[0]]), len(names)), kind)
    for i, n in enumerate(names):
        x[:, i] = made.pop(n)
    return Table(x, tuple(names), exact, notes, beside)


def is_table(x) -> bool:
    """Whether x is a table with named columns that `columns_of` takes, and no plain array or dict."""
    pyarrow = hasattr(x, "column_names") and hasattr(x, "schema") and hasattr(x, "column")
    structured = isinstance(x, np.ndarray) and bool(x.dtype.names)
    return structured or pyarrow or hasattr(x, "iloc") or hasattr(x, "get_column")


def columns_of(x, name: str) -> Columns:
    """The columns of a pandas, polars or pyarrow table, of a structured array or of a dict.

    Raises:
        InputError: it is none of these, or two columns have one name.
    """
    if isinstance(x, np.ndarray) and x.dtype.names:
        pairs = [(n, partial(x.__getitem__, n)) for n in x.dtype.names]
    elif isinstance(x, Mapping):
        pairs = [(n, partial(np.asanyarray, v)) for n, v in x.items()]
    elif is_table(x) and hasattr(x, "column_names"):  # pyarrow
        pairs = [(n, partial(_arrow, x, i)) for i, n in enumerate(x.column_names)]
    elif hasattr(x, "iloc"):  # pandas
        pairs = [(n, partial(_pandas, x, i)) for i, n in enumerate(x.columns)]
    elif hasattr(x, "get_column"):  # polars
        pairs = [(n, x.get_column(n).to_numpy) for n in x.columns]
    else:
        raise InputError(f"{name} is a {type(x).__name__}: give a table with named columns, or say from_tensor")
    names = [str(n) for n, _ in pairs]
    check_names(names, name)
    return {str(n): Column(get) for n, get in pairs}


def check_names(names: Sequence[str], name: str) -> None:
    """InputError if two columns have one name."""
    for n in names:
        if names.count(n) > 1:
            raise InputError(f"{name} has {names.count(n)} columns of the name {n!r}: rename all but one")


def _numbers(get: Callable[[], np.ndarray]) -> np.ndarray | str:
    """A column as numbers, None as NaN; an example of what it holds if it holds something else."""
    found = get()
    if found.ndim != 1:
        return f"arrays of shape {found.shape[1:]}"
    if found.dtype.kind != "O":
        return found if found.dtype.kind in "biuf" else f"{found[0]!s:.20} ({found.dtype})" if len(found) else "nothing"
    gap = lambda v: v is None or type(v).__name__ == "NAType"
    odd = next((v for v in found if not (gap(v) or isinstance(v, (Real, Decimal)))), None)
    return np.array([np.nan if gap(v) else float(v) for v in found]) if odd is None else f"{brief(odd, 20)}"


def _pandas(x, i: int) -> np.ndarray:
    column = x.iloc[:, i]
    nullable = not isinstance(column.dtype, np.dtype) and getattr(column.dtype, "kind", "O") in "biuf"
    return column.to_numpy(np.float64, na_value=np.nan) if nullable and column.isna().any() else column.to_numpy()


def _arrow(x, i: int) -> np.ndarray:
    """A column of a pyarrow table; whole numbers with gaps become float64, decimals too."""
    column, kind = x.column(i), str(x.schema.field(i).type)
    if kind.startswith("decimal") or (column.null_count and kind.startswith(("int", "uint", "bool"))):
        column = column.cast("float64") if kind != "bool" else column.cast("int8").cast("float64")
    return column.to_numpy()


def _parquet(path: Path) -> Columns:
    """The columns of a .parquet file, each read when it is asked for."""
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise InputError(f"root={path}: .parquet files need pyarrow: pip install pyarrow", "root") from error
    try:
        file = parquet.ParquetFile(path)
        names = file.schema_arrow.names
    except Exception as error:
        raise InputError(f"root={path} cannot be read ({reason(error)}): write it again", "root") from error
    check_names(names, str(path))

    def column(n: str) -> np.ndarray:
        try:
            return _arrow(file.read(columns=[n]), 0)
        except Exception as error:
            raise InputError(f"root={path} cannot be read ({reason(error)}): write it again", "root") from error

    return {n: Column(partial(column, n)) for n in names}


def _texts(words: dict[str, str], found: Columns, name: str) -> InputError:
    """The error of columns that hold no numbers, with those that do."""
    some = ", ".join(f"{n} holds {v}" for n, v in list(words.items())[:3]) + (", ..." if len(words) > 3 else "")
    good = [n for n in found if n not in words and not isinstance(found[n](), str)] if len(found) <= 100 else []
    good = [n if re.fullmatch(r"[\w. -]+", n) else repr(n) for n in good]
    cure = f"choose columns of numbers, columns=[{', '.join(good)}]" if good else "columns must hold numbers"
    return InputError(f"{name}: {some}: {cure}")


def _listed(found: Columns) -> str:
    names = list(found)
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
