"""How a command ends: one line for what went wrong, and an exit code."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from .. import report
from ..config.commands.jobs import closing
from ..errors import InputError, package
from ..machine import launcher
from ..machine.signals import Terminated, listen
from ..report.figures import statuses
from ..sampling.hardware import OutOfMemory, out_of_memory
from ..tracking.report import plain, say

MISTAKES = (InputError, FloatingPointError, OSError, OutOfMemory, MemoryError)  # a line is enough
TOLD = (*MISTAKES, RuntimeError, ModuleNotFoundError)  # `told` looks closer
AGAIN = "the same command goes on from the last checkpoint"


@contextlib.contextmanager
def in_a_line() -> Iterator[None]:
    """What ends the block ends the process, with a line and an exit code: a signal, or what `told` has words for."""
    try:
        listen()
        yield
    except KeyboardInterrupt:
        stopped("stopped", 130)
    except Terminated as asked:
        stopped(f"stopped by {asked}", 128 + asked.number)
    except TOLD as error:
        fail(told(error))


def stopped(words: str, code: int) -> None:
    """Says so once, though a launcher tells all its processes, and exits."""
    if launcher.rank():
        sys.exit(code)
    fail(f"{words}; {AGAIN}", code)


def told(error: Exception) -> str:
    """One line for what a person can do something about; anything else is raised as it is."""
    if isinstance(error, ModuleNotFoundError):
        if error.name is None or error.name.startswith("scoresde"):
            raise error
        return missing(error.name.partition(".")[0])
    if out_of_memory(error):
        words = (str(error).strip().splitlines() or ["no more was given"])[0].rpartition("Allocator: ")[2][:200]
        return f"memory ran out ({words}): try a smaller train.batch_size, batch_size or network; {AGAIN}"
    if not isinstance(error, MISTAKES):
        raise error
    return str(error)


def missing(name: str) -> str:
    """What to do about a module that cannot be imported."""
    if name in sys.stdlib_module_names:
        return f"this Python lacks its own module {name}: it is not for this system, or was built without it"
    return f"the Python package {name} is not installed: pip install {package(name)}"


class Sweep(Callback):
    """Hydra's callback that tells `main` where the sweep's folder is, whichever launcher runs its jobs."""

    folder: Path | None = None

    def on_multirun_start(self, config: DictConfig, **given) -> None:
        """Keeps the folder."""
        Sweep.folder = Path(config.hydra.sweep.dir)


def end_sweep() -> None:
    """Says how a sweep ended, if there was one; exits with 1 if a job failed."""
    if Sweep.folder is None:
        return
    words, bad = closing(Sweep.folder)
    say(f"\n{words}")
    _page(Sweep.folder)
    Sweep.folder = None
    if bad:
        for line in bad:
            say(f"error: {line}", sys.stderr)
        sys.exit(1)


def _page(sweep: Path) -> None:
    """Writes the sweep's report.html: whatever happens to it, the jobs are done."""
    if launcher.rank() or not statuses(sweep):
        return
    try:
        say(f"report  {report.write(sweep)}")
    except Exception as error:  # of a full disk, or of whatever the folder holds
        say(f"report.html was not written ({type(error).__name__}: {error})")


def fail(message: str, code: int = 1) -> None:
    """Prints one line and exits."""
    say(f"error: {' '.join(plain(message).split())}", sys.stderr)
    sys.exit(code)
