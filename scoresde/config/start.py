"""What a training starts from, or is taught by, as far as a config tells."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ..errors import InputError
from ..model.folder import MODEL, described, kind_of, weights_of
from ..model.kept.weights import path_of

# Settings that are folders of models whose parts are taken up, and which of them are not.
SOURCES = {"teacher": ("train", "objective", "loss"), "train.start": ("train",)}


def start_of(train: Mapping[str, Any]) -> dict[str, Any]:
    """What a description says of the start of a training: the hash of its weights; nothing where there is none.
    Of words that are not followed yet (`run.begun`) the words.

    Raises `InputError` for a folder without a trained model.
    """
    start = train.get("start")
    if start is None:
        return {}
    if not isinstance(start, str):
        return {"start": {"words": start}}
    return {"start": {"weights": weights_in(start, "train.start")}}


def weights_in(place: str, said: str) -> str:
    """The hash of the weights of a folder that a setting says.  Raises `InputError` where there is no trained model."""
    folder = Path(place).expanduser()
    files = [path for path in (path_of(folder), folder / "checkpoint.pt") if path.exists()]
    if not files:
        raise InputError(f"{said}={place}: there is no trained model in this folder", said)
    return _hash(folder, files[0].stat().st_mtime_ns)


def source(config: DictConfig, said: Sequence[str]) -> tuple[Path | None, tuple[str, ...]]:
    """The folder of the model whose parts a command takes up, and those which it does not: its own folder, or else that
    of `teacher` or of `train.start`, whose training is another."""
    if any(word.lstrip("+").startswith("experiment=") for word in said):
        return None, ()
    own = None if config.folder is None or config.fresh is True else Path(str(config.folder)).expanduser()
    if own is not None and (own / MODEL).exists():
        return own, ()
    for place, apart in SOURCES.items():
        start = OmegaConf.select(config, place)
        if start is not None:
            folder = Path(str(start)).expanduser()
            if not (folder / MODEL).exists():
                raise InputError(f"{place}={start}: there is no trained model in this folder", place)
            if place == "teacher" and (kind := kind_of(described(folder))) != "denoiser":
                raise InputError(f"teacher={start} holds a {kind}: give the folder of a denoiser (task=train)", place)
            return folder, apart
    return None, ()


@lru_cache
def _hash(folder: Path, when: int) -> str:
    return weights_of(folder)
