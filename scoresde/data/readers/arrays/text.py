"""Numbers in text: comma, semicolon or tab between them, with a line of names or without."""

from __future__ import annotations

import csv
import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

import numpy as np

from ....errors import InputError
from ...checks import reason

DELIMITERS = ("\t", ";", ",", " ")
MISSING = {"", "na", "n/a", "nan", "null", "none", "?", "-", ".", "missing", "<na>", "#n/a"}
ENCODINGS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


@dataclass
class Text:
    """What a text file holds: numbers x (N, D), NaN where there is none, and the line of each row.

    `names` of the columns, if the first line has them; `words`, for columns with text, the first and where it is;
    `cells` of the columns that were to be kept as they stand there.
    """

    x: np.ndarray
    lines: array
    names: list[str] | None = None
    words: dict[int, str] = field(default_factory=dict)
    cells: dict[int, list[str]] = field(default_factory=dict)

    def numbers(self, i: int) -> np.ndarray | str:
        """A column, or an example of its text."""
        return self.words[i] if i in self.words else self.x[:, i]

    def held(self, i: int) -> np.ndarray:
        """A column that was kept, words if there is text in it."""
        return np.array(self.cells[i], dtype=object) if i in self.words else self.x[:, i].copy()


def read(path: Path, keep: Sequence[str] = ()) -> Text:
    """The numbers of a text file, and the cells of the columns `keep` as they are.

    Raises:
        InputError: it cannot be read, is empty, or its lines are of different lengths.
    """
    try:
        with path.open("rb") as file:
            known = ENCODINGS.get(file.read(2))
        for encoding in (known,) if known else ("utf-8-sig", "latin-1"):
            try:
                return _read(path, encoding, keep)
            except UnicodeDecodeError:
                continue
    except (OSError, csv.Error, UnicodeError) as error:
        raise InputError(f"root={path} cannot be read ({reason(error)}): write it again", "root") from error
    raise InputError(f"root={path} cannot be read (it is no text): write it again", "root")


def _read(path: Path, encoding: str, keep: Sequence[str]) -> Text:
    with path.open(encoding=encoding, newline="") as file:
        start = list(islice(file, 50))
        file.seek(0)
        delimiter, skip = _delimiter(start)
        rows = _rows(islice(file, skip, None), delimiter, skip)
        names, rows = _names(rows)
        return _numbers(path, names, rows, keep)


def _rows(file: Iterator[str], delimiter: str, skipped: int) -> Iterator[tuple[int, list[str]]]:
    """The number and the cells of each line that is not blank."""
    reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True)
    for cells in reader:
        if len(cells) > 1 or (cells and cells[0].strip()):
            yield reader.line_num + skipped, cells


def _delimiter(lines: list[str]) -> tuple[str, int]:
    """What stands between the cells, and how many lines say so ('sep=;', as spreadsheets write it)."""
    said = re.fullmatch(r"\ufeff?\"?sep=(.)\"?\s*", lines[0]) if lines else None
    if said:
        return said[1], 1
    lines = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    cells = {d: [c for _, c in _rows(iter(lines), d, 0)] for d in DELIMITERS}
    widths = {d: [len(c) for c in found] for d, found in cells.items()}
    numbers = lambda d: sum(number(c if d == "," else c.replace(",", ".")) is not None for c in cells[d][-1])
    even = [d for d, w in widths.items() if w and w[0] > 1 and len({*w}) == 1]
    uneven = [d for d, w in widths.items() if w and w[-1] > 1 and d != " "]
    return (max(even, key=numbers) if even else (uneven or [","])[0]), 0


def _names(rows: Iterator[tuple[int, list[str]]]) -> tuple[list[str] | None, Iterator[tuple[int, list[str]]]]:
    """The names of the columns, if the first line has them, and the lines that follow; comments above are passed."""
    first, comment = next(rows, None), None
    while first and first[1][0].lstrip().startswith("#"):
        comment, first = first, next(rows, None)
    if comment and first and len(comment[1]) == len(first[1]) and all(number(c) is not None for c in first[1]):
        return _cleaned([comment[1][0].lstrip("# "), *comment[1][1:]]), chain([first], rows)
    second = next(rows, None) if first else None
    rows = chain([r for r in (first, second) if r], rows)
    if not first:
        return None, rows
    text = [number(c) is None for c in first[1]]
    below = [number(c) is None for c in second[1]] if second else []
    named = all(t or not c.strip() for t, c in zip(text, first[1], strict=True)) and any(text)
    years = all(t or re.fullmatch(r"\s*\d{0,4}\s*", c) for t, c in zip(text, first[1], strict=True))
    named |= years and any(t and not b for t, b in zip(text, below, strict=False))
    return (_cleaned(next(rows)[1]), rows) if named else (None, rows)


def _cleaned(names: list[str]) -> list[str]:
    return [n.strip() for n in names]


def called(names: list[str] | None, width: int) -> list[str]:
    """What each column is known by: its name, or else its number from 1."""
    return [n or str(i + 1) for i, n in enumerate(names or [""] * width)]


def _numbers(path: Path, names: list[str] | None, rows: Iterator[tuple[int, list[str]]], keep: Sequence[str]) -> Text:
    values, lines, words, width, kept = array("d"), array("q"), {}, len(names) if names else None, None
    for line, cells in rows:
        width = len(cells) if width is None else width
        if len(cells) != width:
            raise InputError(f"{path}: line {line} has {len(cells)} cells, those before it {width}: make them equal")
        lines.append(line)
        if kept is None:
            kept = {i: [] for i, n in enumerate(called(names, width)) if n in keep}
        for i, held in kept.items():
            held.append(cells[i].strip())
        try:
            values.extend([_strict(c) for c in cells])
        except ValueError:
            for i, cell in enumerate(cells):
                found = number(cell)
                if found is None:
                    words.setdefault(i, f"text ({_told(cell)} in line {line})")
                values.append(np.nan if found is None else found)
    if not lines:
        raise InputError(f"{path} has no line of numbers")
    return Text(np.frombuffer(values).reshape(len(lines), width), lines, names, words, kept)


def _strict(cell: str) -> float:
    if "_" in cell:  # which Python would take for a thousands separator
        raise ValueError(cell)
    return float(cell)


def number(cell: str) -> float | None:
    """A cell as a number, NaN where it is missing; None for text."""
    try:
        return np.nan if cell.strip().lower() in MISSING else _strict(cell)
    except ValueError:
        return None


def _told(cell: str) -> str:
    cell = cell.strip()
    comma = " has a decimal comma: write a point," if re.fullmatch(r"[+-]?\d+,\d+", cell) else ""
    return f"{cell[:20]!r}{comma}"
