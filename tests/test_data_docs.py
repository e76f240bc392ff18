"""The pages on data say what is so: their snippets run, their names are there, the table is within its bounds."""

import re

import pages
import torch

from scoresde import data

PAGE, TABLES = pages.text("docs/howto/data.md"), pages.text("docs/howto/tables.md")


def test_its_snippets_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (units, beside, shapes), (table,) = pages.blocks("docs/howto/data.md"), pages.blocks("docs/howto/tables.md")
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


def test_its_names_are_there():
    for name in re.findall(r"`(from_\w+|array|images|custom|check_data)\(", PAGE + TABLES):
        assert callable(getattr(data, name))
    settings = set(
        re.findall(r"`(?:data\.)?(standardize|channels|missing|columns|background|broken|levels|cond)=", PAGE + TABLES)
    )
    assert settings == {"standardize", "channels", "missing", "columns", "background", "broken", "levels", "cond"}


def test_its_table_is_within_its_bounds():
    rows = re.findall(r"^\| (\S+ \.\w+.*?) \| (\d+) \| [\d.]+ \|$", PAGE, re.M)
    assert len(rows) == 8
    for kind, peak in rows:
        assert int(peak) <= (100 if "later" in kind else 800), kind
