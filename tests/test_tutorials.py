"""Each tutorial runs as plain Python: what it says is checked by its own asserts."""

import os
import re
import subprocess
import sys

import pytest
from commands import ROOT

SCRIPTS = sorted((ROOT / "docs" / "tutorials").glob("plot_*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.stem)
def test_a_tutorial_runs(path, tmp_path):
    env = os.environ | {"MPLBACKEND": "agg", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error::RuntimeWarning", "-W", "error::DeprecationWarning:__main__", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=env, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Warning" not in done.stderr and done.stdout.count("\n") >= 5
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.stem)
def test_a_tutorial_has_what_a_page_needs(path):
    """A numbered title, formulas, a source, a picture and numbers that are checked; about a page of it."""
    text = path.read_text()
    number = path.stem.split("_")[1]
    assert re.match(rf'r"""\n{number}\. .+\n=+\n', text)
    assert ".. math::" in text and "arXiv" in text and "plt.show()" in text
    assert text.count("assert ") >= 3 and text.count("print(") >= 3
    assert 60 <= text.count("\n") <= 125


def test_the_tutorials_are_numbered_in_order():
    assert [int(path.stem.split("_")[1]) for path in SCRIPTS] == list(range(1, len(SCRIPTS) + 1))
    assert len(SCRIPTS) >= 8 and (ROOT / "docs" / "tutorials" / "GALLERY_HEADER.rst").exists()
