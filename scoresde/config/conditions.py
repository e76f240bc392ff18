"""The conditions that a config asks for by `cond=[caption]`, with settings of their kinds, `told.caption.layers=4`."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ..conditions import Kind
from ..data import Data
from ..errors import InputError
from ..settings import brief, nearest
from . import views

OPEN = ("drop", "layers")  # what a config may say of a kind; the rest comes with the data


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
        if not isinstance(settings, Mapping) or not settings.keys() <= {*OPEN}:
            raise InputError(f"told.{name}={brief(settings)}: give settings of {', '.join(OPEN)}", "told")
    return {name: {"drop": drops[name], **told.get(name, {})} for name in names}


def known(config: DictConfig) -> dict[str, Any]:
    """The conditions as a model's description has them: the chance of each to be taken away, and what else was said."""
    return {name: settings["drop"] if len(settings) == 1 else settings for name, settings in asked(config).items()}


def said(there: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What `told` of a config was that made the model of a description."""
    nodes = there.get("conditions") or {}
    found = {name: {k: v for k, v in nodes.get(name, {}).items() if k in OPEN[1:]} for name in there.get("cond") or {}}
    return {name: settings for name, settings in found.items() if settings}


def kinds(config: DictConfig, data: Data) -> dict[str, Kind]:
    """The kinds of the conditions that the model takes, of those that the data has.

    Raises:
        InputError: a condition that the data has not; a setting that its kind has not.
    """
    found = {}
    for name, settings in asked(config).items():
        if name not in data.conditions:
            tip = nearest(name, data.conditions) if data.conditions else f"; the items of {data.name} come with none"
            raise InputError(f"cond={[*config.cond]}: {name!r} is unknown{tip}", "cond")
        kind = data.conditions[name]
        has = {field.name for field in dataclasses.fields(kind)}
        if lacking := [key for key in settings if key not in has]:
            words = f"told.{name}.{lacking[0]}={settings[lacking[0]]}: a {type(kind).__name__} has no such setting"
            raise InputError(words, "told")
        found[name] = dataclasses.replace(kind, **settings)
    return found
