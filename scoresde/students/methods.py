"""The methods of few steps by their names: the objective of each, its settings and those of its training."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from ..errors import InputError
from ..objectives import SCM, Consistency, Distilled, MeanFlow
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


USUAL = {"steps": 4000, "lr": 1e-3, "validate_every": 500}

_ALL = (
    Method("consistency", Consistency, {}, USUAL),
    Method("consistency_training", Consistency, {}, USUAL, "begins"),
    Method("scm", SCM, {}, USUAL, "may"),
    Method("meanflow", MeanFlow, {}, USUAL, "may"),
)
METHODS: dict[str, Method] = {method.name: method for method in _ALL}  # as conf/method/ has them


def method_of(name: str) -> Method:
    """The method of a name.  Raises `InputError` for an unknown one."""
    if name not in METHODS:
        raise InputError(f"method={name!r} is unknown{nearest(name, METHODS)}", "method")
    return METHODS[name]
