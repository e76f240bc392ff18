"""Objects from plain nodes, {"_target_": "scoresde.VP", "beta_max": 10}, of a config or a model's folder; and back."""

import dataclasses
import functools
import importlib
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from numbers import Integral, Real
from typing import Any

from .errors import InputError, in_yaml, last_line
from .settings import LATER, brief, check, checked, hints_of, nearest

# Where an untrusted target of each part of a config must be defined.
ROOMS = {
    "sde": ("scoresde.sde",),
    "net": ("scoresde.nets",),
    "reader": ("scoresde.nets",),
    "bottleneck": ("scoresde.nets",),
    "rule": ("scoresde.denoiser",),
    "denoiser": ("scoresde.denoiser",),
    "conditions": ("scoresde.conditions",),
    "data": ("scoresde.data", "scoresde.conditions", "scoresde.unclip", "scoresde.latent"),
    "view": ("scoresde.data",),
    "codec": ("scoresde.spaces",),
    "loss": ("scoresde.loss",),
    "objective": ("scoresde.objectives", "scoresde.loss"),
    "method": ("scoresde.objectives",),
    "train": ("scoresde.training",),
    "sampler": ("scoresde.sampling",),
    "guidance": ("scoresde.guidance",),
}


def make(node: Any, place: str, kind: type | None = None, trust: bool = True, **extra: Any) -> Any:
    """Calls the node's `_target_` with its other keys, nodes among them made first.

    Arguments:
        node: a mapping with a `_target_`, a dotted name.
        place: where the node stands, as errors tell it: "sampler", "loss.times".
        kind: the class of what the target makes; None: any.
        trust: whether the target may be anything at all; if not, it must be of this package and of the part's own room.
        extra: more arguments, of which the target gets those that it takes, and a node within it too.

    Raises:
        InputError: no such target, or one that is not trusted; an argument that it does not know, lacks, or refuses.
    """
    target = vet(node, place, kind, trust, extra)
    arguments = {k: _made(v, f"{place}.{k}", trust, extra) for k, v in node.items() if not str(k).startswith("_")}
    parameters = inspect.signature(target).parameters
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    arguments |= {k: v for k, v in extra.items() if open_ended or k in parameters}
    try:
        found = target(**arguments)
    except InputError as error:
        raise placed(error, place) from None
    except (TypeError, ValueError) as error:
        raise InputError(f"{place}: {node['_target_']} refused its arguments: {last_line(error)}") from error
    if kind is not None and not isinstance(found, kind):
        raise InputError(f"{place}._target_={node['_target_']} makes a {type(found).__name__}: give a {kind.__name__}")
    return found


def vet(node: Any, place: str, kind: type | None = None, trust: bool = True, extra: Iterable[str] = ()) -> Callable:
    """The target of a node, once its settings are found to be its own, complete, and of their types and ranges.

    Nothing is called.  The arguments are those of `make`, and its errors.
    """
    if not isinstance(node, Mapping) or not isinstance(node.get("_target_"), str):
        where = f"{place}._target_" if isinstance(node, Mapping) and "_target_" in node else place
        value = node["_target_"] if where != place else node
        said = in_yaml(brief(value))
        raise InputError(f"{where}={said}: a config with a _target_ is needed (see conf/{place.split('.')[0]}/)")
    target = locate(node["_target_"], place, trust)
    if kind is not None and inspect.isclass(target) and not issubclass(target, kind):
        raise InputError(f"{place}._target_={node['_target_']} makes a {target.__name__}: give a {kind.__name__}")
    given = {k: v for k, v in node.items() if not str(k).startswith("_")}
    parameters, hints = inspect.signature(target).parameters, hints_of(target)
    for key in given:
        if key not in parameters and not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            raise InputError(f"{place}.{key} is unknown to {node['_target_']}{nearest(key, parameters)}")
    for key, p in parameters.items():
        needed = p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        if needed and key not in extra and given.get(key, "???") == "???":
            raise InputError(f"{place}.{key} is not set: {node['_target_']} needs it (say {place}.{key}=...)")
    try:
        for key, value in given.items():
            if _nodes(value):
                _vet_all(value, f"{place}.{key}", trust, extra)
            else:
                check(key, value, hints.get(key, Any))
    except InputError as error:
        raise placed(error, place) from None
    return target


def _nodes(value: Any) -> bool:
    """Whether there is a node in a value."""
    if isinstance(value, Mapping):
        return "_target_" in value or any(map(_nodes, value.values()))
    return isinstance(value, list | tuple) and any(map(_nodes, value))


def _vet_all(value: Any, place: str, trust: bool, extra: Iterable[str]) -> None:
    if isinstance(value, Mapping) and "_target_" in value:
        vet(value, place, None, trust, extra)
        return
    pairs = value.items() if isinstance(value, Mapping) else ((None, v) for v in value)
    for key, part in pairs:
        if _nodes(part):
            _vet_all(part, place if key is None else f"{place}.{key}", trust, extra)


def _made(value: Any, place: str, trust: bool, extra: Mapping[str, Any]) -> Any:
    """A value with the nodes in it made."""
    if isinstance(value, Mapping):
        if "_target_" in value:
            return make(value, place, trust=trust, **extra)
        return {k: _made(v, f"{place}.{k}", trust, extra) for k, v in value.items()}
    return [_made(v, place, trust, extra) for v in value] if isinstance(value, list | tuple) else value


