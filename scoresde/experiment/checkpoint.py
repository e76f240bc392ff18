"""Checkpoints: tensors and plain types in one file, there as a whole or not at all."""

import contextlib
import errno
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import torch

from ..errors import InputError
from ..sampling.hardware import out_of_memory


def write(path: Path, save: Callable[[BinaryIO], None], ready: Callable[[], None] = lambda: None) -> None:
    """Writes a file under a passing name, flushes it to the disk and renames it: `path` is never half-written.

    `ready` is called when all is on the disk, before the renaming.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    passing = _passing(path)
    try:
        with open(passing, "wb") as file:
            save(file)
            file.flush()
            os.fsync(file.fileno())
        ready()
        os.replace(passing, path)
    except OSError as error:
        if error.errno is not None and error.filename is None:  # a full disk says only that it is full
            error.filename = str(path)
        raise
    finally:
        with contextlib.suppress(OSError):
            passing.unlink()


def _passing(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.passing")


def sweep(folder: Path) -> None:
    """Removes what killed processes were writing; only for whoever holds the folder's lock."""
    for path in folder.rglob(".*.passing"):
        path.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as JSON, as a whole or not at all."""
    write(path, lambda file: file.write((json.dumps(value, indent=2) + "\n").encode()))


def save(path: Path, state: dict, last: bool = True) -> None:
    """Writes a dictionary of tensors and plain types; unless it is the `last`, the one before is kept beside it."""
    write(path, lambda file: torch.save(state, file), lambda: None if last else _keep(path))
    if last:
        before(path).unlink(missing_ok=True)


def before(path: Path) -> Path:
    """Where the checkpoint before this one is kept while a training goes on."""
    return path.with_name(f"{path.stem}.before{path.suffix}")


def _keep(path: Path) -> None:
    passing = _passing(before(path))
    with contextlib.suppress(OSError):  # a file system without hard links keeps none
        os.link(path, passing)
        os.replace(passing, before(path))
    passing.unlink(missing_ok=True)  # it stays where both names were the same file already


def mend(path: Path) -> str:
    """Puts the checkpoint before in the place of a damaged one; says so in words, "" if there was no need or no way."""
    if not path.exists() or not before(path).exists():
        return ""
    try:
        load(path)
    except InputError:
        step = load(before(path))["step"]  # damaged as well, this raises
        os.replace(before(path), path)
        return f"{path} was damaged: the checkpoint before it, of step {step}, takes its place"
    return ""


def load(path: Path, device: torch.device | str = "cpu", needs: tuple[str, ...] = ("step",)) -> dict:
    """Reads what `save` wrote, by torch's restricted unpickler: a dictionary with at least the keys `needs`.

    Raises `InputError` if the file is damaged; every byte of it is checked against the CRC-32 that torch wrote.
    """
    if torch.device(device).type == "cpu":
        device = "cpu"  # among processes accelerate names it cpu:0, which torch cannot load to
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        with zipfile.ZipFile(path) as file:  # torch reads past a wrong checksum
            damaged = file.testzip()
        if damaged:
            raise ValueError(f"its part {damaged.partition('/')[2]} has a wrong checksum")
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: there is no trained model here") from None
    except Exception as error:  # torch raises what its zip reader or unpickler happens to raise
        # A disk or a network that fails says nothing of the file, but for a place before the start of one cut short.
        if out_of_memory(error) or (isinstance(error, OSError) and error.errno != errno.EINVAL):
            raise
        reason = str(error).splitlines()[0].split(". ")[0] if str(error) else type(error).__name__
        raise InputError(
            f"{path} cannot be read ({reason[:100]}): it was cut short or damaged; "
            "put back a copy, or train again with fresh=true"
        ) from error
    if not isinstance(state, dict) or any(key not in state for key in needs):
        raise InputError(f"{path} is not a checkpoint of scoresde; put back a copy, or train again with fresh=true")
    return state
