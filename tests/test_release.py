"""What a release is made of: its version, the types that it shows to others, its check-list, the files beside it."""

import importlib.util
import json
import platform
import re
import subprocess
import sys

import pytest
import yaml
from commands import ROOT

import scoresde


def lines(name):
    """The numbers of the lines of a file that say that they are wrong."""
    text = (ROOT / "tests" / name).read_text().splitlines()
    return {i + 1 for i, line in enumerate(text) if line.endswith("# wrong")}


def test_the_version_is_told_before_anything_is_imported(tmp_path):
    (tmp_path / "torch.py").write_text("raise RuntimeError('torch was imported')")
    for words in (["--version"], ["task=train", "--version"]):
        done = subprocess.run(
            [sys.executable, str(ROOT / "run.py"), *words],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={"PYTHONPATH": str(tmp_path)},
        )
        assert done.returncode == 0 and not done.stderr, done.stderr
        found = re.fullmatch(r"scoresde (\S+), torch (\S+), python (\S+)\n", done.stdout)
        assert found[1] == scoresde.__version__ and found[3] == platform.python_version()


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("mypy") is None, reason="types are checked where mypy is installed")
def test_the_public_api_type_checks_and_wrong_calls_are_reported(tmp_path):
    command = [sys.executable, "-m", "mypy", f"--cache-dir={tmp_path}", "--output=json", "tests/typed_use.py"]
    done = subprocess.run([*command, "tests/typed_misuse.py"], cwd=ROOT, capture_output=True, text=True)
    said = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert said and not done.stderr, done.stdout + done.stderr
    errors = [e for e in said if e["severity"] == "error"]
    assert [e for e in errors if e["file"].endswith("typed_use.py")] == []
    assert {e["line"] for e in errors} == lines("typed_misuse.py") and len(lines("typed_misuse.py")) > 10


def test_the_type_checked_files_name_what_there_is():
    for name in ("typed_use.py", "typed_misuse.py"):
        for found in set(re.findall(r"\bscoresde\.([a-zA-Z_.]+)", (ROOT / "tests" / name).read_text())) - {"sampled"}:
            value = scoresde
            for part in found.split("."):
                value = getattr(value, part)


def test_the_version_is_the_changelogs():
    newest = re.search(r"^## (\d\S*)", (ROOT / "CHANGELOG.md").read_text(), re.M)[1]
    assert newest == scoresde.__version__


def test_the_files_beside_the_code_are_read_as_they_are_meant():
    forms = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    assert [p.stem for p in forms] == ["bug", "config", "feature"]
    for path in [*forms, ROOT / ".github" / "workflows" / "test.yml", ROOT / ".pre-commit-config.yaml"]:
        assert isinstance(yaml.safe_load(path.read_text()), dict)
    for path in forms:
        parts = yaml.safe_load(path.read_text()).get("body", [])
        names = [part["id"] for part in parts if part["type"] != "markdown"]
        assert len(set(names)) == len(names) and all(
            "label" in part["attributes"] or "value" in part["attributes"] for part in parts
        )
    steps = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text())["jobs"]
    assert "make test" in str(steps) and "test_release.py" in str(steps)
    pinned = (ROOT / "constraints.txt").read_text()
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    (ruff,) = (repo for repo in hooks if repo["repo"].endswith("ruff-pre-commit"))
    assert f"ruff=={ruff['rev'].removeprefix('v')}\n" in pinned


def test_the_image_copies_what_the_build_needs_and_runs_as_nobody_in_particular():
    text = (ROOT / "Dockerfile").read_text()
    copied = {word for line in re.findall(r"^COPY (.*)$", text, re.M) for word in line.split()[:-1]}
    assert {"pyproject.toml", "constraints.txt", "README.md", "LICENSE", "run.py", "conf", "scoresde"} <= copied
    kept = {line[1:].rstrip("/") for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied <= kept and all((ROOT / name).exists() for name in copied)
    users = re.findall(r"^USER (\S+)$", text, re.M)
    assert users and users[-1] != "root" and text.index("USER") < text.index("ENTRYPOINT")
