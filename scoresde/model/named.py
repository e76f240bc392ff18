"""A model that a setting names by its folder: of one kind, and of the items that it is used on."""

from pathlib import Path
from typing import Any

from ..errors import InputError
from .folder import MODEL, load
from .trained import Model, TrainedAutoencoder, TrainedClassifier, TrainedClip

MAKERS = {
    Model: "task=train",
    TrainedClassifier: "task=classifier",
    TrainedClip: "task=contrastive",
    TrainedAutoencoder: "task=autoencoder",
}


def named(setting: str, folder: str | Path, kind: type, device: str = "cpu", trust: bool = False) -> Any:
    """`load(folder)` for a setting that takes one kind of model.

    Raises `InputError`, beginning with the setting, where there is no model, or one of another kind.
    """
    said, made = f"{setting}={folder}", MAKERS[kind]
    if not (Path(folder).expanduser() / MODEL).exists():
        raise InputError(f"{said} is not a model folder: it has no {MODEL} (python run.py {made} makes one)", setting)
    found = load(folder, device, trust)
    if not isinstance(found, kind):
        words = f"holds a {type(found).__name__}: give the folder of a {kind.__name__} ({made})"
        raise InputError(f"{said} {words}", setting)
    return found


def same_items(said: str, model: Any, other: Any, whose: str) -> None:
    """Raises `InputError` for a model of items of another shape than those of `other`, where both say theirs."""
    seen, there = (getattr(one, "shape", None) for one in (model, other))
    if seen is not None and there is not None and tuple(seen) != tuple(there):
        words = f"{said} is of items {tuple(seen)}, and {whose} of {tuple(there)}"
        raise InputError(words, said.partition("=")[0])
