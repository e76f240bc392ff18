"""What a folder holds, as plain data: nothing in it is believed further than it is looked at, and nothing is run."""

import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from .. import making
from ..errors import InputError
from ..machine import files
from ..machine.about import FILE as MACHINE
from ..model.folder import weights_of
from ..model.kept.weights import path_of
from ..sde import SDE
from ..spaces import Affine, Bins, Space
from .floor import FILE as FLOOR

PICTURE = 2**23  # bytes of one picture that a page takes in
NUMBERS = 2**28  # bytes of arrays
TASKS = ("distill", "sample", "likelihood", "evaluate", "tune", "classify", "interpolate")
MAGIC = {"png": b"\x89PNG\r\n\x1a\n", "gif": b"GIF8"}


def json_of(path: Path) -> dict:
    """The object in a JSON file; an empty one if there is none."""
    return files.read_json(path, default={})


def rows_of(path: Path) -> list[dict]:
    """The objects in a file of JSON lines."""
    try:
        return files.read_rows(path)
    except (InputError, OSError):
        return []


def yaml_of(path: Path) -> dict:
    """The mapping in a YAML file of plain types, without aliases; an empty one if it is none."""
    try:
        import yaml

        with files.reading(path) as file:
            words = file.read(1 << 20).decode()
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(words, Loader=loader)):
            return {}
        found = yaml.load(words, Loader=loader)  # a safe loader
    except Exception:  # of yaml and of the disk, as they happen to be
        return {}
    return found if isinstance(found, dict) else {}


def picture_of(path: Path) -> bytes | None:
    """A PNG or a GIF, if it is one and not too large for a page."""
    try:
        with files.reading(path) as file:
            data = file.read(PICTURE + 1)
    except (InputError, OSError):
        return None
    return data if len(data) <= PICTURE and data.startswith(MAGIC[path.suffix[1:]]) else None


def arrays_of(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz by name, or the one of an .npy as "": numbers only; none if it cannot be read."""
    try:
        with files.reading(path) as file:
            if path.suffix == ".npz":
                with zipfile.ZipFile(file) as held:
                    size = sum(entry.file_size for entry in held.infolist())
                file.seek(0)
            else:
                size = os.fstat(file.fileno()).st_size
            if size > NUMBERS:
                return {}
            held = np.load(file, allow_pickle=False)
            found = {name: held[name] for name in held.files} if path.suffix == ".npz" else {"": held}
    except Exception:  # of numpy and its zip reader, as they happen to be
        return {}
    return {name: a for name, a in found.items() if a.dtype.kind in "biuf"}


@dataclass(frozen=True)
class Result:
    """A result beneath a model: its folder, what its summary says, and the config that it was made by."""

    path: Path
    summary: dict = field(repr=False)

    @property
    def task(self) -> str:
        return str(self.summary.get("task"))

    @cached_property
    def config(self) -> dict:
        return yaml_of(self.path / "config.yaml")


class Held:
    """A model's folder."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.known, self.summary = json_of(folder / "model.json"), json_of(folder / "summary.json")
        self.config, self.rows = yaml_of(folder / "config.yaml"), rows_of(folder / "metrics.jsonl")
        self.floor, self.machine = json_of(folder / FLOOR), json_of(folder / MACHINE)
        self.weights, self._space = "", None
        self._read_weights()
        found = [p for p in folder.glob("*/summary.json") if not p.parent.is_symlink()]
        found = sorted(found, key=lambda p: p.stat().st_mtime, reverse=True)
        every = [Result(p.parent, summary) for p in found if (summary := json_of(p)).get("task") in TASKS]
        of_these = lambda r: r.summary.get("weights", self.weights) == self.weights or not self.weights
        self.results = [r for r in every if of_these(r)]
        self.earlier = [r for r in every if not of_these(r)]

    def of(self, task: str) -> list[Result]:
        """The results of a task, the latest first."""
        return [r for r in self.results if r.task == task]

    @property
    def data(self) -> dict:
        """What model.json says of the data."""
        return part(self.known, "data")

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Of an item; () where it is not known."""
        shape = self.data.get("shape")
        good = isinstance(shape, list) and all(isinstance(d, int) and 0 < d < 2**31 for d in shape)
        return tuple(shape) if good else ()

    @property
    def levels(self) -> int | None:
        """Of the data's values; None: they have none."""
        levels = self.data.get("levels")
        return levels if isinstance(levels, int) and levels > 1 else None

    @cached_property
    def sde(self) -> SDE | None:
        """The SDE, where it is this package's own."""
        try:
            return making.make(self.known.get("sde"), "sde", SDE, trust=False)
        except Exception:  # whatever a strange folder makes of it
            return None

    @cached_property
    def space(self) -> Space | None:
        """From the data's own values to the model's; None where the weights are not there."""
        if self._space is None:
            return None
        return Affine(*self._space) if self.levels is None else Bins(self.levels, *self._space)

    def _read_weights(self) -> None:
        """The hash of the weights, and the transform, where model.safetensors can be read and is not too large."""
        try:
            from safetensors import safe_open

            path = path_of(self.folder)
            files.reading(path).close()
            with safe_open(str(path), framework="pt") as file:
                self._space = file.get_tensor("space.scale"), file.get_tensor("space.shift")
            self.weights = weights_of(self.folder) if path.stat().st_size < NUMBERS else ""
        except Exception:  # none, or of safetensors, as it happens to be
            return


def part(held: Mapping[str, Any], name: str) -> dict:
    """The mapping under a name; an empty one if there is none."""
    found = held.get(name)
    return found if isinstance(found, dict) else {}


def short(node: Any) -> str:
    """What a node's target is called: VP, UNet."""
    target = part({"": node}, "").get("_target_", "")
    return str(target).rpartition(".")[2]
