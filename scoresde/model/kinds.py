"""The kinds of models that a folder may hold."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import nn

from .. import making
from ..conditions import Kind, Label
from ..denoiser import Denoiser, Preconditioned
from ..sde import SDE
from .trained import Autoencoder, Clip, Model, NoisyClassifier, TrainedAutoencoder, TrainedClassifier, TrainedClip


def _denoiser(net: nn.Module, sde: SDE, known: Mapping, trust: bool) -> Denoiser:
    return class_of(known, trust)(net, sde, rule_of(known, trust), **settings_of(known))


def rule_of(known: Mapping, trust: bool) -> Any:
    """The name of a description's rule, or the rule itself where it has none."""
    return known["rule"] if isinstance(known["rule"], str) else making.make(known["rule"], "rule", None, trust)


def outputs_of(known: Mapping, trust: bool) -> int:
    """How many tensors like x the network of a description answers with; 1 for a classifier's, which says it itself."""
    return class_of(known, trust).outputs_of(rule_of(known, trust)) if "rule" in known else 1


def class_of(known: Mapping, trust: bool) -> type[Preconditioned]:
    """That of a description's denoiser, which says so only where it is another than `Preconditioned`."""
    said = known.get("denoiser", making.public_name(Preconditioned))
    node = said if isinstance(said, Mapping) else {"_target_": said}
    return making.vet(node, "denoiser", Preconditioned, trust, ("net", "sde"))


def settings_of(known: Mapping) -> dict[str, Any]:
    """What the class of a description's denoiser is made with beside network, SDE and rule."""
    said = known.get("denoiser")
    return {k: v for k, v in said.items() if k != "_target_"} if isinstance(said, Mapping) else {}


def _classifier(net: nn.Module, sde: SDE, known: Mapping, trust: bool) -> NoisyClassifier:
    return NoisyClassifier(net, sde, making.make(known["label"], "conditions.label", Label, trust=False))


def _clip(net: nn.Module, sde: SDE, known: Mapping, trust: bool) -> Clip:
    kinds = {k: making.make(v, f"conditions.{k}", Kind, trust=False) for k, v in known["conditions"].items()}
    reader = making.make(known["reader"], "reader", nn.Module, trust, conditions=kinds)
    return Clip(net, reader, sde, bool(known["noise"]))


def _autoencoder(net: nn.Module, sde: SDE | None, known: Mapping, trust: bool) -> Autoencoder:
    bottleneck = making.make(known["bottleneck"], "bottleneck", nn.Module, trust)
    return Autoencoder(net, bottleneck, bool(known["likelihood"]))


class ModelKind(NamedTuple):
    """A kind of model: what its description must have, what it is before it is trained and after, and its maker, which
    is given no SDE where the description needs none."""

    needs: Mapping[str, Any]
    bare: type
    trained: type
    made: Callable[[nn.Module, SDE | None, Mapping, bool], nn.Module]


_PARTS = {"sde": dict, "net": dict}
_CODING = {"net": dict, "bottleneck": dict, "likelihood": bool}
KINDS = {
    "denoiser": ModelKind(_PARTS | {"rule": lambda value: isinstance(value, str | dict)}, Denoiser, Model, _denoiser),
    "classifier": ModelKind(_PARTS | {"label": dict}, NoisyClassifier, TrainedClassifier, _classifier),
    "clip": ModelKind(_PARTS | {"reader": dict, "conditions": dict, "noise": bool}, Clip, TrainedClip, _clip),
    "autoencoder": ModelKind(_CODING, Autoencoder, TrainedAutoencoder, _autoencoder),
}
