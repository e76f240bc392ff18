"""How task=distill makes a model of few steps, from the settings `method`."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from .. import making
from ..conditions import Kind, Landing
from ..denoiser import LANDING, Denoiser, FlowMap
from ..errors import InputError
from ..model.description import MATERIAL
from ..model.folder import MODEL, described
from ..objectives import Objective
from ..sampling import Sampler, natural
from ..students import METHODS, Method
from . import build
from .start import weights_in

__all__ = ["informed", "known", "own_folder", "own_sampler", "taken", "teacher_of", "untrained", "vet", "weights_in"]


def vet(config: DictConfig) -> None:
    """Raises `InputError` for a wrong setting of the method, which needs a student and data to be made."""
    node = OmegaConf.to_container(config, resolve=True).get("method")
    if node:
        making.vet(node, "method", Objective, True, MATERIAL)


def taken(config: DictConfig) -> DictConfig:
    """A config whose objective is its method, as that of a student has it."""
    config = copy.deepcopy(config)
    with open_dict(config):
        config.objective, config.loss = copy.deepcopy(config.method), None
    return config


def own_folder(config: DictConfig, adopted: Sequence[str]) -> Path | None:
    """The folder of a command, where its own model gave the objective."""
    folder = None if config.folder is None else Path(str(config.folder)).expanduser()
    return folder if folder is not None and (folder / MODEL).exists() and "objective" in adopted else None


def own_sampler(
    config: DictConfig, choices: Mapping[str, str], adopted: Sequence[str], said: Sequence[str]
) -> tuple[DictConfig, dict[str, str]]:
    """A config, and its choices, with the sampler that a model of few steps was made for, where the command says none.

    Arguments:
        config, choices: the command's.
        adopted: the parts that the folder's own model gave.
        said: the command's words, of which sampler.steps is taken.
    """
    keys, choices = {word.lstrip("+~").partition("=")[0] for word in said}, dict(choices)
    folder = own_folder(config, adopted)
    if folder is None or keys & {"sampler", "sampler._target_"}:
        return config, choices
    node = described(folder).get("denoiser")
    lands = node.get("lands") if isinstance(node, Mapping) else None
    sampler = None if lands is None else natural(SimpleNamespace(lands=lands))
    if sampler is None:
        return config, choices
    config = copy.deepcopy(config)
    with open_dict(config):
        steps = {"steps": config.sampler.steps} if "sampler.steps" in keys else {}
        config.sampler = making.node_of(sampler) | steps
    return config, choices | {"sampler": type(sampler).__name__.lower()}


def informed(sampler: Sampler, model: Denoiser) -> Sampler:
    """A sampler with what it takes from a model of few steps.  Raises `InputError` for what that has not learned."""
    try:
        return sampler.informed(model)
    except InputError as error:
        raise making.placed(error, "sampler") from None


def known(config: DictConfig, name: str) -> Method:
    """The method of the choice `name`; of a file or a target of one's own, one that may have a teacher."""
    target = making.locate(config.objective._target_, "method")
    found = METHODS.get(name)
    if found is not None and found.objective is target:
        return found
    return Method(name, target, {}, {}, "may")


def untrained(
    config: DictConfig, shape: tuple[int, ...], adopted: tuple[str, ...], kinds: Mapping[str, Kind], lands: Any
) -> FlowMap:
    """A student that begins as nothing, of the network, the SDE and the rule of a config whose rule is settled."""
    more = {LANDING: Landing()} if lands == "any" else {}
    node = {"denoiser": {"_target_": making.public_name(FlowMap), "lands": lands}}
    return build.build_denoiser(config, shape, adopted, {**kinds, **more}, node)


def teacher_of(there: Mapping[str, Any], folder: Path) -> Path:
    """The folder of the teacher that a student's description names, or one of its name beside the student's.

    Raises `InputError` where there is none.
    """
    said = Path(str((there.get("teacher") or {}).get("folder") or ""))
    for place in (said, folder.parent / said.name):
        if said.name and (place / MODEL).exists():
            return place
    raise InputError(
        f"teacher={said}: the teacher of {folder} is not there: put it back, or say teacher=FOLDER", "teacher"
    )
