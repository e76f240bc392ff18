"""The command that does a run again, of its config; and the lines of Python that use its model."""

import dataclasses
import functools
import json
import math
import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .. import making
from ..errors import InputError
from .figures import flatten
from .reading import part, yaml_of

RUN = "python run.py"
MODEL = ("sde", "net", "data", "view", "loss", "objective", "train")  # groups that a model's folder knows
GROUPS = ("sde", "data", "view", "net", "loss", "objective", "train", "sampler", "likelihood", "guidance", "task")
OWN = ("rule", "cond", "drop")
# Where a command runs and who watches it: they change no result.
ASIDE = ("wandb", "tracker", "project", "artifacts", "device", "fresh", "trust", "png", "gif")
# What of a config is nothing to a task.
UNUSED = {
    "sample": ("likelihood",),
    "evaluate": ("likelihood",),
    "likelihood": ("sampler", "n"),
    "tune": ("likelihood", "sampler", "n"),
    "classify": ("sampler", "n", "given"),
    "interpolate": ("likelihood", "sampler", "guidance", "n", "given"),
}
FULL, BENCHMARK = "scoresde.tasks.train.Full", "scoresde.tasks.evaluate.task.Benchmark"
WORD = re.compile(r"[A-Za-z_./~][\w./~@-]*")
NOT_TEXT = re.compile(r"(null|true|false|nan|inf)", re.IGNORECASE)


@functools.cache
def _conf() -> Path:
    """The configs: of the wheel, or of the checkout."""
    here = Path(__file__).resolve().parents[1]
    return next((p for p in (here / "conf", here.parent / "conf") if (p / "config.yaml").exists()), here / "conf")


def value(thing: Any) -> str:
    """A value in the words of Hydra's command line."""
    if thing is None or isinstance(thing, bool):
        return {None: "null", True: "true", False: "false"}[thing]
    if isinstance(thing, Mapping):
        return "{" + ",".join(f"{k}:{value(v)}" for k, v in thing.items()) + "}"
    if isinstance(thing, list | tuple):
        return "[" + ",".join(map(value, thing)) + "]"
    if isinstance(thing, float):
        return repr(thing) if math.isfinite(thing) else str(thing)
    if not isinstance(thing, str):
        return str(thing)
    if WORD.fullmatch(thing) and not NOT_TEXT.fullmatch(thing):
        return thing
    quoted = thing.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{quoted}'"


@functools.cache
def _choice(group: str, name: str) -> str:
    """The node of conf/GROUP/NAME.yaml, as JSON."""
    whole = yaml_of(_conf() / group / f"{name}.yaml")
    node = {}
    for base in whole.get("defaults") or []:
        node |= json.loads(_choice(group, base)) if isinstance(base, str) else {}
    held = part(whole, group) if group in whole else {k: v for k, v in whole.items() if k != "defaults"}
    return json.dumps(node | held)


@functools.cache
def _defaults() -> dict[str, str]:
    """The choice of each group where a command says nothing."""
    found: dict[str, str] = {}
    for line in yaml_of(_conf() / "config.yaml").get("defaults") or []:
        found |= line if isinstance(line, dict) else {}
    return found


def _of_group(group: str, node: Mapping | None) -> list[str]:
    """The overrides that make a group's node: a choice, and what it has otherwise."""
    default = _defaults().get(group)
    if not node:
        return [f"{group}=null"] if default and group != "data" else []
    names = sorted(p.stem for p in (_conf() / group).glob("*.yaml"))
    target, best = str(node.get("_target_")), None
    for name in sorted(names, key=lambda n: n != default):
        known = json.loads(_choice(group, name))
        there = str(known.get("_target_"))
        if there.rpartition(".")[2] != target.rpartition(".")[2] or _public(there, group) != _public(target, group):
            continue
        found = _differences(group, node, known)
        if best is None or len(found) < len(best[1]):
            best = name, found
    if best is None:
        there = json.loads(_choice(group, default)) if default else {}
        keys = {k: v for k, v in node.items() if k != "_target_" and not (group == "data" and k == "other" and not v)}
        mark = lambda k: "" if k in there else "++"
        return [
            f"{group}._target_={node.get('_target_')}",
            *(f"{mark(k)}{group}.{k}={value(v)}" for k, v in keys.items()),
        ]
    return [*([f"{group}={best[0]}"] if best[0] != default else []), *best[1]]


def _public(target: str, group: str) -> str:
    """The one name of a target that has several; of a task, which is not imported for it, the name that it has."""
    if group not in making.ROOMS:
        return target
    try:
        return making.public_name(making.locate(target, group, trust=False))
    except InputError:
        return target


