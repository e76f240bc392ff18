"""What guides a model, from the settings `guidance`."""

import inspect
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from .. import making
from ..conditions import Kind
from ..denoiser import Denoiser, device_of
from ..errors import InputError
from ..model import Model, TrainedClassifier, TrainedClip
from ..model.folder import load

# Settings that are folders of models.
MODELS = {"classifier": TrainedClassifier, "weaker": Model, "clip": TrainedClip}
INPUTS = ("denoiser", "label", "text", *MODELS)  # what is not of a config


class Guide:
    """The model, or the denoiser that `guidance` makes of it and the conditions of samples.

    The settings are a node of a denoiser around a denoiser; one with a `denoiser` of its own, a node too, is around
    that.  A `classifier`, a `weaker` model or a `clip` is the folder of one; a classifier's label is the condition of
    its name, a CLIP's text that which it reads.
    """

    def __init__(self, config: DictConfig, model: Denoiser):
        node = config.get("guidance")
        self.node = OmegaConf.to_container(node, resolve=True) if node else None
        self.model, self.trust = model, config.trust
        self.models = _models(self.node or {}, str(device_of(model)), self.trust)
        self.conditions: dict[str, Kind] = {}
        if "classifier" in self.models:
            self.conditions["label"] = self.models["classifier"].label
        clip = self.models.get("clip")
        if clip is not None and clip.condition not in model.conditions:
            self.conditions[clip.condition] = clip.kind

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
        takes = inspect.signature(making.locate(str(node.get("_target_")), place, trust=True)).parameters
        if missing := [name for name in MODELS if name in takes and name not in extra]:
            raise InputError(f"{place}.{missing[0]}=null: give the folder of a model", "guidance")
        return making.make(plain, place, Denoiser, True, **extra)


def vet(config: DictConfig) -> None:
    """Raises `InputError` for wrong settings of `guidance`, before any work."""
    node = config.get("guidance")
    if node:
        plain = {k: v for k, v in OmegaConf.to_container(node, resolve=True).items() if k not in INPUTS}
        making.vet(plain, "guidance", Denoiser, True, INPUTS)


def _models(node: dict, device: str, trust: bool) -> dict[str, Any]:
    found = {k: load(v, device, trust) for k, v in node.items() if k in MODELS and v is not None}
    for k, model in found.items():
        if not isinstance(model, MODELS[k]):
            words = f"guidance.{k}={node[k]} holds a {type(model).__name__}: give a folder with a {MODELS[k].__name__}"
            raise InputError(words, "guidance")
    inner = node.get("denoiser")
    return (_models(inner, device, trust) if inner else {}) | found
