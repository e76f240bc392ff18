"""Tables as CSV files, which other programs open."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..machine import files
from .report import plain

FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # and as wide as East Asian letters
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Writes a header and rows, as a whole or not at all; numbers have all their digits, None is an empty cell."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for row in (header, *rows):
        writer.writerow(["" if cell is None else _cell(str(cell)) for cell in row])
    files.write(path, lambda file: file.write(out.getvalue().encode()))


def _cell(text: str) -> str:
    """Text that a spreadsheet shows and does not run: what is no number and begins like a formula gets a quote."""
    text = " ".join(plain(text).split())
    return f"'{text}" if text.startswith(FORMULA) and not NUMBER.fullmatch(text) else text
