"""The methods of few steps by their names: the objective of each, its settings and those of its training."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from ..errors import InputError
from ..objectives import (
    ADD,
    DMD,
    DMD2,
    SCM,
    Consistency,
    Distilled,
    GuidedDistillation,
    MeanFlow,
    Pairs,
    Progressive,
    Reflow,
    Shortcut,
    Trajectory,
)
from ..settings import nearest


class Method(NamedTuple):
    """A method: what trains it, and how, where nobody says otherwise.

    Arguments:
        name: of conf/method/NAME.yaml.
        objective: the class of its objective.
        settings: those of the objective that are not its defaults.
        training: those of the training that are not its defaults.
        teacher: "needed"; "may" be left out, and the data tell the flow; or it "begins" the student and tells nothing.
    """

    name: str
    objective: type[Distilled]
    settings: Mapping[str, Any]
    training: Mapping[str, Any]
    teacher: Literal["needed", "may", "begins"] = "needed"


USUAL = {"steps": 1500, "lr": 1e-3, "validate_every": 250}
PLAYERS = {"steps": 1000, "lr": 3e-4, "betas": (0.0, 0.99), "weight_decay": 0.0, "ema": 0.99}
DATA = {"first": 10, "last": 80, "grows": 1200, "order": 1, "huber": 0.06}
EASY = {"first": 2, "last": 256, "grows": 800, "order": 1, "huber": 0.0}

LATENT = {"first": 10, "last": 10, "grows": 0, "huber": 0.2}

_ALL = (
    Method("consistency", Consistency, {"grows": 800}, USUAL),
    Method("consistency_training", Consistency, DATA, USUAL, "begins"),
    Method("ect", Consistency, EASY, USUAL, "begins"),
    Method("lcm", Consistency, LATENT, {"steps": 600, "batch_size": 48, "lr": 4e-4, "validate_every": 150}),
    Method("scm", SCM, {"warmup": 300}, USUAL, "may"),
    Method("meanflow", MeanFlow, {}, USUAL, "may"),
    Method("shortcut", Shortcut, {}, USUAL, "may"),
    Method("ctm", Trajectory, {}, USUAL, "may"),
    Method("progressive", Progressive, {"first": 32, "stage": 200}, USUAL),
    Method("knowledge", Pairs, {}, USUAL),
    Method("reflow", Reflow, {}, USUAL),
    Method("guidance", GuidedDistillation, {}, USUAL),
    Method("dmd", DMD, {}, PLAYERS),
    Method("dmd2", DMD2, {"steps": 4, "fakes": 3}, PLAYERS | {"steps": 600}),
    Method("add", ADD, {"steps": 4}, PLAYERS | {"lr": 1e-4}),
)
METHODS: dict[str, Method] = {method.name: method for method in _ALL}  # as conf/method/ has them


def method_of(name: str) -> Method:
    """The method of a name.

    Arguments:
        name: as conf/method/ has it.

    Raises `InputError` for an unknown one.
    """
    if name not in METHODS:
        raise InputError(f"method={name!r} is unknown{nearest(name, METHODS)}", "method")
    return METHODS[name]
