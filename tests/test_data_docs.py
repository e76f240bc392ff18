"""The page on data says what is so: its snippets run, its commands compose, its table is within its bounds."""

import re
import shlex

import torch
from commands import ROOT
from hydra import compose, initialize_config_dir

from scoresde import data

PAGE = (ROOT / "docs" / "howto" / "data.md").read_text()


def test_its_snippets_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    units, table, beside, shapes = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    names = {}
    exec(units, names)
    assert names["x"].dtype == torch.float32 and names["error"].max() < 1e-6
    assert names["x"].mean(0).abs().max() < 1e-4 and (names["x"].std(0) - 1).abs().max() < 0.01
    exec(table, names)
    assert names["names"] == ("height", "dose")
    exec(beside, names)
    said = re.search(r"note = data.notes\[-1\]  # (.*)", beside)[1]
    assert names["note"] == said and names["batch"].cond["theta"].shape == (5, 3)
    exec(shapes, names)
    assert names["shape"] == (1, 28, 28) and "images of one channel" in names["note"]


def test_its_commands_compose():
    lines = re.findall(r"^    python run.py (.*)$", PAGE, re.M)
    assert len(lines) == 3
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        for line in lines:
            compose("config", shlex.split(line))


def test_its_names_are_there():
    for name in re.findall(r"`(from_\w+|array|images|custom|check_data)\(", PAGE):
        assert callable(getattr(data, name))
    settings = set(
        re.findall(r"`(?:data\.)?(standardize|channels|missing|columns|background|broken|levels|cond)=", PAGE)
    )
    assert settings == {"standardize", "channels", "missing", "columns", "background", "broken", "levels", "cond"}


def test_its_table_is_within_its_bounds():
    rows = re.findall(r"^\| (\S+ \.\w+.*?) \| (\d+) \| [\d.]+ \|$", PAGE, re.M)
    assert len(rows) == 8
    for kind, peak in rows:
        assert int(peak) <= (100 if "later" in kind else 800), kind
