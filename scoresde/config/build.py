"""From a config to objects, and what of a config makes a model."""

import copy
import hashlib
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf, open_dict
from torch import nn

from .. import making
from ..conditions import Kind
from ..data import Data, as_data
from ..denoiser import Denoiser, Preconditioned
from ..errors import InputError
from ..model.description import DENOISING, RUNNING, drops, flatten, objective_node, rule_name, told, without_inputs
from ..model.folder import described, kind_of
from ..model.kinds import class_of, settings_of
from ..sde import SDE
from . import conditions, views
from .commands.options import GROUPS
from .start import source, start_of

PARTS = ("sde", "net", "data", "loss", "objective", "rule", "train", "cond", "view")
OTHER = "other"  # data scored beside the model's own


def make(node: Any, place: str, kind: type | None = None, trust: bool = True, **extra: Any) -> Any:
    """`making.make` of a node of a config, resolved."""
    return making.make(_plain(node), place, kind, trust, **extra)


def _plain(node: Any) -> Any:
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def import_paths(config: DictConfig) -> None:
    """Makes the folders in `config.paths`, which hold a user's own Python files, importable."""
    for path in config.get("paths") or []:
        if path not in sys.path:
            sys.path.insert(0, path)


def retarget(config: DictConfig, said: Sequence[str]) -> DictConfig:
    """A config in which a part whose `_target_` the command `said` has the settings that it said, and no others: those
    of the group's file are of another target."""
    keys = [_key(word) for word in said]
    config = copy.deepcopy(config)
    for part in (part for part in GROUPS if f"{part}._target_" in keys):
        own = {key.split(".")[1] for key in keys if key.startswith(f"{part}.")} | ({OTHER} if part == "data" else set())
        with open_dict(config):
            for key in [key for key in config[part] if key not in own]:
                del config[part][key]
    return config


def _key(word: str) -> str:
    """sde.beta_max of the override sde.beta_max=10."""
    return word.lstrip("+~").partition("=")[0].partition("@")[0]


def adopt(config: DictConfig, said: Sequence[str]) -> tuple[DictConfig, tuple[str, ...]]:
    """A config with the parts of the model that is in its folder, or else of its start, but for what the command said.

    Arguments:
        said: the command's overrides: `sde=ve` asks for a part as it is composed, `train.steps=5000` for a setting.

    Returns:
        The config, and the names of the parts that the folder gave.
    """
    folder, apart = source(config, said)
    if folder is None:
        return config, ()
    there = _of_commands(folder)
    known = {k: there.get(k) for k in PARTS} | {"data": (there.get("data") or {}).get("settings")}
    cond = there.get("cond") or {}
    known |= {"cond": list(cond), "objective": {"_target_": DENOISING} | (there.get("objective") or {})}
    keys = [_key(word) for word in said]
    keys += ["objective"] if "method" in keys else []
    config = copy.deepcopy(config)
    given = [part for part in PARTS if part not in (*keys, *apart) and f"{part}._target_" not in keys]
    with open_dict(config):
        for part in given:
            node = copy.deepcopy(known[part])
            inner = [key for key in keys if key.startswith(f"{part}.")]
            if part == "train":
                node = _plain(config.train) | (node or {}) | {k: config.train[k] for k in RUNNING}
            if part == "data" and node is not None:
                node[OTHER] = config.data.get(OTHER)
            held = OmegaConf.create({part: node})
            for key in inner if node is not None else ():
                OmegaConf.update(held, key, OmegaConf.select(config, key), force_add=True)
            config[part] = held[part]
        if "cond" in given and "drop" not in keys:
            own = (known["view"] or {}).get("name")
            said = [drop for name, drop in drops(cond).items() if name != own]
            config.drop = max(said, default=config.drop)
        if "cond" in given and not config.told:
            config.told = conditions.said(there)
        if config.trust is True:
            config.paths = [*(config.paths or []), *(str(p) for p in there.get("paths") or [])]
    for part in given if config.trust is not True else ():
        if part != "data":  # which is made only where it is needed
            making.check_targets(_plain(config[part]), part)
    return config, tuple(given)


def _of_commands(folder: Path) -> dict:
    """What a folder's description says.  Raises `InputError` for a model that the command does not know."""
    there, remedy = described(folder), "scoresde.load reads it"
    if (kind := kind_of(there)) != "denoiser":
        a = "an" if kind[0] in "aeiou" else "a"
        raise InputError(f"folder={folder} holds {a} {kind} and no denoiser: {remedy}", "folder")
    if "format" not in there:
        words = f"{remedy}; for the command train it again, with fresh=true"
        raise InputError(f"folder={folder} was made by scoresde 0.1.0: {words}", "folder")
    return there


def model_config(config: DictConfig) -> dict:
    """What makes the model, as far as a config tells: sde, net, data, loss, rule, training, and the user's own code.

    Nothing is imported for it but this package's own: settings of others stand as they were given.
    """
    plain = {part: _plain(config[part]) for part in PARTS if part not in ("cond", "view")}
    plain["data"] = _data(config)
    known = {part: making.canonical(node, part) for part, node in plain.items()}
    return known | {
        "net": without_inputs(known["net"]),
        "objective": objective_node(known["objective"]),
        "cond": conditions.known(config),
        "rule": known["rule"] if isinstance(known["rule"], str) else _rule(known["rule"]),
        "train": {k: v for k, v in told(known["train"]).items() if k not in (*RUNNING, "_target_")},
        "data": {"settings": known["data"]},
        "code": _own_code(plain, config.get("paths") or []),
        **views.described(config),
        **start_of(known["train"]),
    }


