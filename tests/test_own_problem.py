"""The example of a user's own SDE, network and data set, as its user runs it: by the command, from another folder."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
from commands import ROOT

SHORT = [
    "wandb=disabled",
    "device=cpu",
    "n=8",
    "net.channels=8",
    "data.n=200",
    "train.steps=20",
    "train.batch_size=16",
    "likelihood.n=8",
    "likelihood.rtol=0.01",
    "likelihood.atol=0.01",
]


def python(folder, *arguments: str) -> str:
    # Two threads, and no more on a shared machine; no PYTHONPATH of the caller's helps to find the user's file.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"OMP_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_own_problem(tmp_path):
    shutil.copytree(ROOT / "examples" / "own_problem", tmp_path / "own", ignore=shutil.ignore_patterns("__pycache__"))
    command = [str(ROOT / "run.py"), "--config-dir", "own", "--config-name", "mine", *SHORT]
    python(tmp_path, *command, "sampler=pc", "sampler.steps=5")
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("fade-waves-")
    written = (folder / "checkpoint.pt").stat().st_mtime_ns

    # The flow samples the same model, and trains nothing.
    assert "trained already" in python(tmp_path, *command, "sampler=ode")
    assert list((tmp_path / "runs").iterdir()) == [folder]
    assert (folder / "checkpoint.pt").stat().st_mtime_ns == written

    for sampler in ("pc", "ode"):
        (place,) = folder.glob(f"sample-{sampler}-*")
        samples = np.load(place / "samples.npy")
        assert samples.shape == (8, 1, 16) and np.isfinite(samples).all()
    (place,) = folder.glob("likelihood-*")
    figures = json.loads((place / "summary.json").read_text())
    assert (
        figures["n"] == 8
        and np.isfinite(figures["nats"])
        and np.isfinite(np.load(place / "likelihood.npz")["log_prob"]).all()
    )

    # A typo in a setting of the user's own is answered from the user's own.
    words = [*command, "sde.rat=3"]
    done = subprocess.run([sys.executable, *words], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and "did you mean sde.rate?" in done.stderr and done.stderr.count("\n") == 1

    # Another process, from another folder, finds the user's classes again.
    words = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import scoresde"
    words = f"{words}; model = scoresde.load({str(folder)!r}, trust=True)"
    assert "problem.Fade" in python("/", "-c", f"{words}; print(type(model.sde))")
