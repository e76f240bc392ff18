"""What a training keeps in its folder: what makes the model, how far it is, its figures, and in the end the model."""

import contextlib
from pathlib import Path
from typing import Any

from ..data import Data
from ..errors import InputError
from ..machine import files
from ..model import checkpoint
from ..model.description import about, differences
from ..model.folder import MODEL, described, mend, step_of
from ..model.kept.moments import MOMENTS
from ..model.kept.rows import PAIRS
from ..model.kept.weights import ADAPTER, AVERAGES, WEIGHTS
from ..tracking.track import Metrics
from . import snapshots
from .average import Averages

TRAINED = ("checkpoint.pt", "checkpoint.before.pt", MODEL, WEIGHTS, ADAPTER, MOMENTS)
REMAINS = (*TRAINED, "metrics.jsonl", "summary.json", "loss.png", "report.html", "floor.json", "machine.json", PAIRS)


class Book:
    """The folder of a training; without one nothing is kept.

    Arguments:
        folder: where; None: nowhere.
        known: what makes the model, by `model.describe`.
        steps: how many are asked for.
    """

    def __init__(self, folder: Path | None, known: dict, steps: int):
        self.folder, self.known, self.steps = folder, known, steps
        self.metrics: Metrics | None = None
        self.last: dict[str, Any] = {}  # the latest value of each figure

    def add(self, known: dict) -> None:
        """More of what makes the model, which only the command line knows."""
        self.known |= known | {"data": self.known["data"] | known.get("data", {})}

    @property
    def checkpoint(self) -> Path | None:
        """The file to go on from."""
        return None if self.folder is None else self.folder / "checkpoint.pt"

    def prepare(self, fresh: bool) -> str:
        """Puts the checkpoint before in the place of a damaged one, or removes the model that is there (`fresh`); what
        killed processes were writing is removed.  Only for whoever holds the folder's lock.

        Returns what there is to say of it.
        """
        if self.folder is None:
            return ""
        files.sweep(self.folder)
        files.check(self.checkpoint)
        for name in REMAINS if fresh else ():
            (self.folder / name).unlink(missing_ok=True)
        for name in (AVERAGES, snapshots.FOLDER) if fresh else ():
            _clear(self.folder / name)
        if self._done():
            checkpoint.before(self.checkpoint).unlink(missing_ok=True)
        return checkpoint.mend(self.checkpoint) or mend(self.folder)

    def finished(self) -> bool:
        """Whether the model is trained already.  Raises `InputError` if the folder holds another model."""
        if self.folder is None or not (self.folder / MODEL).exists():
            return False
        check(self.folder, self.known)
        done = step_of(self.folder)
        if done >= self.steps and (self._done() or not self.checkpoint.exists()):
            return True
        if done and not self.checkpoint.exists():
            raise InputError(f"{self.folder} has a model of {done} steps and no checkpoint.pt to go on from")
        return False

    def _done(self) -> bool:
        """Whether the summary says that the training ended, which is written last."""
        return files.read_json(self.folder / "summary.json", default={}).get("finished") is True

    def begin(self, done: int, figures: dict[str, Any]) -> None:
        """Says what is being trained, from the step `done` on; rows of figures after it are dropped."""
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        files.write_json(self.folder / "summary.json", {"task": "train", "finished": False, **figures})
        files.write_json(self.folder / MODEL, self.known)
        for name in (WEIGHTS, ADAPTER):  # until the training ends, the checkpoint has them
            (self.folder / name).unlink(missing_ok=True)
        _clear(self.folder / AVERAGES)
        snapshots.drop_after(self.folder, done)
        self.metrics = Metrics(self.folder / "metrics.jsonl", keep=done)
        self.last = self.metrics.last()

    def log(self, step: int, figures: dict[str, Any]) -> None:
        """Adds a row of figures."""
        self.last |= figures | {"step": step}
        if self.metrics is not None:
            self.metrics.log(step, **figures)

    def end(self, model: Any, averages: Averages, figures: dict[str, Any]) -> None:
        """Writes the model with its other averages, and last of all that it is finished."""
        if self.folder is None:
            return
        averages.save(self.folder, model)
        model.save(self.folder)
        # A kill between the last checkpoint and the end of its writing left it.
        checkpoint.drop_before(self.checkpoint)
        files.write_json(self.folder / "summary.json", {"task": "train", "finished": True, **figures, **self.last})


def _clear(folder: Path) -> None:
    """Removes the tensors in a folder, and the folder if nothing else is there; nothing behind a link."""
    files.check(folder / "any")
    for path in folder.glob("*.safetensors"):
        path.unlink()
    with contextlib.suppress(OSError):
        folder.rmdir()


def check(folder: Path, known: dict) -> None:
    """Raises `InputError`, with what differs, if a folder holds another model than is described; more steps are not."""
    there = described(folder)
    found = [d for d in differences(there, known) if d[0] != "train.steps" or d[1] is None or d[1] > d[2]]
    if not found:
        return
    (key, before, now), more = found[0], f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    words = f"{key} is {before!r} there and {now!r} here{more}"
    if key == "data.fingerprint" or key.startswith("data.conditions."):
        words = f"the data is not what it was trained on, {before} there and {now} here{more}"
    raise InputError(
        f"{folder} holds another model: {words}; ask for the same, give another folder=, or start over with fresh=true"
    )


def check_same(folder: Path, data: Data) -> None:
    """Raises `InputError` if the model in a folder was trained on other data."""
    check(folder, {"data": about(data, described(folder).get("conditions") or {})})
