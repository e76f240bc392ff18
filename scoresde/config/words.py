"""How a model of a config reads text: the settings `text`, of which only what is said enters the model."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from .. import making
from ..conditions import Text as Words
from ..data import Data, encoded
from ..data.texts.encoded import as_told
from ..errors import InputError
from ..model.folder import MODEL, conditions_of
from ..settings import Checked, Count, Text, Whole


@dataclass(frozen=True)
class Reading(Checked):
    """The settings `text`: a frozen `encoder` for all text that a model takes, the most vectors of a text (`length`),
    and the `layers` of a transformer that reads them, trained with the network."""

    encoder: Text | None = None
    length: Count | None = None
    layers: Whole = 0


def reading(config: DictConfig) -> Reading:
    """The settings of a config.  Raises `InputError` for one that is unknown or wrong."""
    plain = OmegaConf.to_container(config.get("text") or OmegaConf.create({}), resolve=True)
    if unknown := [key for key in plain if key not in {f.name for f in fields(Reading)}]:
        raise InputError(f"text.{unknown[0]} is unknown: give encoder, length or layers", "text")
    try:
        found = Reading(**plain)
    except InputError as error:
        raise making.placed(error, "text") from None
    if found.encoder is None and found != Reading():
        raise InputError("text.length and text.layers are of an encoder: say text.encoder=NAME too", "text")
    return found


def told(config: DictConfig) -> dict[str, Any]:
    """What a model's description says of it: nothing where nothing was said."""
    found = reading(config)
    return {} if found == Reading() else {"text": {f.name: getattr(found, f.name) for f in fields(Reading)}}


def read(config: DictConfig, data: Data) -> Data:
    """Data whose texts, of the conditions that the model takes, are read as the config says."""
    found, names = reading(config), [str(name) for name in config.cond]
    data = data.including(names)
    names = [name for name in names if isinstance(data.conditions.get(name), Words)]
    if found.encoder is None or not names:
        return data
    try:
        return encoded(data, found.encoder, names, found.length, found.layers)
    except InputError as error:
        raise making.placed(error, "text") from None


def as_kept(data: Data, config: DictConfig, folder: Path) -> Data:
    """Data whose texts are read as the model in a folder does, where there is one that is not to go."""
    return as_told(data, conditions_of(folder)) if (folder / MODEL).exists() and not config.fresh else data