def _rule(node: Any) -> Any:
    """The name of a rule that has one."""
    try:
        return rule_name(making.make(node, "rule", trust=False))
    except InputError:
        return node


def _own_code(parts: dict, paths: list[str]) -> dict[str, str]:
    """A hash of each of a user's own files that a target names: another network is another model."""
    code = {}
    for key, target in flatten(parts).items():
        if key.endswith("_target_"):
            module = str(target).rpartition(".")[0]
            for file in (Path(path, *module.split(".")).with_suffix(".py") for path in paths):
                if file.is_file():
                    code[module] = hashlib.sha256(file.read_bytes()).hexdigest()[:8]
    return code


def short_hash(value: Any, length: int = 8) -> str:
    """The first hexadecimal digits of a hash of plain types."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:length]


def name_of(node: DictConfig) -> str:
    """A short name: the kind of toy data, the name of a file or a folder of data, or what the target is called."""
    name = node.get("kind") or (Path(str(node["root"])).stem if node.get("root") else "") or str(node["_target_"])
    return re.sub(r"[^A-Za-z0-9]+", "_", str(name).rsplit(".", 1)[-1]).strip("_").lower()[:32] or "data"


def model_folder(config: DictConfig) -> Path:
    """`folder` if it is given; otherwise out/SDE-DATA-HASH, of `model_config` as it was before conditions came."""
    if config.folder is not None:
        return Path(config.folder).expanduser()
    names, known = f"{name_of(config.sde)}-{name_of(config.data)}", model_config(config)
    known = {k: v for k, v in known.items() if k not in ("cond", "objective") or v}
    known["data"] = {"settings": _without(known["data"]["settings"], "cond")}
    return Path(config.out).expanduser() / f"{names}-{short_hash(known)}"


def _without(node: Any, key: str) -> Any:
    return {k: v for k, v in node.items() if k != key or v is not None} if isinstance(node, Mapping) else node


def build_sde(config: DictConfig, trust: bool = True) -> SDE:
    """The SDE of a config.  Raises `InputError` if its log-SNR is not finite, or does not decrease."""
    sde = make(config.sde, "sde", SDE, trust)
    t = torch.linspace(sde.t_min, sde.t_max, 101, dtype=torch.float64)
    log_snr = sde.log_snr(t)
    bad = ~torch.isfinite(log_snr)
    bad[1:] |= log_snr[1:] >= log_snr[:-1]
    if bool(bad.any()):
        at = float(t[bad][0])
        raise InputError(f"sde={sde}: log_snr must be finite and decrease with t; at t={at:.4g} it does not")
    return sde


def _data(config: DictConfig) -> dict | None:
    return {k: v for k, v in (_plain(config.data) or {}).items() if k != OTHER} or None


def vet_data(config: DictConfig, trust: bool = True) -> None:
    """Raises `InputError` for a wrong setting of the data, which is not read, or of what is seen of it."""
    making.vet(_data(config), "data", None, trust)
    views.vet(config, trust)


def build_data(config: DictConfig, trust: bool = True) -> Data:
    """The data set of a config, with the conditions that the model takes, and what is seen of its items."""
    data = conditions.read(config, as_data(make(_data(config), "data", trust=trust)))
    return views.seen(config, data, trust)


def made_of(config: DictConfig, trust: bool = True) -> type[Preconditioned]:
    """The class of the denoiser that the objective of a config trains."""
    return getattr(making.locate(config.objective._target_, "objective", trust), "trains", Preconditioned)


def build_denoiser(
    config: DictConfig,
    shape: tuple[int, ...],
    adopted: Sequence[str] = (),
    conditions: Mapping[str, Kind] | None = None,
    known: Mapping[str, Any] | None = None,
) -> Denoiser:
    """An untrained denoiser of a config whose rule is settled, its weights a function of train.seed.

    The parts in `adopted` came from a folder, and are made of this package's own only.  Of a model that is trained,
    `known` is its description, whose class of denoisers it is then.
    """
    trusted = {part: config.trust is True or part not in adopted for part in PARTS}
    rule, kind, settings = _plain(config.rule), made_of(config, trusted["objective"]), {}
    if known is not None and "denoiser" in known:
        kind, settings = class_of(known, trusted["objective"]), settings_of(known)
    rule = rule if isinstance(rule, str) else make(rule, "rule", None, trusted["rule"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(config.train.seed))
        inputs = {"shape": shape} | ({"conditions": dict(conditions)} if conditions else {})
        outputs = kind.outputs_of(rule)
        inputs |= {"outputs": outputs} if outputs > 1 else {}
        net = make(config.net, "net", nn.Module, trusted["net"], **inputs)
    if lacking := [name for name in conditions or {} if name not in getattr(net, "conditions", ())]:
        raise InputError(f"cond={list(config.cond)}: {type(net).__name__} has no condition {lacking[0]!r}", "cond")
    return kind(net, build_sde(config, trusted["sde"]), rule, **settings)
