"""How task=distill makes a model of few steps, from the settings `method`."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from .. import making
from ..conditions import Kind, Landing
from ..data import Data
from ..denoiser import GUIDANCE, LANDING, Denoiser, FlowMap, Preconditioned
from ..errors import InputError
from ..model import Model
from ..model.description import MATERIAL, about, differences, source_of
from ..model.folder import MODEL, conditions_of, described
from ..objectives import Objective
from ..sampling import DPMpp2M, Jump, Sampler, natural
from ..students import METHODS, Method
from . import build
from .start import weights_in

__all__ = [
    "guidance_of",
    "informed",
    "kept",
    "known",
    "own_folder",
    "own_sampler",
    "placed",
    "same_parts",
    "settings",
    "taken",
    "teacher_of",
    "untrained",
    "vet",
    "weights_in",
]


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

    What an adapter makes one has that of the adapter; a denoiser that is told its guidance, `DPMpp2M`.

    Arguments:
        config, choices: the command's.
        adopted: the parts that the folder's own model gave.
        said: the command's words, of which sampler.steps is taken.
    """
    keys, choices = {word.lstrip("+~").partition("=")[0] for word in said}, dict(choices)
    folder = own_folder(config, adopted)
    if folder is None or keys & {"sampler", "sampler._target_"}:
        return config, choices
    adapter = config.get("adapter")
    lands = _lands(folder) if adapter is None else _lands(Path(str(adapter)).expanduser()) or _lands(folder)
    paired = adapter is None and source_of(described(folder)).paired  # whose flow alone is known
    sampler, name = None if lands is None else natural(SimpleNamespace(lands=lands)), None
    if paired:
        sampler = Jump()
    elif lands is None and GUIDANCE in conditions_of(folder):  # a denoiser of its guided flow, as `Model.generate`
        sampler, name = DPMpp2M(), "dpmpp_2m"
    if sampler is None:
        return config, choices
    config = copy.deepcopy(config)
    with open_dict(config):
        steps = {"steps": config.sampler.steps} if "sampler.steps" in keys else {}
        config.sampler = making.node_of(sampler) | steps
    return config, choices | {"sampler": name or type(sampler).__name__.lower()}


def _lands(folder: Path) -> Any:
    """What the model of few steps in a folder has learned; None of any other, and where there is none."""
    node = described(folder).get("denoiser") if (folder / MODEL).exists() else None
    return node.get("lands") if isinstance(node, Mapping) else None


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
    return Method(name or target.__name__, target, {}, {}, "may")


def kept(config: DictConfig, there: Mapping[str, Any]) -> Method:
    """The method that made the student of a description, whose objective is that of a config."""
    target = making.locate(config.objective._target_, "objective", config.trust is True)
    role = "may" if "teacher" in there or "start" not in there else "begins"
    return Method(target.__name__, target, {}, {}, role)


def settings(config: DictConfig) -> dict[str, Any]:
    """Those of the objective of a config."""
    node: Any = OmegaConf.to_container(config.objective, resolve=True)
    return {k: v for k, v in node.items() if k != "_target_"}


def placed(error: InputError) -> InputError:
    """The error of what makes a student with the place where a command says it."""
    places = {"guidance": "task.", "student": "", "teacher": ""}
    before = places.get(error.setting or "", "method." if error.setting else "")
    return InputError(f"{before}{error}", f"{before}{error.setting}")


def untrained(
    config: DictConfig,
    shape: tuple[int, ...],
    adopted: Sequence[str],
    kinds: Mapping[str, Kind],
    how: Method,
    settings: Mapping[str, Any],
) -> Preconditioned:
    """A student of a method that begins as nothing, of the network, SDE and rule of a config whose rule is settled."""
    lands = how.objective.learns(build.build_sde(config), **settings)
    more = {LANDING: Landing()} if lands == "any" else {}
    node = {"denoiser": {"_target_": making.public_name(FlowMap), "lands": lands}}
    return build.build_denoiser(config, shape, adopted, {**kinds, **more}, node)


def teacher_of(said: Mapping[str, Any], folder: Path) -> Path:
    """The folder of the teacher that a student's description names, or one of its name beside the student's.

    Raises `InputError` where there is none.
    """
    place = Path(str(said.get("folder") or ""))
    for there in (place, folder.parent / place.name):
        if place.name and (there / MODEL).exists():
            return there
    words = f"the teacher of {folder} is not there: put it back, or say teacher=FOLDER"
    raise InputError(f"teacher={place}: {words}", "teacher")


def guidance_of(folder: Path, config: DictConfig) -> tuple[float, float] | None:
    """The range of scales that the student in a folder is told."""
    if config.fresh is True or not (folder / MODEL).exists():
        return None
    kind = conditions_of(folder).get(GUIDANCE)
    return None if kind is None else (kind.low, kind.high)


def same_parts(config: DictConfig, teacher: Model | None, data: Data) -> None:
    """Raises `InputError` for data that are not the teacher's, or for parts that a command says otherwise."""
    if teacher is None or not teacher.about:
        return
    here = {k: v for k, v in build.model_config(config).items() if k in ("sde", "net", "rule", "cond")}
    for key, before, now in differences(teacher.about, here):
        words = f"{key} is {before!r} there and {now!r} here: a student has the parts of its teacher"
        raise InputError(f"teacher={config.teacher or teacher.folder}: {words}", "teacher")
    before = teacher.about.get("data") or {}
    for name in ("shape", "levels", "fingerprint"):
        there, here = before.get(name), about(data).get(name)
        if name in before and there != here:
            words = f"{name} {there} there and {here} here: leave data= out, and they are the same"
            raise InputError(f"teacher={config.teacher} was trained on other data, {words}", "teacher")