def locate(name: str, place: str, trust: bool = True) -> Callable:
    """The class or the function of a dotted name.

    Raises `InputError` if it cannot be imported or called, or if it is not trusted and not of this package and the room
    in `ROOMS`; a name that begins otherwise is not even imported.
    """
    said, part = f"{place}._target_={brief(name)}", place.split(".")[0]
    strange = f"{said} is none of scoresde's own for {part}: what others wrote runs only if you trust it (trust=True)"
    if not trust and not re.fullmatch(r"scoresde(\.[A-Za-z]\w*)+", name):
        raise InputError(strange)
    try:
        found = _found(name)
    except Exception as error:  # whatever a user's module raises
        raise InputError(f"{said} cannot be imported: {last_line(error)}" if trust else strange) from error
    if not callable(found):
        raise InputError(f"{said} is a {type(found).__name__}: give a class or a function")
    home = getattr(found, "__module__", None) or ""
    if not trust and not any(f"{home}.".startswith(f"{room}.") for room in ROOMS.get(part, ())):
        raise InputError(strange)
    return found


def _found(name: str) -> Any:
    """What is known by a dotted name: an attribute where there is one, as a package may call a function by the name of
    the module that defines it."""
    parts = name.split(".")
    found = importlib.import_module(parts[0])
    for i, part in enumerate(parts[1:], 2):
        if not hasattr(found, part) and inspect.ismodule(found):
            importlib.import_module(".".join(parts[:i]))
        found = getattr(found, part)
    return found


def recorded(init: Callable) -> Callable:
    """An `__init__` whose arguments are checked (`settings.checked`) and kept in `self.arguments`, for `node_of`."""
    signature, run = inspect.signature(init), checked(init)

    @functools.wraps(init)
    def made(self, *args, **kwargs):
        bound = signature.bind(self, *args, **kwargs)
        run(self, *args, **kwargs)
        if "arguments" not in self.__dict__:  # else a subclass's own are there, which make the same object
            bound.apply_defaults()
            self.arguments = {k: v for k, v in bound.arguments.items() if k != next(iter(signature.parameters))}

    return made


def node_of(value: Any) -> Any:
    """The plain node that `make` makes the value of again, all its settings named: what two equal objects share.

    Numbers, texts and lists are themselves; a dataclass, or an object with `arguments` (see `recorded`), is its public
    name and its settings; of anything else only the name is known.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    if isinstance(value, list | tuple | range):
        return [node_of(v) for v in value]
    if isinstance(value, Mapping):
        return {str(k): node_of(v) for k, v in value.items()}
    if inspect.isclass(value) or inspect.isroutine(value):
        return public_name(value)
    if dataclasses.is_dataclass(value):
        settings = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
    else:
        settings = getattr(value, "arguments", {})
    return {"_target_": public_name(type(value)), **_told(type(value), {k: node_of(v) for k, v in settings.items()})}


def _told(target: Callable, settings: dict) -> dict:
    """Plain settings without those that came later and have their defaults: kept models do not know them."""
    hints, parameters = hints_of(target), inspect.signature(target).parameters
    later = {k for k in settings if LATER in getattr(hints.get(k), "__metadata__", ())}
    return {k: v for k, v in settings.items() if not (k in later and v == node_of(parameters[k].default))}


def check_targets(node: Any, place: str) -> None:
    """Raises `InputError` for a target in a node that is not trusted."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            locate(str(node["_target_"]), place, trust=False)
        for key, value in node.items():
            check_targets(value, f"{place}.{key}")
    for value in node if isinstance(node, list | tuple) else ():
        check_targets(value, place)


def canonical(node: Any, place: str) -> Any:
    """A node as `node_of` would give it: the public name of its target, and every setting, by its default if not given.

    A target that is not of this package stays as it is, and is not imported.
    """
    if isinstance(node, Mapping):
        given = {str(k): canonical(v, f"{place}.{k}") for k, v in node.items()}
        try:
            target = locate(str(node["_target_"]), place, trust=False)
            parameters = inspect.signature(target).parameters
        except (KeyError, InputError, ValueError):
            return given
        defaults = {k: node_of(p.default) for k, p in parameters.items() if p.default is not p.empty}
        return _told(target, defaults | given) | {"_target_": public_name(target)}
    return [canonical(v, place) for v in node] if isinstance(node, list | tuple) else node_of(node)


def public_name(thing: Callable) -> str:
    """The shortest dotted name under which a class or a function of this package is found; of others the full one."""
    parts = [*thing.__module__.split("."), *thing.__qualname__.split(".")]
    for n in range(1, len(thing.__module__.split(".")) if parts[0] == "scoresde" else 0):
        package = importlib.import_module(".".join(parts[:n]))
        if package.__dict__.get(parts[-1]) is thing:
            return ".".join([*parts[:n], parts[-1]])
    return ".".join(parts)


def placed(error: InputError, place: str) -> InputError:
    """The error of a setting with the place where the config has it, and values in the words of YAML."""
    if error.setting is None or error.setting.startswith(f"{place}."):
        return error
    return InputError(f"{place}.{in_yaml(str(error))}", f"{place}.{error.setting}")
