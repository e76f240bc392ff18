"""Figures of a run: always in metrics.jsonl, and in wandb where it is there."""

import json
import os
from pathlib import Path
from typing import Any

from ..errors import InputError
from . import checkpoint

MODES = ("offline", "online", "disabled")


class Metrics:
    """Rows of figures, appended to a file of JSON lines; rows after the step `keep` of an earlier try are dropped."""

    def __init__(self, path: Path, wandb: "Wandb | None" = None, prefix: str = "", keep: int = 0):
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = [line for line in read_rows(path) if line["step"] <= keep] if keep else []
        checkpoint.write(path, lambda file: file.write("".join(json.dumps(row) + "\n" for row in kept).encode()))
        self.path, self.wandb, self.prefix = path, wandb, prefix

    def last(self) -> dict:
        """The latest value of every figure."""
        return {name: value for row in read_rows(self.path) for name, value in row.items()}

    def log(self, step: int, **figures: Any) -> None:
        """Adds a row; figures are numbers, strings or lists of them."""
        with open(self.path, "a") as file:
            file.write(json.dumps({"step": step, **figures}) + "\n")
        if self.wandb is not None:
            self.wandb.log({f"{self.prefix}step": step, **{self.prefix + k: v for k, v in figures.items()}})


def read_rows(path: Path) -> list[dict]:
    """The rows of a file of JSON lines, less any that a kill or a full disk cut short."""
    rows = []
    if path.exists():
        for line in path.read_text().splitlines():
            try:
                rows.append(json.loads(line))
            except ValueError:  # a kill in the middle of a line
                continue
    return rows


class Wandb:
    """A wandb run as a context: offline by default, never asks for a login, and never stops the work it watches.

    `mode` is "offline", "online" or "disabled".  The run is marked failed when the block ends by an exception.
    Raises `InputError` for an unknown mode.
    """

    def __init__(self, mode: str, project: str, name: str, config: dict, folder: Path, warn=print):
        if mode not in MODES:
            raise InputError(f"wandb={mode!r} is unknown: choose one of {', '.join(MODES)}")
        self.mode, self.warn, self.run = mode, warn, None
        self.options = {"project": project, "name": name, "config": config, "dir": str(folder), "mode": mode}

    def __enter__(self) -> "Wandb":
        if self.mode == "disabled":
            return self
        os.environ.setdefault("WANDB_SILENT", "true")
        try:
            import wandb

            if self.mode == "online" and not wandb.api.api_key:
                raise RuntimeError("no key is stored: run `wandb login` first")
            Path(self.options["dir"]).mkdir(parents=True, exist_ok=True)
            settings = wandb.Settings(silent=True, console="off", x_disable_stats=False)
            self.run = wandb.init(**self.options, settings=settings)
        except ImportError:
            self.warn(
                "wandb is not installed: figures are in metrics.jsonl only (pip install wandb, or wandb=disabled)"
            )
        except Exception as error:
            self.warn(f"wandb did not start ({str(error).splitlines()[0][:120]}): figures are in metrics.jsonl only")
        return self

    def __exit__(self, kind, value, trace) -> None:
        self._try(lambda: self.run.finish(exit_code=0 if kind is None else 1))

    def log(self, figures: dict) -> None:
        """Sends one row; lists become one figure an entry."""
        flat = {}
        for name, value in figures.items():
            flat |= {f"{name}/{i}": v for i, v in enumerate(value)} if isinstance(value, list) else {name: value}
        self._try(lambda: self.run.log(flat))

    def image(self, name: str, path: Path) -> None:
        """Sends a picture, if it was drawn."""
        if not path.exists():
            return

        def send() -> None:
            import wandb

            self.run.log({name: wandb.Image(str(path))})

        self._try(send)

    def _try(self, action) -> None:
        if self.run is None:
            return
        try:
            action()
        except Exception as error:
            self.run = None
            self.warn(f"wandb stopped ({str(error).splitlines()[0][:120]}): figures go on in metrics.jsonl")
