"""What a person sees: progress bars and the closing table."""

import contextlib
import sys
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table


def plain(text: str) -> str:
    """Text as a terminal may be given it: without control characters, of which it could do what it likes."""
    return "".join(c if c.isprintable() or c == "\n" else " " * c.isspace() for c in text)


def say(words: str, file=None) -> None:
    """Prints a line."""
    print(plain(words), file=file or sys.stdout, flush=True)


@contextlib.contextmanager
def bar(console: Console, title: str, total: int | None, done: int = 0) -> Iterator[Callable[[int, str], None]]:
    """A progress bar; the value is a function (done, words) that moves it.  `total=None`: of unknown length.

    Where there is no terminal, the words are printed at every tenth of the way instead.
    """
    if not console.is_terminal:
        shown = [done * 10 // total if total else 0]

        def line(now: int, words: str) -> None:
            if total and now * 10 // total > shown[0]:
                shown[0] = now * 10 // total
                console.print(plain(f"{title}: {now}/{total}  {words}"), soft_wrap=True)

        yield line
        return
    columns = [
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}", markup=False),
    ]
    if total is None:
        columns = columns[:2]
    columns += [
        TimeElapsedColumn(),
        *([] if total is None else [TimeRemainingColumn()]),
        TextColumn("{task.fields[words]}", markup=False),
    ]
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(plain(title), total=total, completed=done, words="")
        yield lambda now, words: progress.update(task, completed=now, words=plain(words))


def table(console: Console, rows: list[tuple[str, str]]) -> None:
    """The closing table: what was done, the figures, where the files are."""
    grid = Table(show_header=False, box=None, pad_edge=False)
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for row in rows:
        grid.add_row(*map(plain, row))
    console.print()
    console.print(grid)
