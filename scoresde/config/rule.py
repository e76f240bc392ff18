"""What the network of a config predicts, where that is left to the data."""

import copy
import inspect
from typing import Any

from omegaconf import DictConfig

from .. import making
from ..denoiser import levels
from ..errors import InputError
from ..spaces import Space
from .build import made_of

FEW = 32  # levels: with more, as many outputs cost more than they are worth, unless they are asked for


def settled(config: DictConfig, space: Space) -> DictConfig:
    """A config whose rule is one of a `Preconditioned`: "levels" as that of the data's bins, "auto" as the better one.

    "auto" is "levels" for data of at most `FEW` levels, the same in all columns, and else, as for a learned variance,
    "v"; so it is for networks without `outputs`.

    Arguments:
        config: the command's.
        space: of the data.

    Returns:
        The config, or a copy.

    Raises:
        InputError: rule=levels for data without levels, or with an objective that cannot have it.
    """
    if config.rule not in ("auto", "levels"):
        return config
    rule: Any = "v"
    if config.rule == "levels" or _few(config, space):
        rule = making.node_of(levels.of(space, config.train.dequantise != "none"))
    return _with(config, rule)


def as_in(config: DictConfig, known: dict) -> DictConfig:
    """A config whose rule is that of the description `known` of the same model's folder."""
    return _with(config, known["rule"]) if config.rule in ("auto", "levels") else config


def _with(config: DictConfig, rule: Any) -> DictConfig:
    config = copy.deepcopy(config)
    config.rule = rule
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
