"""What a launcher left in the environment for another process changes nothing but a line."""

import os
import subprocess
import sys

import pytest
import torch
from commands import ROOT
from sweeps import SMALL

import scoresde
from scoresde.machine import launcher
from scoresde.sampling.shares import joined

WHOLE = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
LEFT = [
    {"RANK": "1"},
    {"LOCAL_RANK": "0"},
    {"WORLD_SIZE": "2"},
    {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2"},
    {k: v for k, v in WHOLE.items() if k != "MASTER_ADDR"},
    {k: v for k, v in WHOLE.items() if k != "RANK"},
    WHOLE | {"MASTER_PORT": ""},
    WHOLE | {"RANK": "2"},
    WHOLE | {"RANK": "one"},
    WHOLE | {"WORLD_SIZE": "-2"},
    {"WORLD_SIZE": "many", "RANK": ""},
    {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"},
    {"PMI_SIZE": "3"},
]


@pytest.fixture
def clean(monkeypatch):
    for name in (*launcher.NUMBERS, *launcher.MEETING, *launcher.SIZES):
        monkeypatch.delenv(name, raising=False)

    def use(given):
        for name, value in given.items():
            monkeypatch.setenv(name, value)

    return use


def test_a_launcher_says_all_of_it(clean):
    assert (launcher.launched(), launcher.rank(), launcher.started(), launcher.ignored()) == (False, 0, 1, "")
    clean(WHOLE)
    assert (launcher.launched(), launcher.rank(), launcher.started(), launcher.ignored()) == (True, 1, 2, "")
    with launcher.hidden():
        assert launcher.started() == 2


@pytest.mark.parametrize("given", LEFT, ids=str)
def test_what_was_left_over_is_named_and_ignored(clean, given):
    clean(given)
    assert (launcher.launched(), launcher.rank(), launcher.started()) == (False, 0, 1)
    words = launcher.ignored()
    assert words.startswith("warning: ") and "\n" not in words and "MASTER_ADDR" in words
    names = [n for n in given if n in (*launcher.NUMBERS, *launcher.SIZES)]
    assert all(f"{name}={given[name]}" in words for name in names)
    with launcher.hidden():
        assert launcher.ignored() == "" and not any(name in os.environ for name in names)
    assert launcher.ignored() == words
    launcher.forget()
    assert launcher.ignored() == "" and not any(name in os.environ for name in names) and joined() == (0, 1)


def fit(folder):
    torch.manual_seed(0)
    model = scoresde.Preconditioned(scoresde.nets.MLP((2,), width=16), scoresde.VP())
    x = torch.randn(100, 2, generator=torch.Generator().manual_seed(0))
    return [*scoresde.train(model, x, steps=3, batch_size=16, device="cpu", folder=folder).parameters()]


@pytest.mark.parametrize("given", [LEFT[0], LEFT[3], LEFT[11]], ids=str)
def test_python_trains_all_the_same(clean, tmp_path, given):
    whole = fit(tmp_path / "whole")
    clean(given)
    with pytest.warns(UserWarning, match="ignored, as no launcher started this process"):
        found = fit(tmp_path / "m")
    assert all(torch.equal(a, b) for a, b in zip(whole, found, strict=True))
    assert (tmp_path / "m" / "checkpoint.pt").exists() and all(os.environ[k] == v for k, v in given.items())


def test_a_command_writes_and_speaks_all_the_same(tmp_path):
    left = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    env = {k: v for k, v in os.environ.items() if k not in launcher.MEETING} | left
    command = [sys.executable, str(ROOT / "run.py"), *SMALL, "task=train", "folder=m", "wandb=disabled"]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and (tmp_path / "m" / "summary.json").exists(), done
    assert done.stdout.count("RANK=1, LOCAL_RANK=1, WORLD_SIZE=2 in the environment: ignored") == 1
    assert "trained 4 steps" in done.stdout and not done.stderr
