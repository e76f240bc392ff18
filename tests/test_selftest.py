"""The self-test passes here, fails where a law is broken, and touches no folder of models."""

import dataclasses
import subprocess
import sys

import pytest
import torch
from commands import ROOT, command

from scoresde import noise
from scoresde.errors import InputError
from scoresde.sampling import Adams
from scoresde.selftest import laws
from scoresde.selftest import proof as selftest


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


def wider(sample):
    """Samples of batches of 7 are a thousandth too wide."""
    return lambda *given, **options: sample(*given, **options) * (1.001 if "batch_size" in options else 1)


def euler(sample):
    """Runge and Kutta's steps are Euler's."""

    def other(model, sampler, *given, **options):
        if type(sampler).__name__ == "RK4":
            sampler = Adams(4 * sampler.steps, sampler.grid, sampler.last, sampler.t_min, order=1, correct=False)
        return sample(model, sampler, *given, **options)

    return other


def apart(log_likelihood):
    """Likelihoods that are a hundredth of a nat too large."""

    def other(*given, **options):
        found = log_likelihood(*given, **options)
        return dataclasses.replace(found, log_prob=found.log_prob + 0.01)

    return other


@pytest.mark.parametrize(
    ("law", "name", "fault"),
    [(laws.rows, "sample", wider), (laws.orders, "sample", euler), (laws.likelihoods, "log_likelihood", apart)],
    ids=["rows", "orders", "likelihoods"],
)
def test_a_law_holds_here_and_not_where_it_is_broken(monkeypatch, law, name, fault):
    """What it finds here is far below what a small fault would make of it, and that is no pass."""
    sound = [check.figure for check in law("cpu") if check.passed]
    monkeypatch.setattr(laws, name, fault(getattr(laws, name)))
    broken = list(law("cpu"))
    failed = [check.figure > 5 * figure for check, figure in zip(broken, sound, strict=True) if not check.passed]
    assert failed and all(failed), broken


def test_a_figure_that_is_no_number_fails():
    assert not laws.Check("law", "what", float("nan"), 1.0).passed
    with pytest.raises(InputError, match="device=tpu"):
        selftest.selftest("tpu")


def test_it_needs_torch_alone():
    """No Hydra, no accelerate, no rich, no wandb: as on a machine that has only torch."""
    absent = ("hydra", "omegaconf", "accelerate", "rich", "wandb", "matplotlib", "PIL", "sklearn", "torchsde")
    code = f"""import sys
for name in {absent}: sys.modules[name] = None
from scoresde.selftest import proof as selftest
found = [*selftest.training("cpu")]
assert all(check.passed for check in found), found
assert "rich" in "".join(selftest.header("cpu"))"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
