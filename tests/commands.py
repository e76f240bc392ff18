"""Runs the command line inside the test's process."""

import contextlib
import functools
import multiprocessing
import sys
from pathlib import Path

from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra

from scoresde import tuning
from scoresde.machine import locks

ROOT = Path(__file__).resolve().parent.parent
# A model that trains in a second.
TINY = [
    "net.channels=8",
    "net.attention=0",
    "train.steps=4",
    "train.batch_size=16",
    "train.validate_every=2",
    "train.checkpoint_every=2",
    "train.log_every=1",
    "train.warmup=1",
    "n=5",
    "likelihood.n=6",
    "likelihood.rtol=0.01",
    "likelihood.atol=0.01",
]
FEW = ["sampler.steps=3"]
# The same by a network whose samplers and likelihoods take a fifth of that, of digits and of points of the plane.
DIGITS = ["net=mlp", "net.width=16", "net.blocks=1", *(word for word in TINY if word[:4] != "net.")]
POINTS = ["data=toy", *DIGITS]


class Quiet:
    """In the place of `capfd` where a fixture of many tests runs a command."""

    def readouterr(self) -> tuple[str, str]:
        return "", ""


def command(monkeypatch, capfd, folder: Path, *overrides: str, wandb: str | None = "disabled") -> tuple[int, str, str]:
    """`python run.py OVERRIDES` in `folder`: its exit code, what it printed, and its words on standard error."""
    from scoresde.command.main import main

    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["run.py", *([] if wandb is None else [f"wandb={wandb}"]), *overrides])
    monkeypatch.setattr(Hydra, "get_mode", lambda *given, **named: None)  # it would compose all a first time
    GlobalHydra.instance().clear()
    code = 0
    try:
        main(ROOT / "conf")
    except SystemExit as stop:
        code = stop.code
    out, err = capfd.readouterr()
    return code, out, err


def short_search(monkeypatch) -> None:
    """task=tune with a short fit through the solver: tests/test_through.py judges the whole one."""
    monkeypatch.setattr(tuning, "fit_through", functools.partial(tuning.fit_through, iterations=20))


@contextlib.contextmanager
def held(folder: Path):
    """Another process at work in a folder; the value is an event that ends it."""
    fork = multiprocessing.get_context("fork")
    ready, end = fork.Event(), fork.Event()
    process = fork.Process(target=_hold, args=(folder, ready, end))
    process.start()
    try:
        assert ready.wait(30)
        yield end
    finally:
        end.set()
        process.join()


def _hold(folder: Path, ready, end) -> None:
    with locks.alone(folder):
        ready.set()
        end.wait(30)