def _differences(group: str, node: Mapping, known: Mapping) -> list[str]:
    """The overrides by which a node differs from the one of a choice."""
    a, b = (making.canonical(_plain(n), group) if group in making.ROOMS else _plain(n) for n in (node, known))
    words = []
    for key in [k for k in a if k != "_target_"]:
        if (key in b and a[key] == b[key]) or (group == "data" and key == "other" and a[key] is None):
            continue
        mine, theirs = a[key], b.get(key)
        if isinstance(mine, dict) and isinstance(theirs, dict) and mine.get("_target_") == theirs.get("_target_"):
            inner = {k: v for k, v in flatten(mine).items() if flatten(theirs).get(k, _plain) != v}
            words += [f"{'' if k in part(known, key) else '++'}{group}.{key}.{k}={value(v)}" for k, v in inner.items()]
        else:
            words.append(f"{'' if key in known else '++'}{group}.{key}={value(mine)}")
    return words


def _plain(node: Any) -> dict:
    return {k: v for k, v in node.items() if v != "???"}


def overrides(config: Mapping[str, Any]) -> list[str]:
    """The words that compose a config again."""
    nodes = {group: config.get(group) for group in GROUPS if group in {**_defaults(), **config}}
    words = [w for group, node in nodes.items() if isinstance(node, dict | None) for w in _of_group(group, node)]
    place = config.get("folder")
    return [*words, *_of_none(config), *([] if place is None else [f"folder={value(str(place))}"])]


def of_result(config: Mapping[str, Any], folder: str, task: str) -> list[str]:
    """The words that make a result again, of its config: what the model's folder knows is left out.

    Arguments:
        config: as the result's config.yaml has it.
        folder: of the model.
        task: that made it, where the config's does several.
    """
    config, skipped = dict(config), (*MODEL, *UNUSED.get(task, ()))
    node = part(config, "task")
    target = node.get("_target_")
    if target == FULL and task == "likelihood":  # which is of the model without its guidance
        config |= {"guidance": None, "given": {}}
    if target == BENCHMARK and task == "evaluate":
        node = node | {"_target_": BENCHMARK.replace("Benchmark", "Evaluate")}
    own = _of_group("task", node)
    words = own if f"task={task}" in own else [f"task={task}"]
    for group in [g for g in GROUPS if g not in skipped and g != "task" and g in config]:
        words += _of_group(group, config[group] if isinstance(config[group], dict) else None)
    words += _of_none(config, (*OWN, "out", *skipped))
    if (other := part(config, "data").get("other")) is not None:
        words.append(f"data.other={value(other)}")
    return [*words, f"folder={value(folder)}"]


def _of_none(config: Mapping[str, Any], skipped: Iterable[str] = ()) -> list[str]:
    """The words for the settings of no group."""
    words = []
    for key, default in yaml_of(_conf() / "config.yaml").items():
        if key in ("defaults", "hydra", "data", "folder", *ASIDE, *skipped) or config.get(key, default) == default:
            continue
        if key == "given" and isinstance(config[key], dict):
            words += [f"given.{k}={value(v)}" for k, v in config[key].items()]
        else:
            words.append(f"{key}={value(config[key])}")
    return words


def command(words: Iterable[str], prefix: str = RUN) -> str:
    """A line for a shell."""
    return " ".join([prefix, *(shlex.quote(w) for w in words)])


def call(node: Any, place: str = "sampler") -> str:
    """A node of this package as Python makes it: "scoresde.sampling.Adams(steps=10)"; "" for any other."""
    try:
        target = making.locate(str(node["_target_"]), place, trust=False)
    except (InputError, KeyError, TypeError):
        return ""
    given = [(f.name, f.default) for f in dataclasses.fields(target)] if dataclasses.is_dataclass(target) else []
    said = [f"{k}={node[k]!r}" for k, d in given if k in node and not isinstance(node[k], dict) and node[k] != d]
    return f"{making.public_name(target)}({', '.join(said)})"


def python(folder: str, sampler: Any, conditions: Mapping[str, Any]) -> list[str]:
    """Lines that load a model, and sample it."""
    made = call(sampler) or "scoresde.sampling.GaussianAdams(steps=10)"
    label = next((name for name, kind in conditions.items() if isinstance(kind, dict) and "classes" in kind), None)
    cond = f", cond={{{label!r}: 3}}" if label is not None else ""
    return [
        "import scoresde",
        "",
        f"denoiser = scoresde.load({folder!r})",
        f"x = scoresde.sample(denoiser, {made}, (16, *denoiser.shape), seed=1{cond})",
        "samples = denoiser.decode(x)  # in the data's own values",
    ]
