"""What makes a model, as plain data: what its folder knows, and what is compared where a folder is used again."""

import inspect
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .. import making
from ..conditions import Kind, of_items
from ..data import Data, condition_prints
from ..denoiser import RULES, Denoiser, Preconditioned, Source, levels
from ..errors import InputError
from ..spaces import Pyramid

FORMAT = 2
# do not change what is trained
RUNNING = ("workers", "compile", "channels_last", "recompute", "validate_every", "checkpoint_every", "log_every")
OPEN_RULES, AUTO_NET = ("auto", "levels"), "scoresde.nets.auto"  # which the data makes definite
# Where parts of others were found, which does not make a model another.
FOLDERS = ("start.folder", "start.step", "teacher.folder", "teacher.step", "codec.folder")
INPUTS = ("shape", "conditions", "outputs")  # of a network, which come with the data and the objective
# Of an objective, which come with the rest; and the one that goes without saying.
MATERIAL = ("denoiser", "loss", "data", "dequantise", "student", "teacher")
DENOISING = "scoresde.objectives.Denoising"
REFLOW = "scoresde.objectives.Reflow"


def describe(denoiser: Denoiser, data: Data, loss: Any, objective: Any = None) -> dict:
    """What makes a model, as plain data: two trainings of the same description, and settings, are the same training."""
    return {
        "format": FORMAT,
        **parts(denoiser),
        "rule": rule_name(getattr(denoiser, "rule", None)),
        "loss": making.node_of(loss),
        "objective": _said_of(objective),
        **of_class(denoiser),
        "cond": {name: kind.drop for name, kind in of_items(denoiser.conditions).items()},
        "conditions": {k: making.node_of(kind) for k, kind in _kinds(denoiser).items()},
        "data": about(data, denoiser.conditions),
        **_codec(data),
    }


def _kinds(denoiser: Denoiser) -> dict[str, Kind]:
    """All that a denoiser is told, in the order in which its network reads it, as its weights are by their places."""
    found = {**denoiser.conditions, **denoiser.made}
    order = getattr(getattr(denoiser, "net", None), "conditions", None) or found
    return {name: found[name] for name in order if name in found} | found


def _codec(data: Data) -> dict:
    """The autoencoder of data of latents, or what makes pyramids, whole."""
    if data.codec is None:
        return {}
    if isinstance(data.codec, Pyramid):
        return {"codec": making.node_of(data.codec)}
    return {"codec": {"folder": str(data.codec.folder or ""), "weights": data.codec.weights}}


def of_class(denoiser: Any) -> dict:
    """The class of a denoiser of a network, where it is another than `Preconditioned`."""
    if not isinstance(denoiser, Preconditioned) or type(denoiser) is Preconditioned:
        return {}
    name, own = making.public_name(type(denoiser)), denoiser.settings
    return {"denoiser": {"_target_": name, **own} if own else name}


def parts(module: Any) -> dict:
    """The SDE and the network of a denoiser or a classifier, as a description has them."""
    net = getattr(getattr(module, "net", None), "_orig_mod", getattr(module, "net", None))
    node = making.node_of(net if net is not None else module)
    inputs = INPUTS if isinstance(module, Denoiser) else INPUTS[:2]  # a classifier's outputs are its classes
    return {"sde": making.node_of(module.sde), "net": without_inputs(node, inputs)}


def without_inputs(node: Any, inputs: Sequence[str] = INPUTS) -> Any:
    """A network's node without what comes with the data, in the networks within it too."""
    if not isinstance(node, Mapping):
        return node
    return {k: without_inputs(v, inputs) for k, v in node.items() if k not in inputs}


def source_of(known: Mapping[str, Any]) -> Source:
    """The noise that a model of this description was trained with.  Raises `InputError` if it says what is none."""
    said = known.get("objective") or {}
    if said.get("_target_") == REFLOW:
        return Source(paired=True)
    denoising = said.get("_target_") == DENOISING
    return Source(said.get("offset", 0.0), said.get("coupling") == "optimal") if denoising else Source()


def objective_node(node: Any) -> dict:
    """What an objective's canonical node says beside its defaults; of denoising as it is without them, nothing."""
    if not isinstance(node, Mapping):
        return {}
    kept = {k: v for k, v in node.items() if k not in MATERIAL}
    try:
        target = making.locate(str(node.get("_target_")), "objective", trust=False)
        known = {k: making.node_of(p.default) for k, p in inspect.signature(target).parameters.items()}
        kept = {k: v for k, v in kept.items() if k not in known or v != known[k]}
    except InputError:  # of somebody's own: all that it says
        pass
    return {} if kept == {"_target_": DENOISING} else kept


