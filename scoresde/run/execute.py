"""A task, run within its folder's lock and its tracker."""

import contextlib
import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path

from ..errors import InputError, package
from ..machine import files, locks
from ..tracking.report import table
from . import page
from .base import Run


def missing() -> list[str]:
    """One line for each package that is not there and that a run ends without; wandb has its own."""
    losses = {
        "matplotlib": "no plots are drawn",
        "PIL": "no pictures are written",
        "accelerate": "one process trains, without train.precision=fp16",
    }
    gone = {package(name): loss for name, loss in losses.items() if not _installed(name)}
    return [f"{name} is not installed: {loss} (pip install {name})" for name, loss in gone.items()]


def _installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ValueError:  # a module that was put in its place
        return False


def _remove_unused(folder: Path, beside: bool) -> None:
    """Removes a folder in which no step was made, unless another command's lies beneath it, or it was taken away; and
    the folder around it, unless there was something before (`beside`)."""
    made = any((folder / name).exists() for name in ("metrics.jsonl", "checkpoint.pt"))
    with contextlib.suppress(InputError):
        files.check(folder / locks.NAME)
        if not made and all(path.parent == folder for path in folder.rglob(locks.NAME)):
            shutil.rmtree(folder, ignore_errors=True)
            if not beside:
                with contextlib.suppress(OSError):
                    folder.parent.rmdir()


def execute(run: Run, task: Callable[[Run], None]) -> None:
    """Runs a task within its tracker and the folder's lock, and prints the table of results."""
    run.folder = getattr(task, "place", lambda run: run.folder)(run)
    if not getattr(task, "leaves", True):
        task(run)
        table(run.console, run.results)
        return
    existed, beside = run.folder.exists(), run.folder.parent.exists()
    for words in missing():
        run.say(words)
    before = page.summaries(run.folder)
    with run.alone():
        try:
            with run.tracker:
                task(run)
        except InputError:
            # A mistake found before the first step leaves no empty folder behind.
            if not existed and run.lead:
                _remove_unused(run.folder, beside)
            raise
        page.leave(run, before)
    table(run.console, [*run.results, ("folder", str(run.folder))])
