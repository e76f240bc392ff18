"""What a person sees of a command: its progress and the closing table."""

import contextlib
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..machine import progress

WIDE = 150  # columns of a table that goes to a file or a pipe


def plain(text: str) -> str:
    """Text as a terminal may be given it: without control characters, of which it could do what it likes."""
    return "".join(c if c.isprintable() or c == "\n" else " " * c.isspace() for c in text)


def say(words: str, file=None) -> None:
    """Prints a line."""
    print(plain(words), file=file or sys.stdout, flush=True)


def called() -> str:
    """What the user types: `scoresde`, or `python run.py`."""
    name = Path(sys.argv[0]).name
    return f"python {name}" if name.endswith(".py") else name


def bar(
    console: Console, title: str, total: float | None, done: float = 0, shorter: Callable[[float], str] | None = None
) -> contextlib.AbstractContextManager[progress.Advance]:
    """`progress.bar` on the command's console; the value is a function (done, words) that moves it."""
    return progress.bar(plain(title), total, done, console, shorter)


def smaller(net: Mapping[str, Any]) -> str:
    """How to ask for half of a network: "net.channels=16 is smaller"; "" where its config has no such size."""
    sizes = [k for k in ("channels", "width") if isinstance(net.get(k), int) and net[k] > 1]
    return f"net.{sizes[0]}={net[sizes[0]] // 2} is smaller" if sizes else ""


def table(console: Console, rows: list[tuple[str, str]]) -> None:
    """The closing table: what was done, the figures, where the files are."""
    grid = Table(show_header=False, box=None, pad_edge=False)
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for row in rows:
        grid.add_row(*map(plain, row))
    console.print()
    console.print(grid)


def columns(console: Console | None, words: Sequence[str], numbers: Sequence[str], rows: list[tuple[str, ...]]) -> None:
    """A table under the names of its columns: first those of words, then those of numbers."""
    console = console or Console(highlight=False, markup=False, emoji=False)
    grid = Table(box=None, pad_edge=False)
    for name in words:
        grid.add_column(name)
    for name in numbers:
        grid.add_column(name, justify="right")
    for row in rows:
        grid.add_row(*map(plain, row))
    console.print(grid)


def graded(console: Console, rows: list[tuple[str, str, str, str]]) -> None:
    """A table of findings: (grade, its style, name, words, which may be several lines)."""
    grid = Table(show_header=False, box=None, pad_edge=False)
    grid.add_column(no_wrap=True)
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for grade, style, name, words in rows:
        grid.add_row(Text(grade, style), plain(name), plain(words))
    console.print()
    if not console.is_terminal:
        console = Console(
            file=console.file, width=WIDE, quiet=console.quiet, markup=False, emoji=False, highlight=False
        )
    console.print(grid)
