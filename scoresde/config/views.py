"""The picture of an item that a model is told, from the settings `view`; and what a config says a model is told."""

from typing import Any

from omegaconf import DictConfig, OmegaConf

from .. import making
from ..conditions.base import Drop
from ..data import Data, View, viewed
from ..errors import InputError
from ..settings import Seed, Text, check

OWN = {"name": Text, "seed": Seed, "drop": Drop}  # settings of `viewed`, beside those of the view


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


def drops(config: DictConfig) -> dict[str, float]:
    """The conditions that a model takes, by name: the chance with which training takes each away."""
    found = {str(name): config.drop for name in config.cond}
    node, own = _parts(config)
    return found if node is None else found | {own["name"]: own["drop"]}


def described(config: DictConfig) -> dict[str, Any]:
    """What a description says of the view: all its settings; nothing where there is none."""
    node, own = _parts(config)
    return {} if node is None else {"view": making.canonical(node, "view") | own}


def _parts(config: DictConfig) -> tuple[dict | None, dict[str, Any]]:
    """The node of the view, None where there is none, and the settings of `viewed`."""
    held = config.get("view")
    if not held:
        return None, {}
    node: Any = OmegaConf.to_container(held, resolve=True)
    own = {"name": "seen", "seed": 0, "drop": 0.0} | {k: node[k] for k in OWN if k in node}
    return {k: v for k, v in node.items() if k not in OWN}, own
