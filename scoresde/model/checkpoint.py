"""Checkpoints: tensors and plain types in one file, there as a whole or not at all, believed as far as checked."""

import contextlib
import errno
import math
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import torch

from ..errors import InputError
from ..machine import files
from ..sampling.hardware import out_of_memory

AGAIN = "put back a copy, or train again with fresh=true"


def save(path: Path, state: dict, last: bool = True) -> None:
    """Writes a dictionary of tensors and plain types; unless it is the `last`, the one before is kept beside it."""
    files.write(path, lambda file: torch.save(state, file), lambda: None if last else _keep(path))
    if last:
        drop_before(path)


def drop_before(path: Path) -> None:
    """Removes the checkpoint before this one, which stands alone when a training has ended."""
    files.check(path)
    before(path).unlink(missing_ok=True)


def before(path: Path) -> Path:
    """Where the checkpoint before this one is kept while a training goes on."""
    return path.with_name(f"{path.stem}.before{path.suffix}")


def _keep(path: Path) -> None:
    passing = files.passing_name(before(path))
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
    """Reads what `save` wrote, by torch's restricted unpickler: a dictionary with at least the parts `needs`.

    Raises `InputError` if the file is damaged, a link, or lacks a part or has another thing in its place; every byte of
    it is checked against the CRC-32 that torch wrote.
    """
    if torch.device(device).type == "cpu":
        device = "cpu"  # among processes accelerate names it cpu:0, which torch cannot load to
    try:
        with files.reading(path) as file:
            _whole(path, file)
            state = torch.load(file, map_location=device, weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: there is no trained model here") from None
    except InputError:
        raise
    except Exception as error:  # torch raises what its zip reader or unpickler happens to raise
        raise_if_of_the_machine(error)
        raise InputError(
            f"{path} is whole, but holds what is not read here ({_line(error)}): it is another program's or another "
            "version's; read it there, or give another folder"
        ) from error
    if not isinstance(state, dict):
        raise InputError(f"{path} is not a checkpoint of scoresde; {AGAIN}")
    for part in needs:
        if part not in state or not PARTS.get(part, lambda value: True)(state[part]):
            what = "lacks" if part not in state else f"has a {type(state[part]).__name__} that is none as"
            raise InputError(f"{path} is not a checkpoint of scoresde, as it {what} its {part}; {AGAIN}")
    return state


def _whole(path: Path, file: BinaryIO) -> None:
    """Raises `InputError` if a byte of the file is not what was written: torch itself reads past a wrong checksum."""
    try:
        with zipfile.ZipFile(file) as parts:
            damaged = parts.testzip()
        if damaged:
            raise ValueError(f"its part {damaged.partition('/')[2]} has a wrong checksum")
    except Exception as error:  # as above
        raise_if_of_the_machine(error)
        raise InputError(f"{path} cannot be read ({_line(error)}): it was cut short or damaged; {AGAIN}") from error
    file.seek(0)


def raise_if_of_the_machine(error: Exception) -> None:
    """Raises an error that says nothing of the file: memory ran out, or a disk or a network failed."""
    # EINVAL asks for a place before the start of a file that was cut short.
    if out_of_memory(error) or (isinstance(error, OSError) and error.errno != errno.EINVAL):
        raise error


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].split(". ")[0][:100]


def _tensors(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(k, str) and torch.is_tensor(v) for k, v in value.items())


def _whole_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _optimizer(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("state"), dict):
        return False
    groups = value.get("param_groups")
    return isinstance(groups, list) and all(isinstance(g, dict) and isinstance(g.get("params"), list) for g in groups)


def _facts(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return False
    shape, levels = value.get("shape"), value.get("levels")
    whole = isinstance(shape, list) and all(_whole_number(n) and n for n in shape) and "levels" in value
    return whole and (levels is None or _whole_number(levels)) and all(torch.is_tensor(value.get(k)) for k in _AFFINE)


_AFFINE = ("scale", "shift")
PARTS: dict[str, Callable[[Any], bool]] = {
    "step": _whole_number,
    "seconds": number,
    "model": _tensors,
    "ema": _tensors,
    "averages": lambda value: isinstance(value, dict) and all(map(_tensors, value.values())),
    "optimizer": _optimizer,
    "optimizers": lambda value: isinstance(value, list) and all(map(_optimizer, value)),
    "facts": _facts,
}
