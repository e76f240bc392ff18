"""One line for what Hydra refuses, in place of its report."""

import difflib
import re
import sys
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import OmegaConf

from ..tracking.report import called

LAUNCHERS = {"joblib": "hydra-joblib-launcher", "submitit": "hydra-submitit-launcher"}


def explain(error: Exception, conf: Path) -> str:
    """One line for what Hydra refused, with the nearest name that it knows."""
    if isinstance(error, OverrideParseException):
        return f"{error.override!r} is not of the form KEY=VALUE (in the shell quote lists: net.mults='[1,2]')"
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        options = sorted(error.options or [])
        for known, package in LAUNCHERS.items():
            if group == "hydra/launcher" and name.startswith(known):
                return f"hydra/launcher={name} needs a package: pip install {package}"
        return f"{group or 'config'}={name} is unknown{_nearest(name, options)}"
    text = str(error)
    cause = str(error.__cause__ or "")
    if "Config group override" in text:
        words = (word for word in sys.argv[1:] if (conf / word.partition("=")[0]).is_dir())
        word = next((w for w in words if not (conf / w.replace("=", "/", 1)).with_suffix(".yaml").exists()), "a group")
        group = word.partition("=")[0]
        return f"{word}: choose one of {', '.join(sorted(p.stem for p in (conf / group).glob('*.yaml')))}"
    if ambiguous := re.search(r"Ambiguous value for argument '([^']+)'", text):
        key, _, value = ambiguous[1].partition("=")
        key = key.removeprefix("++")
        quoted_value = f"{key}='\"{value}\"'"
        return f"{key}={value}: several values are for --multirun; one with a comma in it wants quotes: {quoted_value}"
    override = re.search(r"Could not override '([^']+)'", text)
    if override:
        key = override[1]
        known = _keys(conf)
        if any(word.startswith(f"{key.partition('.')[0]}._target_=") for word in sys.argv[1:]):
            return f"{key} is not in the config: a setting of your own target is added by a plus, +{key}=..."
        return f"{key} is not a setting{_nearest(key, known)} ({called()} --cfg job lists all)"
    group = re.search(r"Could not find '([^']+)'", text)
    if group:
        return f"{group[1]} is unknown: {text.splitlines()[0]}"
    return f"{text.splitlines()[0]} {cause.splitlines()[0] if cause else ''}".strip()


def _keys(conf: Path) -> list[str]:
    """Every dotted key of the config, with the file and the groups that this command line chose."""
    words = " ".join(sys.argv[1:])
    name = re.search(r"(?:--config-name|-cn)[ =](\S+)", words)
    folder = re.search(r"(?:--config-dir|-cd)[ =](\S+)", words)
    chosen = [f"hydra.searchpath=[{Path(folder[1]).absolute()}]"] if folder else []
    for word in sys.argv[1:]:
        group, _, choice = word.partition("=")
        if (conf / group / f"{choice}.yaml").exists():
            chosen.append(word)
    GlobalHydra.instance().clear()
    # A file beside the user's folder cannot be the primary config of `conf`: it is composed where it is.
    home, chosen = (folder[1], [f"hydra.searchpath=[{conf}]", *chosen[1:]]) if name and folder else (conf, chosen)
    with initialize_config_dir(str(Path(home).absolute()), version_base="1.3"):
        config = OmegaConf.to_container(compose(name[1] if name else "config", chosen))
    from ..model.description import flatten

    return sorted({*flatten(config), *(str(k) for k in config)})


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, 1, 0.6)
    if close:
        return f"; did you mean {close[0]}?"
    beside = [k for k in known if k.rpartition(".")[0] == name.rpartition(".")[0] and not k.endswith("_target_")]
    beside = beside or [k for k in known if "." not in k]
    return f"; choose one of {', '.join(beside)}"
