"""Figures of a run: always in metrics.jsonl, and by trackers (wandb, TensorBoard) where they are there."""

import abc
import contextlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from ..machine import files

TRACKERS = ("wandb", "tensorboard", "both", "none")


class Tracker(abc.ABC):
    """Where a run's figures, pictures and files are shown; it may raise, as `Trackers` holds it."""

    name: str

    @abc.abstractmethod
    def start(self) -> None:
        """Opens it.  Raises `ImportError` if its package is missing."""

    @abc.abstractmethod
    def log(self, prefix: str, step: int, figures: dict) -> None:
        """Adds a row of numbers, named `prefix` + name, at the step of that prefix."""

    @abc.abstractmethod
    def image(self, name: str, path: Path) -> None:
        """Shows a picture or an animation."""

    @abc.abstractmethod
    def histogram(self, name: str, values: torch.Tensor) -> None:
        """Shows the distribution of the values."""

    @abc.abstractmethod
    def artifact(self, name: str, kind: str, paths: Sequence[Path]) -> None:
        """Notes the files of a result, of the kind "model" or "samples"."""

    @abc.abstractmethod
    def finish(self, failed: bool) -> None:
        """Closes it, and says whether the run failed."""


class Trackers:
    """Several trackers as one context that never stops the work it watches: one that fails is dropped after a line."""

    def __init__(self, trackers: Sequence[Tracker], warn: Callable[[str], None] = print):
        self.trackers, self.warn = list(trackers), warn

    def __enter__(self) -> "Trackers":
        self._each("start")
        return self

    def __exit__(self, kind, value, trace) -> None:
        self._each("finish", kind is not None)

    def log(self, prefix: str, step: int, figures: dict) -> None:
        """Adds a row; lists become one figure an entry."""
        flat = {}
        for name, value in figures.items():
            flat |= {f"{name}/{i}": v for i, v in enumerate(value)} if isinstance(value, list) else {name: value}
        self._each("log", prefix, step, flat)

    def image(self, name: str, path: Path) -> None:
        """Shows a picture, if one was drawn."""
        if path.exists():
            self._each("image", name, path)

    def histogram(self, name: str, values: torch.Tensor) -> None:
        """Shows the distribution of the finite values."""
        self._each("histogram", name, values[torch.isfinite(values)].double().cpu())

    def artifact(self, name: str, kind: str, paths: Sequence[Path]) -> None:
        """Notes the files of a result."""
        self._each("artifact", name, kind, paths)

    def _each(self, action: str, *given: Any) -> None:
        for tracker in list(self.trackers):
            try:
                getattr(tracker, action)(*given)
            except Exception as error:  # whatever it is, the work goes on
                self.trackers.remove(tracker)
                self.warn(_words(tracker.name, action, error))
                if action not in ("start", "finish"):
                    with contextlib.suppress(Exception):
                        tracker.finish(True)


def _words(name: str, action: str, error: Exception) -> str:
    if isinstance(error, ImportError):
        return f"{name} is not installed: figures are in metrics.jsonl only (pip install {name}, or {name_off(name)})"
    reason = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
    if action == "start":
        return f"{name} did not start ({reason}): figures are in metrics.jsonl only"
    return f"{name} stopped ({reason}): figures go on in metrics.jsonl"


def name_off(name: str) -> str:
    """The setting that does without a tracker."""
    return "wandb=disabled" if name == "wandb" else "tracker=none"


class Rows(Tracker):
    """A job's own file of JSON lines: every row that the job logs, in order, as it was sent to the other trackers."""

    name = "metrics.jsonl"

    def __init__(self, path: Path):
        self.path = path

    def start(self) -> None:
        """Makes the file; the rows of an earlier try stay."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.touch()

    def log(self, prefix: str, step: int, figures: dict) -> None:
        """Appends a row."""
        row = {f"{prefix}step": step, **{prefix + k: v for k, v in figures.items()}}
        files.append(self.path, files.to_json(row))

    def image(self, name: str, path: Path) -> None:
        """Nothing: the picture is a file already."""

    def histogram(self, name: str, values: torch.Tensor) -> None:
        """Nothing: the values are in a file already."""

    def artifact(self, name: str, kind: str, paths: Sequence[Path]) -> None:
        """Nothing: the files are there."""

    def finish(self, failed: bool) -> None:
        """Nothing is open."""


class Metrics:
    """Rows of figures, appended to a file of JSON lines; rows after the step `keep` of an earlier try are dropped."""

    def __init__(self, path: Path, trackers: Trackers | None = None, prefix: str = "", keep: int = 0):
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = [files.to_json(row) + "\n" for row in read_rows(path) if row["step"] <= keep] if keep else []
        files.write(path, lambda file: file.write("".join(kept).encode()))
        self.path, self.trackers, self.prefix = path, trackers, prefix

    def last(self) -> dict:
        """The latest value of every figure."""
        return {name: value for row in read_rows(self.path) for name, value in row.items()}

    def log(self, step: int, **figures: Any) -> None:
        """Adds a row; figures are numbers, strings or lists of them."""
        files.append(self.path, files.to_json({"step": step, **figures}))
        if self.trackers is not None:
            self.trackers.log(self.prefix, step, figures)


def read_rows(path: Path) -> list[dict]:
    """The rows of figures in a file of JSON lines, each with its step, less what a kill or a full disk cut short.

    Figures are numbers, lists of them, or strings; null is NaN, and what is none of these is left out.
    """
    found = [{name: _figure(value) for name, value in row.items()} for row in files.read_rows(path, {"step": int})]
    return [{name: value for name, value in row.items() if value is not None} for row in found]


def _figure(value: Any) -> float | str | list[float] | None:
    if isinstance(value, list):
        parts = [_figure(v) for v in value]
        return parts if all(isinstance(v, int | float) for v in parts) else None
    return math.nan if value is None else value if isinstance(value, int | float | str) else None
