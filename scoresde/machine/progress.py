"""What a person sees of work that takes a while: how far it is, the time left, and a word early if it will be long."""

import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from ..errors import InputError

SHORT = 2.0  # seconds: work that ends before shows nothing
LONG = 600.0  # seconds: work that takes more says so at once
PART = 0.02  # of the work: a first report of less says nothing of the pace
Words = str | Callable[[], str]  # a function is called when its words are shown: not at every step
Advance = Callable[..., None]


@contextlib.contextmanager
def bar(
    title: str,
    total: float | None,
    done: float = 0,
    console: Any = None,
    shorter: Callable[[float], str] | None = None,
) -> Iterator[Advance]:
    """Shows how far some work is: a bar of rich on a terminal, else lines; nothing at all for less than 2 seconds.

        with bar("training", 1000) as advance:
            advance(12, "step 12/1000  loss 0.41")  ->  training: 1 %  step 12/1000  loss 0.41  1 min 20 s left

    A line comes as soon as the pace is known, then at every tenth of the way, or every 10 seconds where a tenth takes
    longer (every hundredth, where that does), and at the end.  Work of more than 10 minutes is told of at once, once.

    Arguments:
        total: the units of work; None: nobody knows.  done: those done before.  Fractions of a unit are welcome.
        console: where to: a rich `Console`, whose bar is there from the start; None: standard error, with or without
            rich, after 2 seconds.
        shorter: what to say beside the expected time of long work, from the seconds that a unit takes: see `fewer`.
    """
    meter = _Meter(title, total, done, console, shorter)
    try:
        yield meter.advance
    finally:
        meter.close()


@contextlib.contextmanager
def shown(
    progress: bool | Advance,
    title: str,
    total: float,
    done: float = 0,
    shorter: Callable[[float], str] | None = None,
    lead: bool = True,
) -> Iterator[Advance | None]:
    """What moves a `bar` of its own (True, where this process has the `lead`), or the function given; None for False.

    Raises `InputError` for anything else.
    """
    if callable(progress):
        yield progress
    elif not isinstance(progress, bool):
        raise InputError(f"progress={progress!r}: give True, False, or a function (done, words)")
    elif progress and lead:
        with bar(title, total, done, shorter=shorter) as advance:
            yield advance
    else:
        yield None


def fewer(setting: str, total: float, more: str = "") -> Callable[[float], str]:
    """A `shorter`: "train.steps=200 takes 12 min; MORE", for the setting ("train.steps=") that says the total."""

    def words(seconds: float) -> str:
        size = LONG / seconds
        scale = 10 ** math.floor(math.log10(size)) if size > 1 else 1
        number = max(1, min((1, 2, 5, 10), key=lambda m: abs(math.log(size / (m * scale)))) * scale)
        takes = [f"{setting}{number} takes {duration(number * seconds)}"] if number < total else []
        return "; ".join([*takes, *([more] if more else [])])

    return words


def duration(seconds: float) -> str:
    """A time for reading: 8 s, 1 min 20 s, 12 min, 5 h 10 min, 30 h, 3 days."""
    if seconds < 59.5:
        return f"{max(1, round(seconds))} s"
    if seconds < 597.5:
        whole, rest = divmod(5 * round(seconds / 5), 60)
        return f"{whole} min" + (f" {rest} s" if rest else "")
    if seconds < 5370:
        return f"{round(seconds / 60)} min"
    if seconds < 171_000:
        whole, rest = divmod(10 * round(seconds / 600), 60)
        return f"{whole} h" + (f" {rest} min" if rest and whole < 10 else "")
    return f"{round(seconds / 86_400)} days"


class _Pace:
    """Seconds a unit, counted from the first report on, as the first step warms up; from the start, where that report
    is of a good part of the work."""

    def __init__(self, done: float):
        self.began = self.first = time.perf_counter()
        self.start = self.mark = done

    def report(self, done: float, now: float, total: float | None) -> float | None:
        """Notes what is done by now, and returns the seconds a unit, if they can be told."""
        if done > self.start and self.mark == self.start:
            self.first, self.mark = now, done
        if done > self.mark:
            return (now - self.first) / (done - self.mark)
        if total and done - self.start >= PART * (total - self.start):
            return (now - self.began) / (done - self.start)
        return None

    def sure(self, now: float) -> bool:
        """Whether it has been watched for long enough to say that the work will be long."""
        return now - self.first >= 1.0 or self.first - self.began >= PART * LONG


