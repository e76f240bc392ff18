"""Which average of the weights is meant: by its decay, or by the name of its file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ...errors import InputError
from .weights import AVERAGES, average_path


def setting(known: Mapping[str, Any], name: str) -> Any:
    """What a description says of a setting of the training; None where it says nothing."""
    train = known.get("train")
    return train.get(name) if isinstance(train, Mapping) else None


def decays(ema: Any) -> list[str]:
    """The names of the averages of the setting `ema`, one decay or several."""
    return [str(float(d)) for d in (ema if isinstance(ema, list | tuple) else [ema]) if isinstance(d, int | float)]


def chosen(known: Mapping[str, Any], ema: str | float | None) -> str:
    """The name of an average; "" for the model's own, the first of its training."""
    name = "" if ema is None else ema if isinstance(ema, str) else str(float(ema))
    return "" if name in decays(setting(known, "ema"))[:1] else name


def check(folder: Path, known: Mapping[str, Any], ema: str | float | None) -> None:
    """Raises `InputError` for an average that a folder neither has nor will have when its training ends."""
    name = chosen(known, ema)
    if name and name not in decays(setting(known, "ema")) and not average_path(folder, name).exists():
        raise InputError(_lacks(folder, name, decays(setting(known, "ema"))), "ema")


def of_checkpoint(folder: Path, whole: Mapping[str, Any], name: str) -> dict[str, Tensor]:
    """The weights of an average in a checkpoint.  Raises `InputError` if they are not there."""
    if not name:
        return dict(whole["ema"])
    known = whole.get("averages")
    if not isinstance(known, dict) or not isinstance(known.get(name), dict):
        raise InputError(_lacks(folder, name, known if isinstance(known, dict) else ()), "ema")
    return whole["ema"] | known[name]


def _lacks(folder: Path, name: str, others: Any) -> str:
    known = [*others, *(p.stem for p in sorted((folder / AVERAGES).glob("*.safetensors")))]
    words = f"it has {', '.join(dict.fromkeys(map(str, known)))}" if known else "it has the model's own alone"
    return f"ema={name}: {folder} has no such average; {words} (train.ema=[...] keeps several, task=ema makes others)"
