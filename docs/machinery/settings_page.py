"""docs/reference/settings.md: every setting of the command line, its default and what it takes, by annotations."""

import re
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from scoresde import making, settings
from scoresde.config.commands.options import GROUPS, Options

CONF = Path(__file__).resolve().parents[2] / "conf"


def page() -> str:
    """The whole page."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        top = OmegaConf.to_container(compose("config"))
        lines = [
            "# Settings",
            "",
            "Made by `python docs/make.py settings` from the configs and from the annotations of the code, by which "
            "every setting is checked before any work: `KEY=VALUE` on the command line, `Class(key=value)` in Python. "
            "A value of another type or out of its range is refused in one line, and nothing is made.",
            "",
            "## Of no group",
            "",
            *_table({k: top[k] for k in settings.hints_of(Options)}, settings.hints_of(Options), CONF / "config.yaml"),
        ]
        for group in (*GROUPS, "view"):
            lines += ["", f"## `{group}=`"]
            for path in sorted((CONF / group).glob("*.yaml")):
                node = compose("config", [f"{group}={path.stem}"])[group]
                hints = settings.hints_of(making.locate(node["_target_"], group))
                plain = OmegaConf.to_container(node)
                own = {f"{group}.{k}": v for k, v in plain.items() if k != "_target_"}
                own.pop("data.other", None)  # the command's own
                lines += ["", f"### `{group}={path.stem}`", "", *_about(path), f"`{node['_target_']}`", ""]
                lines += _table(own, hints, path) if own else ["No settings."]
    return "\n".join(lines) + "\n"


def _about(path: Path) -> list[str]:
    """What the comment at the top of a config says."""
    said = [line.removeprefix("# ") for line in path.read_text().splitlines() if line.startswith("# ")]
    return [*said, ""] if said else []


def _comments(path: Path) -> dict[str, str]:
    """What a config says of each setting, or else one that it begins with, or the default of its group."""
    text = path.read_text() if path.exists() else ""
    before = [
        name for name in (yaml.safe_load(text) or {}).get("defaults", ()) if isinstance(name, str) and name[0] != "_"
    ]
    default = [path.with_stem("default")] if path.stem != "default" else []
    found = {k: v for file in [*default, *map(path.with_stem, before)] for k, v in _comments(file).items()}
    for line in text.splitlines():
        if match := re.match(r"(\w+): *\S.*? +# *(.*)$", line):
            found[match[1]] = match[2]
    return found


def _table(node: dict[str, Any], hints: dict[str, Any], path: Path) -> list[str]:
    lines, said = ["| setting | default | takes | |", "|---|---|---|---|"], _comments(path)
    for key, default in node.items():
        name = key.rpartition(".")[2]
        takes = settings.words(hints[name]).replace("None", "null") if name in hints else ""
        value = yaml.safe_dump(default, default_flow_style=True, width=1000).removesuffix("\n...\n").strip()
        cells = (f"`{key}`", f"`{value}`" if default != "???" else "", takes, said.get(name, ""))
        lines.append("| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |")
    return lines