class _Meter:
    """Knows the pace, and decides when something is shown."""

    def __init__(self, title: str, total: float | None, done: float, console: Any, shorter: Callable | None):
        self.title, self.total, self.console, self.shorter = title, total, console, shorter
        self.pace, self.start, self.next, self.told = _Pace(done), done, 0.0, False
        self.display = None
        if console is not None and console.is_terminal:
            self.display = _Bar(console, title, total, done)

    def advance(self, done: float, words: Words = "") -> None:
        now = time.perf_counter()
        rate = self.pace.report(done, now, self.total)
        ended = self.total is not None and done >= self.total
        if now < self.next and not ended:
            return
        self.next = now + 0.1
        spent = now - self.pace.began
        left = None if rate is None or self.total is None else max(self.total - done, 0) * rate
        if self.display is None:
            if spent < SHORT and (left is None or now - self.pace.first < 0.5 or spent + left < SHORT):
                return
            self.display = _display(self.console, self.title, self.total, self.start)
        if left is not None and not self.told and spent + left > LONG and self.pace.sure(now):
            self.told = True
            more = self.shorter(rate) if self.shorter else ""
            self.display.say(f"{self.title}: about {duration(spent + left)} at this rate{': ' + more if more else ''}")
        self.display.show(done, words, spent, left)

    def close(self) -> None:
        if self.display is not None:
            self.display.close()


def _display(console: Any, title: str, total: float | None, done: float) -> "_Lines | _Bar":
    if console is None:
        try:
            from rich.console import Console
        except ModuleNotFoundError:
            return _Lines(lambda line: print(line, file=sys.stderr, flush=True), title, total, done)
        console = Console(stderr=True, highlight=False)
        if console.is_terminal:
            return _Bar(console, title, total, done)
    return _Lines(lambda line: console.print(line, soft_wrap=True, markup=False), title, total, done)


class _Lines:
    """Lines of text, for a file, a pipe or a log."""

    def __init__(self, say: Callable[[str], None], title: str, total: float | None, done: float):
        self.say, self.title, self.total = say, title, total
        self.tenth, self.last, self.ended = int(10 * done / total) if total else 0, None, False

    def show(self, done: float, words: Words, spent: float, left: float | None) -> None:
        if self.ended:
            return
        tenth = int(10 * done / self.total) if self.total else 0
        self.ended = bool(self.total) and done >= self.total
        if self.last is not None and not self.ended:
            since, whole = spent - self.last, spent + (left or spent)
            if since < max(10.0, whole / 100) and not (tenth > self.tenth and since >= 1 and whole < 100):
                return
        self.tenth, self.last = tenth, spent
        parts = [f"{int(100 * done / self.total)} %"] if self.total else []
        parts += [words() if callable(words) else words]
        end = f"{duration(left)} left" if left else f"{duration(spent)} so far"
        self.say(f"{self.title}: {'  '.join(p for p in [*parts, f'in {duration(spent)}' if self.ended else end] if p)}")

    def close(self) -> None:
        """Nothing is open."""


class _Bar:
    """A bar of rich."""

    def __init__(self, console: Any, title: str, total: float | None, done: float):
        from rich import progress as rich

        plain = lambda text: rich.TextColumn(text, markup=False)
        way = [rich.BarColumn(min(40, max(10, console.width - 75))), plain("{task.percentage:.0f} %")]
        left = [rich.TimeRemainingColumn()]
        way, left = (way, left) if total else ([], [])
        head, tail = [rich.SpinnerColumn(), plain("{task.description}")], plain("{task.fields[words]}")
        self.progress = rich.Progress(*head, *way, rich.TimeElapsedColumn(), *left, tail, console=console)
        self.task = self.progress.add_task(title, total=total, completed=done, words="")
        self.progress.start()

    def say(self, line: str) -> None:
        self.progress.console.print(line, soft_wrap=True, markup=False)

    def show(self, done: float, words: Words, spent: float, left: float | None) -> None:
        self.progress.update(self.task, completed=done, words=words() if callable(words) else words)

    def close(self) -> None:
        self.progress.stop()
