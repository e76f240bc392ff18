"""What images come with: the folders that they lie in, and the rows of metadata.csv or metadata.jsonl beside them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ....conditions import Label
from ....errors import InputError
from ...checks import reason
from ...offered import Offered, Wanted, offer
from ..arrays import text

METADATA = ("metadata.csv", "metadata.jsonl")
SPLITS = ({"train", "test"}, {"train", "validation"})
NAMES = {"train", "test", "validation", "val", "valid"}  # of folders that are no classes
TEXTS = ("text", "caption")  # columns whose words are text, as Hugging Face's imagefolder has them
KEY = "file_name"  # the column with the path of the image, from the folder of the metadata


@dataclass(frozen=True)
class Parts:
    """The folders to which paths are relative, and the places of the two splits where these are folders."""

    bases: tuple[Path, ...]
    index: tuple[np.ndarray, np.ndarray] | None = None
    notes: tuple[str, ...] = ()


def parts(paths: Sequence[Path], root: Path) -> Parts:
    """How images are split by the folders that they lie in: train/ and test/ (or validation/), if all lie in these."""
    first = _tops(paths, (root,))
    found = {*first} if None not in first else set()
    if found not in SPLITS:
        if len(found) > 1 and found <= NAMES:
            words = f"{', '.join(sorted(found))} are read as one set, and split by test"
            return Parts((root,), None, (f"{words}: only train with test, or with validation, are splits",))
        return Parts((root,))
    names = ["train", *(found - {"train"})]
    index = tuple(np.array([i for i, top in enumerate(first) if top == name]) for name in names)
    note = f"the folders {' and '.join(names)} are the splits, {' and '.join(str(len(i)) for i in index)} images"
    return Parts(tuple(root / name for name in names), index, (note,))


@dataclass(frozen=True)
class Given:
    """Conditions of images, the files of metadata that they are of, and notes on these."""

    found: Offered
    files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


def read(
    paths: Sequence[Path],
    root: Path,
    bases: Sequence[Path],
    wanted: Wanted,
    train: np.ndarray,
    caption: str | None = None,
) -> Given:
    """The conditions of the images at these paths.

    Arguments:
        bases: the folders with classes below them; there, and in root, metadata may be.
        wanted, train, caption: see `offer`.

    Raises:
        InputError: metadata that cannot be read or names a file twice; whatever `offer` raises.
    """
    if wanted is not None and not len(wanted) and caption is None:
        return Given(Offered({}, {}))
    held = _Held(paths)
    for folder in dict.fromkeys((root, *bases)):
        held.add(folder)
    offered, notes = held.columns(), held.notes()
    tops = _tops(paths, bases)
    names = sorted({*tops}) if None not in tops else []
    if len(names) > 1 and not {*names} <= NAMES:
        if "label" in offered:
            notes.append("label is that of the metadata, not of the folders")
        else:
            kind = Label(len(names), tuple(names))
            offered = {"label": lambda: (np.array(tops, dtype=object), kind), **offered}
    source = " and ".join(map(str, held.files)) or f"{root} (no {' or '.join(METADATA)}, no folders of classes)"
    found = offer(offered, wanted, train, len(paths), source, True, caption, TEXTS)
    return Given(found, tuple(held.files), tuple(notes))


def _tops(paths: Sequence[Path], bases: Sequence[Path]) -> list[str | None]:
    """Of each path the first folder below its base; None where it lies in the base itself."""
    found = []
    for path in paths:
        base = next(base for base in bases if path.is_relative_to(base))
        inner = path.relative_to(base).parts
        found.append(inner[0] if len(inner) > 1 else None)
    return found


@dataclass
class _Held:
    """Metadata, by the paths of images."""

    paths: Sequence[Path]
    rows: dict[Path, dict[str, Any]] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)
    other: list[str] = field(default_factory=list)

    def add(self, base: Path) -> None:
        """Reads the metadata in a folder, if there is any."""
        found = [base / name for name in METADATA if (base / name).is_file()]
        if len(found) > 1:
            raise InputError(f"{base} has {METADATA[0]} and {METADATA[1]}: keep one, or say cond=[] to read neither")
        for file in found:
            rows = _rows(file)
            if not any(KEY in row for row in rows):
                self.other.append(f"{file.name} has no column {KEY}, and is not read")
                continue
            self.files.append(file)
            for row in rows:
                name = row.pop(KEY, None)
                place = base / str(name)
                if not name or place in self.rows:
                    words = f"names {name} again" if name else f"has a row without {KEY}"
                    after = f", after {self.files[0]}" * bool(name and len(self.files) > 1)
                    raise InputError(f"{file} {words}{after}: give each image one row, or say cond=[] to read none")
                self.rows[place] = row

    def columns(self) -> dict[str, Callable[[], np.ndarray]]:
        """By name what gives the values of all images."""
        names = dict.fromkeys(name for row in self.rows.values() for name in row)
        return {name: partial(self._column, name) for name in names}

    def notes(self) -> list[str]:
        """Files without rows, and rows without files."""
        lacking = sum(path not in self.rows for path in self.paths) if self.files else 0
        more = len(self.rows.keys() - {*self.paths})
        notes = [*self.other, f"{lacking} of {len(self.paths)} images have no row in the metadata" * bool(lacking)]
        notes.append(f"{more} of {len(self.rows)} rows of the metadata name no image that was taken" * bool(more))
        return [note for note in notes if note]

    def _column(self, name: str) -> np.ndarray:
        values = [self.rows.get(path, {}).get(name) for path in self.paths]
        numbers = [text.number(v) if isinstance(v, str) else np.nan if v is None else None for v in values]
        found = np.empty(len(values), dtype=object)  # whose entries may be lists
        found[:] = values if None in numbers else numbers
        return found


def _rows(file: Path) -> list[dict[str, Any]]:
    """The rows of a file, of a .csv as text."""
    try:
        words = file.read_text(encoding="utf-8-sig")
        if file.suffix == ".csv":
            return [{k: v for k, v in row.items() if k} for row in csv.DictReader(io.StringIO(words, newline=""))]
        return [_row(i + 1, line) for i, line in enumerate(words.split("\n")) if line.strip()]
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{file} cannot be read ({reason(error)}): repair it, or say cond=[] to do without") from error


def _row(number: int, line: str) -> dict[str, Any]:
    """A line of a .jsonl.  Raises `ValueError` for one that is none."""
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ValueError(f"line {number}: {getattr(error, 'msg', error)}") from error
    if not isinstance(row, dict):
        raise ValueError(f"line {number} is no object {{...}}")
    return row
