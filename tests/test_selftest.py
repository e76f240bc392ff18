"""The self-test passes here, fails where a law is broken, and touches no folder of models."""

import subprocess
import sys

import pytest
import torch
from commands import ROOT, command

from scoresde import noise
from scoresde.errors import InputError
from scoresde.experiment import laws, selftest


@pytest.mark.slow
def test_it_passes_here(monkeypatch, capfd, tmp_path):
    code, out, err = command(monkeypatch, capfd, tmp_path, "task=selftest", "device=cpu")
    assert code == 0 and not err, (out, err)
    assert "checks passed on cpu" in out and "FAIL" not in out and f"torch {torch.__version__}" in out
    assert not list(tmp_path.iterdir())


def test_a_broken_law_fails_the_command(monkeypatch, capfd, tmp_path):
    """Random numbers that are a little too wide, or lost: the moments see the one, the table says the other."""
    normal = noise.normal
    monkeypatch.setattr(noise, "normal", lambda *a: 1.05 * normal(*a))
    monkeypatch.setattr(selftest, "LAWS", (laws.random_numbers, laws.marginals))
    monkeypatch.setattr(selftest, "training", lambda device: 1 / 0)
    monkeypatch.setattr(selftest, "precision", lambda device: [])
    code, out, err = command(monkeypatch, capfd, tmp_path, "task=selftest", "device=cpu")
    assert code == 1 and err.startswith("error: 8 of 17 checks failed: noise (moments") and err.count("\n") == 1, err
    assert "ZeroDivisionError" in out and "ve: drift and diffusion" in out and not list(tmp_path.iterdir())


@pytest.mark.parametrize("law", [laws.rows, laws.likelihoods], ids=lambda law: law.__name__)
def test_laws_hold(law):
    checks = list(law("cpu"))
    assert checks and all(check.passed for check in checks), checks


def test_a_figure_that_is_no_number_fails():
    assert not laws.Check("law", "what", float("nan"), 1.0).passed
    with pytest.raises(InputError, match="device=tpu"):
        selftest.selftest("tpu")


def test_it_needs_torch_alone():
    """No Hydra, no accelerate, no rich, no wandb: as on a machine that has only torch."""
    absent = ("hydra", "omegaconf", "accelerate", "rich", "wandb", "matplotlib", "PIL", "sklearn", "torchsde")
    code = f"""import sys
for name in {absent}: sys.modules[name] = None
from scoresde.experiment import selftest
found = [*selftest.training("cpu")]
assert all(check.passed for check in found), found
assert "rich" in "".join(selftest.header("cpu"))"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
