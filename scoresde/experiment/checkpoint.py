"""Checkpoints: tensors and plain types in one file, there as a whole or not at all."""

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import torch

from ..errors import InputError


def write(path: Path, save: Callable[[BinaryIO], None]) -> None:
    """Writes a file under a passing name, flushes it to the disk and renames it: `path` is never half-written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    passing = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(passing, "wb") as file:
            save(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(passing, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            passing.unlink()


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as JSON, as a whole or not at all."""
    write(path, lambda file: file.write((json.dumps(value, indent=2) + "\n").encode()))


def save(path: Path, state: dict) -> None:
    """Writes a dictionary of tensors and plain types."""
    write(path, lambda file: torch.save(state, file))


def load(path: Path, device: torch.device | str = "cpu") -> dict:
    """Reads what `save` wrote, by torch's restricted unpickler.  Raises `InputError` if the file is damaged."""
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: there is no trained model here") from None
    except Exception as error:  # torch raises what its zip reader or unpickler happens to raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{path} cannot be read ({reason[:100]}): it was cut short or damaged; "
            "put back a copy, or train again with fresh=true"
        ) from error
    if not isinstance(state, dict) or "step" not in state:
        raise InputError(f"{path} is not a checkpoint of scoresde; put back a copy, or train again with fresh=true")
    return state
