"""Tables as CSV files, which other programs open."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from . import checkpoint


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Writes a header and rows, as a whole or not at all; None is an empty cell, and no text starts a formula.

    Numbers have all their digits.  Text that a spreadsheet would take for a formula (= + - @ at its start, a number
    aside) gets an apostrophe in front: names may come from files of other people (OWASP, CSV injection).
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for row in (header, *rows):
        writer.writerow(["" if cell is None else _cell(str(cell)) for cell in row])
    checkpoint.write(path, lambda file: file.write(out.getvalue().encode()))


def _cell(text: str) -> str:
    if not text.startswith(("=", "+", "-", "@", "\t", "\r")):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text
