"""The scripts of benchmarks/, which no test runs: what they import of one another is there, and what pages name."""

import ast
import re

import pytest
from commands import ROOT

BENCHMARKS = ROOT / "benchmarks"
SCRIPTS = sorted(BENCHMARKS.glob("*/*.py"))
TEXTS = ("*.md", "benchmarks/*.md", "benchmarks/*/*.py", "conf/**/*.yaml", "docs/**/*.md", "scoresde/**/*.py")


def top(path) -> set[str]:
    """The names that a file makes at its top, imports apart."""
    made = set()
    for node in ast.parse(path.read_text()).body:
        made |= {node.name} if hasattr(node, "name") else set()
        targets = getattr(node, "targets", [getattr(node, "target", None)])
        made |= {n.id for t in targets if t is not None for n in ast.walk(t) if isinstance(n, ast.Name)}
        for inner in getattr(node, "body", ()) if isinstance(node, ast.Try) else ():
            made |= {alias.asname or alias.name for alias in getattr(inner, "names", ())}
    return made


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_what_a_script_imports_of_another_is_there(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            parts = node.module.split(".")
            home = ROOT.joinpath(*parts) if parts[0] == "benchmarks" else path.parent.joinpath(*parts)
            if parts[0] == "benchmarks" or home.with_suffix(".py").exists():
                assert {alias.name for alias in node.names} <= top(home.with_suffix(".py")), node.module


def test_every_benchmark_that_is_named_is_there():
    named = {
        (str(path.relative_to(ROOT)), name)
        for pattern in TEXTS
        for path in ROOT.glob(pattern)
        for name in re.findall(r"\bbenchmarks/[\w/]+\.py\b", path.read_text())
    }
    assert len(named) > 60 and {name for _, name in named} <= {str(p.relative_to(ROOT)) for p in SCRIPTS}, named
