"""What an encoder gave, on disk: files of many texts each, in a folder by the encoder's print."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ..machine import files

LEAST = 16  # texts that are worth a file
TEXTS, VALUES, ENDS = "texts", "values", "ends"


def read(folder: Path) -> dict[str, Tensor]:
    """By text the vectors (L, E) of all files of a folder; a file that is damaged is passed over."""
    from safetensors import safe_open

    found: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")) if folder.is_dir() else ():
        try:
            with safe_open(path, "pt") as file:
                texts, values = json.loads(file.metadata()[TEXTS]), file.get_tensor(VALUES)
                parts = values.split(file.get_tensor(ENDS).tolist())
            found |= dict(zip(texts, parts, strict=True))
        except Exception:  # of safetensors, json or a lack of keys: what it held is made again
            continue
    return found


def write(folder: Path, found: Mapping[str, Tensor]) -> None:
    """Keeps the vectors (L, E) of texts, if there are enough of them, in a file that is named by what is in it."""
    if len(found) < LEAST:
        return
    from safetensors.torch import save

    texts = json.dumps(list(found))
    name = hashlib.sha256(texts.encode()).hexdigest()[:16]
    ends = torch.tensor([len(value) for value in found.values()])
    data = save({VALUES: torch.cat(list(found.values())), ENDS: ends}, {TEXTS: texts})
    files.write(folder / f"{name}.safetensors", lambda file: file.write(data))
