"""The pages that people read, their blocks of Python and their commands: one list for the tests that run them."""

import re
import shlex
from pathlib import Path

from commands import ROOT
from hydra import compose, initialize_config_dir

from scoresde.command.main import quoted

DOCS = ROOT / "docs"
MADE = ("_build", "auto_tutorials", "tutorials", "api", "repository")  # made by the site, or run by it


def pages() -> list[str]:
    """The pages of the repository that are written by hand, by their paths from its root."""
    found = [p for p in DOCS.rglob("*.md") if not set(MADE) & set(p.relative_to(DOCS).parts)]
    found += [ROOT / "README.md", ROOT / "examples" / "own_problem" / "README.md"]
    return sorted(str(p.relative_to(ROOT)) for p in found)


def text(page: str) -> str:
    return (ROOT / page).read_text()


def blocks(page: str) -> list[str]:
    """Its blocks of Python, in order."""
    return re.findall(r"```python\n(.*?)```", text(page), re.S)


def commands(page: str) -> list[str]:
    """What follows `python run.py` in its indented lines and in the code of its text, without comments."""
    lines = re.findall(r"^    python run.py (.*?)(?:  +#.*| # .*)?$", text(page).replace("\\\n", " "), re.M)
    return lines + re.findall(r"`python run.py ([^`]*)`", text(page).replace("\n", " "))


SEEN: set[str] = set()  # what has been composed: many a command stands on several pages


def composes(lines: list[str], conf: Path = ROOT / "conf") -> None:
    """Each command is one that Hydra takes: of several values of a sweep the first, without launchers' own settings.

    Launchers are packages of their own: tests/test_launchers.py runs them.  What is left out of a line is `...`.
    """
    with initialize_config_dir(str(conf), version_base="1.3"):
        for line in lines:
            if line in SEEN or "--config-dir" in line or "--help" in line or "--version" in line:
                continue
            words = [quoted(w) for w in shlex.split(line) if not w.startswith(("--", "hydra")) and w != "..."]
            compose("config", [re.sub(r"=([a-z_0-9]+),.*", r"=\1", w) if "[" not in w else w for w in words])
            SEEN.add(line)


def run(page: str, names: dict | None = None, **put: object) -> dict:
    """Runs its blocks one after the other in one namespace, with words such as FOLDER replaced.  Returns the names."""
    names = {} if names is None else names
    for block in blocks(page):
        for word, value in put.items():
            block = re.sub(rf"\b{word}\b", lambda _, value=value: str(value), block)
        exec(compile(block, page, "exec"), names)
    return names
