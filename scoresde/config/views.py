"""The picture of an item that a model is told, from the settings `view`."""

import copy
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from .. import making
from ..conditions.base import Drop
from ..data import Data, View, viewed
from ..errors import InputError
from ..settings import Seed, Text, check
from .commands.composed import choice

OWN = {"name": Text, "seed": Seed, "drop": Drop, "redraw": bool}  # settings of `viewed`, beside those of the view


def vet(config: DictConfig, trust: bool = True) -> None:
    """Raises `InputError` for wrong settings of `view`, before any work."""
    node, own = _parts(config)
    if node is not None:
        for name, value in own.items():
            try:
                check(name, value, OWN[name])
            except InputError as error:
                raise making.placed(error, "view") from None
        making.make(node, "view", View, trust)  # which costs nothing, and finds what settings say together


def seen(config: DictConfig, data: Data, trust: bool = True) -> Data:
    """The data with the view of a config, if it has one."""
    node, own = _parts(config)
    if node is None:
        return data
    try:
        return viewed(data, making.make(node, "view", View, trust), **own)
    except InputError as error:
        raise making.placed(error, "view") from None


def drop(config: DictConfig) -> dict[str, float]:
    """The name of the condition, and the chance with which training takes it away; nothing where there is no view."""
    node, own = _parts(config)
    return {} if node is None else {own["name"]: own["drop"]}


def described(config: DictConfig) -> dict[str, Any]:
    """What a description says of the view: all its settings; nothing where there is none."""
    node, own = _parts(config)
    return {} if node is None else {"view": making.canonical(node, "view") | own}


def named(config: DictConfig, said: str | View | None, trust: bool = True) -> tuple[View | None, str, int]:
    """A view to look at pictures by, None where nothing says one; the name of its condition and its seed.

    Arguments:
        config: of the model, whose view it is where `said` is None.
        said: a view, or the name of a file in conf/view/.
        trust: whether the model's own view may be of anybody's making.

    Raises:
        InputError: no such file.
    """
    node, own = _parts(config)
    if isinstance(said, str):
        trust, node = True, {k: v for k, v in _choice(said).items() if k not in OWN}
    made = said if isinstance(said, View) else None if node is None else making.make(node, "view", View, trust)
    return made, own.get("name", ""), own.get("seed", 0)


def _choice(name: str) -> dict[str, Any]:
    try:
        return choice("view", name)
    except InputError as error:
        raise InputError(f"view={name}: there is no such file: give a name of conf/view/ (hole), or a node") from error


def of_model(config: DictConfig, known: Mapping[str, Any]) -> tuple[DictConfig, dict[str, Any] | None]:
    """A config with the data of the model that a description `known` is of; and what the config has in its place, if
    that is other data."""
    there = (known.get("data") or {}).get("settings")
    here = {k: v for k, v in (OmegaConf.to_container(config.data, resolve=True) or {}).items() if k != "other"}
    if there is None or making.canonical(here, "data") == there:
        return config, None
    config = copy.deepcopy(config)
    with open_dict(config):
        config.data = {**there, "other": None}
    return config, here


def _parts(config: DictConfig) -> tuple[dict | None, dict[str, Any]]:
    """The node of the view, None where there is none, and the settings of `viewed`."""
    held = config.get("view")
    if not held:
        return None, {}
    node: Any = OmegaConf.to_container(held, resolve=True)
    own = {"name": "seen", "seed": 0, "drop": 0.0} | {k: node[k] for k in OWN if k in node}
    if own.get("redraw") is True:  # as it is where nothing is said
        del own["redraw"]
    return {k: v for k, v in node.items() if k not in OWN}, own
