"""What a config leaves to its data: what the network predicts, and which network it is."""

import copy
import inspect
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from .. import making
from ..conditions import Kind
from ..data import Data
from ..denoiser import levels
from ..errors import InputError
from ..model.description import AUTO_NET, OPEN_RULES, without_inputs
from ..spaces import Space
from .build import made_of

FEW = 32  # bins: more outputs cost more than they are worth


def settled(config: DictConfig, data: Data, conditions: Mapping[str, Kind] | None = None) -> DictConfig:
    """A config with the rule and the network that its data makes of "auto" and "levels".

    The rule "levels" is that of the data's bins, `FEW` of them at most for data that are spread over theirs.  "auto" is
    "levels" for data of at most `FEW` levels, the same in all columns, and else "v"; so it is for a learned variance,
    and for networks without `outputs`.

    Arguments:
        config: the command's.
        data: what it trains on.
        conditions: the kinds that the network takes.

    Returns:
        The config, or a copy.

    Raises:
        InputError: rule=levels for data without levels, or with an objective that cannot have it; other levels.
    """
    rule, net = config.rule, None
    if rule in OPEN_RULES:
        bins = rule == "levels" or _few(config, data.space)
        rule = _of_levels(config, data) if bins else "v"
    else:
        _check_levels(rule, data)
    if config.net.get("_target_") == AUTO_NET:
        known = {"examples": len(data.train), "steps": config.train.steps, "batch_size": config.train.batch_size}
        inputs = {"shape": data.shape, "conditions": dict(conditions or {}) or None}
        inputs["outputs"] = made_of(config).outputs_of(rule if isinstance(rule, str) else making.make(rule, "rule"))
        plain: Any = OmegaConf.to_container(config.net, resolve=True)
        net = without_inputs(making.node_of(making.make(plain, "net", None, **known, **inputs)))
    return _with(config, rule, net)


def _check_levels(rule: Any, data: Data) -> None:
    """Raises `InputError` for a rule of levels, said or taken from a start, that are not the data's."""
    if isinstance(rule, Mapping) and rule.get("_target_") == making.public_name(levels):
        has, found = data.levels, rule.get("levels")
        if found != has:
            raise InputError(
                f"rule: it is of {found} levels, and {data.name} has {has or 'none'}; say rule=auto", "rule"
            )


def _of_levels(config: DictConfig, data: Data) -> dict[str, Any]:
    spread = config.train.dequantise != "none"
    return making.node_of(levels.of(data, spread, FEW if spread else None))


def as_in(config: DictConfig, known: Mapping[str, Any]) -> DictConfig:
    """The same with those of the description `known` of the model's folder."""
    rule = known["rule"] if config.rule in OPEN_RULES else config.rule
    return _with(config, rule, known["net"] if config.net.get("_target_") == AUTO_NET else None)


def _with(config: DictConfig, rule: Any, net: Any) -> DictConfig:
    config = copy.deepcopy(config)
    config.rule = rule
    if net is not None:
        config.net = net
    return config


def _few(config: DictConfig, space: Space) -> bool:
    takes = inspect.signature(making.locate(config.net._target_, "net")).parameters
    if "outputs" not in takes or (space.levels or FEW + 1) > FEW or made_of(config).outputs > 1:
        return False
    try:
        levels.of(space)
    except InputError:
        return False
    return True
