"""Signals that ask a command to end: a training finishes its step and writes a checkpoint first."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

# A cluster that wants its machine back, Ctrl-C, and a terminal that was closed (there is none of that on Windows).
ASKING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name))


class Terminated(BaseException):
    """SIGTERM or SIGHUP, as an exception with its `number`: what the command line makes of it."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.number = number


def listen() -> None:
    """Makes exceptions of the signals that ask to end, KeyboardInterrupt of SIGINT; those that are ignored stay so."""
    for number in ASKING:
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup and a shell's background jobs have it
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else _terminate)


def _terminate(number: int, frame) -> None:
    raise Terminated(number)


def patient(worker: int) -> None:
    """Makes a process that reads data leave it to the training when to end: a cluster and a terminal ask all at once.

    A second SIGTERM, from a training that has waited for it in vain, ends it.
    """
    came = []

    def once(number: int, frame) -> None:
        if came:
            os._exit(1)
        came.append(number)

    for number in ASKING:
        signal.signal(number, once if number == signal.SIGTERM else signal.SIG_IGN)


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
    """Keeps the signals of `ASKING` back within the block, and delivers at its end what came and was not delivered.

    Those that are ignored stay so.  Only in the main thread.
    """
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
        if keep.number:
            keep.deliver(keep.number)
