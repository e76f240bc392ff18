"""Signals that ask a training to end: it finishes its step and writes a checkpoint first."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

ASKING = (signal.SIGTERM, signal.SIGINT)  # a cluster that wants its machine back, and Ctrl-C


class Terminated(BaseException):
    """SIGTERM, as an exception: what the command line makes of it."""


def terminate(number: int, frame) -> None:
    """A handler that raises `Terminated`."""
    raise Terminated


class Held:
    """Signals kept back: `number` is the one that came (0: none), `deliver` hands it to the handler it was meant for.

    A second signal is not kept back.
    """

    def __init__(self):
        self.number, self.handlers = 0, {}

    def note(self, number: int, frame) -> None:
        """The handler that keeps a signal back."""
        if self.number:
            self.deliver(number)
        self.number = number

    def deliver(self, number: int) -> None:
        """What would have happened without us; returns only if that handler does."""
        handler = self.handlers.get(number, signal.SIG_DFL)
        self.number = 0
        if callable(handler):
            handler(number, None)
        elif handler == signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)


@contextlib.contextmanager
def held() -> Iterator[Held]:
    """Keeps SIGTERM and SIGINT back within the block; those that are ignored stay so.  Only in the main thread."""
    keep = Held()
    if threading.current_thread() is threading.main_thread():
        found = {number: signal.getsignal(number) for number in ASKING}
        keep.handlers = {n: h for n, h in found.items() if h is not None and h != signal.SIG_IGN}
    for number in keep.handlers:
        signal.signal(number, keep.note)
    try:
        yield keep
    finally:
        for number, handler in keep.handlers.items():
            signal.signal(number, handler)
