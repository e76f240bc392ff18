"""The files of tensors in a model's folder: how they are written, and read as far as they were checked.

model.safetensors           the averaged weights, and the data's transform
averages/NAME.safetensors   the same by another average, which `load(folder, ema=NAME)` takes
adapter.safetensors         in place of the first: what lies on top of another folder's weights
"""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ...errors import InputError, last_line
from ...machine import files
from .. import checkpoint

WEIGHTS = "model.safetensors"
ADAPTER = "adapter.safetensors"
AVERAGES = "averages"
SPACE = "space."  # tensors of the transform, beside the weights
REMEDY = "put back a copy, or train again with fresh=true"


def path_of(folder: Path, average: str = "") -> Path:
    """Where a folder keeps its weights, or those of another average than the model's own by its name."""
    if average:
        return average_path(folder, average)
    return folder / (ADAPTER if (folder / ADAPTER).exists() else WEIGHTS)


def average_path(folder: Path, name: str) -> Path:
    """averages/NAME.safetensors.  Raises `InputError` for a name that is none of a file."""
    if not re.fullmatch(r"\w[\w.-]{0,63}", name):
        raise InputError(f"ema={name!r}: give the name of an average, such as 0.99 or power-0.1", "ema")
    return folder / AVERAGES / f"{name}.safetensors"


def write(path: Path, state: Mapping[str, Tensor], step: int) -> None:
    """Writes tensors with the step that they are of; the file tells when a bit of either has changed."""
    from safetensors.torch import save as to_bytes

    state = {k: v.detach().cpu().contiguous() for k, v in state.items()}
    state = {k: v.clone() for k, v in state.items()}  # tensors that share memory are refused
    found = hash_of(state)
    data = to_bytes(state, {"step": str(step), "format": "pt", "hash": found, "seal": seal(str(step), found)})
    files.write(path, lambda file: file.write(data))


def read(path: Path, device: str = "cpu", remedy: str = REMEDY) -> tuple[dict[str, Tensor], int]:
    """The tensors and the step that `write` was given.  Raises `InputError`, which ends with `remedy`, for a damaged
    file."""
    from safetensors import safe_open

    files.reading(path).close()  # no link, no pipe
    try:
        with safe_open(str(path), framework="pt", device=str(device)) as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            about = file.metadata() or {}
        step, known = about["step"], about["hash"]
        if hash_of(state) != known or about.get("seal", seal(step, known)) != seal(step, known):  # older ones have none
            raise ValueError("it has a wrong checksum")
        return state, int(step)
    except Exception as error:  # of safetensors, as it happens to be
        checkpoint.raise_if_of_the_machine(error)
        words = f"it was cut short or damaged ({last_line(error)[:100]})"
        raise InputError(f"{path} cannot be read: {words}; {remedy}") from error


def with_space(state: Mapping[str, Tensor], space: object) -> dict[str, Tensor]:
    """Weights with the transform of the data, which `apart` takes away again."""
    affine = {f"{SPACE}{k}": torch.as_tensor(getattr(space, k), dtype=torch.float64) for k in ("scale", "shift")}
    return {**state, **affine}


def apart(path: Path, state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The weights and the transform.  Raises `InputError` where there is none."""
    space = {k.removeprefix(SPACE): v for k, v in state.items() if k.startswith(SPACE)}
    if set(space) != {"scale", "shift"}:
        raise InputError(f"{path} is not a model of scoresde, as it lacks the data's transform; {REMEDY}")
    return {k: v for k, v in state.items() if not k.startswith(SPACE)}, space


def hash_of(state: Mapping[str, Tensor]) -> str:
    """Twelve hexadecimal digits of the names, the types and the values of tensors."""
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:12]


def seal(step: str, found: str) -> str:
    """Twelve hexadecimal digits of what the hash of the tensors does not cover, their step."""
    return hashlib.sha256(f"{step} {found}".encode()).hexdigest()[:12]
