"""The slow laws in parts: each law is in one of them, whatever else there is, and other laws are in all."""

import subprocess
import sys

import pytest
from commands import ROOT
from conftest import part_of

LAWS = """import pytest
@pytest.mark.slow
@pytest.mark.parametrize("i", range(40))
def test_slow(i): pass
def test_quick(): pass
"""


@pytest.fixture
def chosen(tmp_path):
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    (tmp_path / "test_laws.py").write_text(LAWS)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = slow: minutes\n")

    def run(*words):
        command = [sys.executable, "-m", "pytest", "-q", "--collect-only", "-p", "no:cacheprovider", *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        return done.returncode, [line for line in done.stdout.splitlines() if "::" in line], done.stderr

    return run


def test_every_slow_law_is_in_one_part(chosen):
    parts = [chosen("--slow-part", f"{k}/3")[1] for k in (1, 2, 3)]
    assert all("test_laws.py::test_quick" in part and len(part) > 5 for part in parts)
    slow = sorted(law for part in parts for law in part if "slow" in law)
    assert slow == sorted(law for law in chosen()[1] if "slow" in law) and len(slow) == 40
    assert all(part_of(law, 3) == k + 1 for k, part in enumerate(parts) for law in part if "slow" in law)


@pytest.mark.parametrize("words", ["4/3", "0/3", "2", "a/b"])
def test_what_is_no_part_is_refused(chosen, words):
    code, _, err = chosen("--slow-part", words)
    assert code == 4 and f"--slow-part {words}: give K/N" in err
