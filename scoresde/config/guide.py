"""What guides a model, from the settings `guidance`."""

import inspect
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from .. import making
from ..conditions import Kind
from ..data import Data
from ..denoiser import Denoiser, device_of
from ..errors import InputError
from ..model import Model, TrainedClassifier, TrainedClip
from ..model.named import MAKERS, named, same_items

# Settings that are folders of models.
MODELS = {"classifier": TrainedClassifier, "weaker": Model, "refiner": Model, "clip": TrainedClip}
INPUTS = ("denoiser", "label", "text", *MODELS)  # what is not of a config


class Guide:
    """The model, or the denoiser that `guidance` makes of it and the conditions of samples.

    The settings are a node of a denoiser around a denoiser; one with a `denoiser` of its own, a node too, is around
    that.  A `classifier`, a `weaker` model, a `refiner` or a `clip` is the folder of one; a classifier's label is the
    condition of its name, a CLIP's text that which it reads.
    """

    def __init__(self, config: DictConfig, model: Denoiser):
        node = config.get("guidance")
        self.node = OmegaConf.to_container(node, resolve=True) if node else None
        self.model, self.trust = model, config.trust
        self.models = _models(self.node, str(device_of(model)), self.trust)
        for name, found in self.models.items():
            same_items(f"guidance.{name}={found.folder}", found, model, "the model")
        self.conditions = _asked(self.models, model.conditions)

    def _text(self, clip: TrainedClip, cond: Mapping[str, Tensor]) -> Tensor:
        """The embeddings of what samples are told; NaN where they are told nothing."""
        value = cond.get(clip.condition)
        if value is None:
            value = clip.kind.missing(1)
        return clip.of_text(value, self.model.conditions.get(clip.condition))

    @classmethod
    def none(cls, model: Denoiser) -> "Guide":
        """Nothing: the model alone."""
        return cls.of(None, model)

    @classmethod
    def of(cls, node: Mapping[str, Any] | None, model: Denoiser, trust: bool = False) -> "Guide":
        """That of a node `guidance`; None: the model alone."""
        return cls(OmegaConf.create({"guidance": node, "trust": trust}), model)

    def __call__(self, cond: Mapping[str, Tensor]) -> Denoiser:
        return self.model if self.node is None else self._made(self.node, "guidance", cond)

    def _made(self, node: dict, place: str, cond: Mapping[str, Tensor]) -> Denoiser:
        inner = node.get("denoiser")
        extra: dict[str, Any] = {"denoiser": self._made(inner, f"{place}.denoiser", cond) if inner else self.model}
        extra |= self.models
        if "label" in self.conditions:
            extra["label"] = cond.get("label", -1)
        if "clip" in self.models:
            extra["text"] = self._text(self.models["clip"], cond)
        plain = {k: v for k, v in node.items() if k not in INPUTS}
        return making.make(plain, place, Denoiser, True, **extra)


def vet(config: DictConfig) -> None:
    """Raises `InputError` for wrong settings of `guidance`, before any work."""
    node = config.get("guidance")
    if node:
        plain = {k: v for k, v in OmegaConf.to_container(node, resolve=True).items() if k not in INPUTS}
        making.vet(plain, "guidance", Denoiser, True, INPUTS)


def before(config: DictConfig, data: Data, kinds: Mapping[str, Kind]) -> dict[str, Kind]:
    """What samples may be given beside the kinds of a model that is still to be trained on data.

    Raises `InputError` for what could not guide it.
    """
    node = OmegaConf.to_container(config, resolve=True).get("guidance")
    models = _models(node, "cpu", config.trust)
    for name, found in models.items():
        same_items(f"guidance.{name}={found.folder}", found, data, data.name)
    return _asked(models, kinds)


def _asked(models: Mapping[str, Any], kinds: Mapping[str, Kind]) -> dict[str, Kind]:
    """The conditions that guides take, beside those of the model."""
    found = {"label": models["classifier"].label} if "classifier" in models else {}
    clip = models.get("clip")
    return found | ({clip.condition: clip.kind} if clip is not None and clip.condition not in kinds else {})


def _models(node: dict | None, device: str, trust: bool) -> dict[str, Any]:
    """The models that a node and those within it name, by the names of their settings."""
    nodes, place = {}, "guidance"
    while node:
        nodes[place], node, place = node, node.get("denoiser"), f"{place}.denoiser"
    found: dict[str, Any] = {}
    for place, node in reversed(nodes.items()):
        given = {k: v for k, v in node.items() if k in MODELS and v is not None}
        found |= {k: named(f"{place}.{k}", v, MODELS[k], device, trust) for k, v in given.items()}
    for place, node in nodes.items():
        takes = inspect.signature(making.locate(str(node.get("_target_")), place, trust=True)).parameters
        for name in MODELS:
            if name in takes and name not in found:
                maker = f"python run.py {MAKERS[MODELS[name]]}"
                raise InputError(f"{place}.{name}=null: give the folder of a model ({maker} makes one)", "guidance")
    return found
