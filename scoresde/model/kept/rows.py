"""Rows of tensors that a training makes once, by its teacher, and keeps in its folder for all its steps."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...errors import InputError
from ...machine import launcher
from . import weights

PAIRS = "pairs.safetensors"
ABOUT = "about"  # what made them, as bytes, beside the rows
AGAIN = "remove it, and it is made again"


def once(path: Path | None, about: Mapping[str, Any], make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """The rows of the file `path`, if it is there; else made, and written as a whole or not at all.

    Arguments:
        path: the file; None: they are kept nowhere.
        about: what makes them, plain data.
        make: gives them, tensors by name.

    Returns:
        The tensors by name, on the CPU.

    Raises:
        InputError: the file is damaged, or of rows that something else made.
    """
    said = json.dumps(about, sort_keys=True)
    if path is None or not path.exists():
        found = {name: value.cpu() for name, value in make().items()}
        if path is not None and launcher.rank() == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
            told = torch.frombuffer(bytearray(said.encode()), dtype=torch.uint8)
            weights.write(path, found | {ABOUT: told}, 0)
        return found
    found, _ = weights.read(path, remedy=AGAIN)
    known = bytes(found.pop(ABOUT, torch.zeros(0, dtype=torch.uint8)).tolist()).decode(errors="replace")
    if known != said:
        raise InputError(f"{path} holds rows that {known[:100]} made, and this training asks for {said[:100]}: {AGAIN}")
    return found