def _said_of(objective: Any) -> dict:
    settings = {k: making.node_of(v) for k, v in getattr(objective, "arguments", {}).items() if k not in MATERIAL}
    return objective_node({"_target_": making.public_name(type(objective)), **settings}) if objective else {}


def settings(training: Any) -> dict:
    """What a description says of a training's settings."""
    return {"train": told({k: v for k, v in making.node_of(training).items() if k != "_target_"})}


def told(train: Mapping) -> dict:
    """The settings of a training without what it starts from, which stands apart, by its weights."""
    return {k: v for k, v in train.items() if k != "start"}


def about(data: Data, names: Iterable[str] = ()) -> dict:
    """What a description says of data, and of the conditions of these names that its items come with."""
    names = [name for name in names if name in data.conditions]
    known = {"conditions": condition_prints(data, names)} if names else {}
    known |= {"name": data.name, "shape": list(data.shape), "levels": data.levels, "fingerprint": data.fingerprint}
    return known | {"columns": None if data.columns is None else list(data.columns)}


def rule_name(rule: Any) -> Any:
    """The name of a preconditioning, or its node where it has none."""
    return next((name for name, known in RULES.items() if known == rule), making.node_of(rule))


def differences(there: Mapping, here: Mapping) -> list[tuple[str, Any, Any]]:
    """(key, there, here) of what two descriptions say otherwise; what one of them does not know is passed over."""
    there = {"cond": {}, "objective": {}, "kind": "denoiser"} | dict(there)  # of folders of before there were any
    there["cond"] = {k: v["drop"] if isinstance(v, Mapping) else v for k, v in (there["cond"] or {}).items()}
    here = ({"kind": "denoiser"} if "sde" in here else {}) | dict(here)
    there = ({"start": {}} if "start" in here else {}) | there
    if here.get("rule") in OPEN_RULES and _could_be(there.get("rule"), here["rule"]):
        here["rule"] = there["rule"]
    if isinstance(here.get("net"), Mapping) and here["net"].get("_target_") == AUTO_NET:
        here["net"] = there.get("net")
    found = []
    there["cond"] = drops(there["cond"] or {})
    if "cond" in here:
        found, here["cond"] = _other_kinds(there.get("conditions") or {}, here["cond"])
    a, b = flatten(there), flatten(here)
    for key in sorted({*a, *b}):
        top = key.split(".")[0]
        known = top in there and top in here and top not in ("format", "paths", "conditions", "chosen")
        known = known and key not in FOLDERS
        if top == "data":  # its settings are the command's, its fingerprint is known once it has been read
            part = ".".join(key.split(".")[:2])
            known = known and part not in ("data.name", "data.columns") and all(_has(d, part) for d in (there, here))
        if known and key.removeprefix("train.") not in RUNNING and a.get(key) != b.get(key):
            found.append((key, a.get(key), b.get(key)))
    return found


def drops(cond: Mapping) -> dict[str, Any]:
    """The chance with which each condition is taken away, of what a description or a command says of them."""
    return {name: said["drop"] if isinstance(said, Mapping) else said for name, said in cond.items()}


def _other_kinds(there: Mapping, cond: Mapping) -> tuple[list[tuple[str, Any, Any]], dict[str, Any]]:
    """What a command says of conditions beside `drop` that a description's kinds have otherwise; the `drop` of each."""
    found = []
    for name, asked in cond.items():
        if name in there and isinstance(asked, Mapping):
            kind = making.make(there[name], f"conditions.{name}", trust=False)
            held = {key: getattr(kind, key, None) for key in asked if key != "drop"}
            found += [(f"told.{name}.{key}", value, asked[key]) for key, value in held.items() if value != asked[key]]
    return found, drops(cond)


def _could_be(rule: Any, said: str) -> bool:
    """Whether the data may have made this rule, of a description, of what a command said."""
    of_levels = isinstance(rule, Mapping) and rule.get("_target_") == making.public_name(levels)
    return of_levels or (said == "auto" and rule == "v")


def _has(described: Mapping, key: str) -> bool:
    for part in key.split("."):
        if not isinstance(described, Mapping) or described.get(part) is None:
            return False
        described = described[part]
    return True


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """{'a': {'b': 1}} to {'a.b': 1}."""
    if not isinstance(value, Mapping):
        return {prefix: json.loads(json.dumps(value, default=str))}
    return {
        k: v for key, part in value.items() for k, v in flatten(part, f"{prefix}.{key}" if prefix else str(key)).items()
    }
