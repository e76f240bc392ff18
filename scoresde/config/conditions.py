"""The conditions that a config asks for by `cond=[caption]`, with settings of their kinds, `told.caption.layers=4`."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from .. import making
from ..conditions import Kind, Text
from ..data import Data, encoded
from ..data.texts.encoded import as_told
from ..errors import InputError
from ..model.folder import MODEL, conditions_of
from ..settings import brief, nearest
from . import views

OPEN = ("drop", "layers")  # what a config may say of a kind; the rest comes with the data
# And of text that a frozen encoder reads: which, the most vectors of a text, and whether they are standardised.
ENCODED = ("encoder", "length", "standardise")


def asked(config: DictConfig) -> dict[str, dict[str, Any]]:
    """What a config says of each condition that the model takes, its view too: `drop`, and what is told of its kind.

    Raises:
        InputError: settings of what is no condition, or of what a config does not say.
    """
    told: Any = OmegaConf.to_container(config.told, resolve=True)
    drops = {str(name): config.drop for name in config.cond} | views.drop(config)
    names = [*drops]
    for name, settings in told.items():
        if name not in names:
            words = f"told.{name}={brief(settings)}: the model takes no {name}: cond=[{', '.join([*names, name])}]"
            raise InputError(words, "told")
        if not isinstance(settings, Mapping) or not settings.keys() <= {*OPEN, *ENCODED}:
            raise InputError(f"told.{name}={brief(settings)}: give settings of {', '.join((*OPEN, *ENCODED))}", "told")
        if (alone := [key for key in ENCODED[1:] if key in settings]) and "encoder" not in settings:
            said = f"told.{name}.{alone[0]}={settings[alone[0]]}"
            raise InputError(f"{said}: it is of an encoder: say told.{name}.encoder=NAME too", "told")
    return {name: {"drop": drops[name], **told.get(name, {})} for name in names}


def known(config: DictConfig) -> dict[str, Any]:
    """The conditions as a model's description has them: the chance of each to be taken away, and what else was said."""
    return {name: settings["drop"] if len(settings) == 1 else settings for name, settings in asked(config).items()}


def said(there: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What `told` of a config was that made the model of a description."""
    nodes = there.get("conditions") or {}
    found = {}
    for name in there.get("cond") or {}:
        node = nodes.get(name, {})
        found[name] = {k: node[k] for k in (*OPEN[1:], *(ENCODED if node.get("encoder") else ())) if k in node}
    return {name: settings for name, settings in found.items() if settings}


def read(config: DictConfig, data: Data) -> Data:
    """Data with the conditions that the model takes, its texts read by the encoders that the config names.

    Raises:
        InputError: an encoder that is not on this machine, or is no name; one of what is no text.
    """
    settings = asked(config)
    data = data.including(settings)
    for name, one in settings.items():
        if one.get("encoder") is not None and name in data.conditions:
            if not isinstance(data.conditions[name], Text):
                words = f"{name} is no text of {data.name}, and an encoder reads text"
                raise InputError(f"told.{name}.encoder={one['encoder']}: {words}", f"told.{name}.encoder")
            try:
                own = {key: one[key] for key in ("length", "layers", "standardise") if key in one}
                data = encoded(data, one["encoder"], [name], **own)
            except InputError as error:
                raise making.placed(error, f"told.{name}") from None
    return data


def as_kept(data: Data, config: DictConfig, folder: Path) -> Data:
    """Data whose texts are read as the model in a folder does, where there is one that is not to go."""
    return as_told(data, conditions_of(folder)) if (folder / MODEL).exists() and not config.fresh else data


def kinds(config: DictConfig, data: Data) -> dict[str, Kind]:
    """The kinds of the conditions that the model takes, of those that the data has.

    Raises:
        InputError: a condition that the data has not; a setting that its kind has not.
    """
    found = {}
    for name, settings in asked(config).items():
        if name not in data.conditions:
            there = [*data.conditions, *data.more]
            tip = nearest(name, there) if there else f"; the items of {data.name} come with none"
            raise InputError(f"cond={[*config.cond]}: {name!r} is unknown{tip}", "cond")
        kind = data.conditions[name]
        has = {field.name for field in dataclasses.fields(kind)}
        if lacking := [key for key in settings if key not in has]:
            words = f"told.{name}.{lacking[0]}={settings[lacking[0]]}: a {type(kind).__name__} has no such setting"
            raise InputError(words, "told")
        found[name] = dataclasses.replace(kind, **settings)
    return found
