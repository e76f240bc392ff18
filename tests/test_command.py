"""The command: one folder a model, runs beneath it, nothing trained twice, and mistakes told in one line."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from commands import FEW, ROOT, TINY, command
from PIL import Image

import scoresde
from scoresde.model import checkpoint


@pytest.fixture
def cli(monkeypatch, capfd, tmp_path):
    return lambda *overrides, **options: command(monkeypatch, capfd, tmp_path, *overrides, **options)


def model_folder(tmp_path):
    (folder,) = (tmp_path / "runs").iterdir()
    return folder


def test_full_leaves_everything_in_one_folder(cli, tmp_path):
    code, out, err = cli(*TINY, *FEW, "seed=3")
    assert code == 0, err
    folder = model_folder(tmp_path)
    assert folder.name.startswith("vp-digits-")
    for name in ("config.yaml", "model.json", "metrics.jsonl", "checkpoint.pt", "summary.json", "loss.png"):
        assert (folder / name).stat().st_size > 0
    (sample,), (score,) = folder.glob("sample-pc-*"), folder.glob("likelihood-test-*")
    samples = np.load(sample / "samples.npy")
    assert samples.shape == (5, 1, 8, 8) and samples.dtype == np.uint8 and samples.max() <= 16
    assert Image.open(sample / "samples.png").width > 100 and (sample / "trajectory.png").exists()
    summary = json.loads((sample / "summary.json").read_text())
    assert summary["evaluations"] == 2 * 3 + 1 and summary["n"] == 5 and summary["seed"] == 3
    figures = json.loads((score / "summary.json").read_text())
    terms = sum(figures[f"bits_per_dim_{k}"] for k in ("model", "transform", "levels"))
    assert figures["bits_per_dim"] == pytest.approx(terms) and figures["t_min"] == 1e-5
    steps = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 4]
    assert "bits/dim" in out and str(sample.relative_to(tmp_path)) in out
    assert not list(folder.rglob(".*.[0-9]*"))  # no passing files are left
    assert [p.name for p in tmp_path.iterdir()] == ["runs"]

    # Another sampler uses the same model, and trains nothing.
    written = (folder / "checkpoint.pt").stat().st_mtime_ns
    code, out, err = cli(*TINY, "sampler=ode", "task=full")
    assert code == 0 and "trained already" in out, err
    assert model_folder(tmp_path) == folder and len(list(folder.glob("sample-ode-*"))) == 1
    assert (folder / "checkpoint.pt").stat().st_mtime_ns == written

    # The same samples from Python, as the whole command's config is in its folder.
    model = scoresde.load(folder)
    x = scoresde.sample(model, scoresde.sampling.PC(steps=3), (5, *model.shape), seed=3, batch_size=2)
    assert np.array_equal(model.decode(x).numpy(), samples)


def test_vectors_and_wandb_offline(cli, tmp_path):
    options = ["data=toy", "data.n=100", "data.test=20", "net.width=16", "train.steps=4", "train.batch_size=16", "n=50"]
    code, out, err = cli(*options, *FEW, wandb="offline")
    assert code == 0, err
    folder = model_folder(tmp_path)
    assert len(list((folder / "wandb").glob("offline-run-*"))) == 1
    (score,) = folder.glob("likelihood-test-*")
    figures = json.loads((score / "summary.json").read_text())
    assert np.isfinite(figures["nats"]) and "bits_per_dim" not in figures
    assert "nats in the data's units" in out and "bits/dim" not in out


def test_python_3_14_is_refused_in_one_line():
    code = (ROOT / "run.py").read_text()
    pretend = f"import sys; sys.version_info = (3, 14, 0); __name__ = 'run'; exec({code!r})"
    done = subprocess.run([sys.executable, "-c", pretend], capture_output=True, text=True)
    assert done.returncode == 1 and "3.11, 3.12 or 3.13" in done.stderr and done.stderr.count("\n") == 1


def test_fresh_starts_over(cli, tmp_path):
    assert cli(*TINY, "task=train")[0] == 0
    path = model_folder(tmp_path) / "checkpoint.pt"
    before = checkpoint.load(path)["model"]
    path.write_bytes(path.read_bytes()[:5000])
    (path.parent / "model.safetensors").unlink()
    code, _, err = cli(*TINY, "task=train")
    assert code == 1 and "cut short" in err and "fresh=true" in err and err.count("\n") == 1
    code, _, err = cli(*TINY, "task=train", "fresh=true", f"folder={path.parent}", "data=images", "data.root=/nowhere")
    assert code == 1 and "/nowhere" in err and path.exists()  # a mistake costs nothing
    assert cli(*TINY, "task=train", "fresh=true")[0] == 0
    after = checkpoint.load(path)["model"]
    assert all(torch.equal(before[k], after[k]) for k in before)


def test_another_network_is_refused(cli, tmp_path):
    assert cli(*TINY, "task=train", "folder=mine")[0] == 0
    before = (tmp_path / "mine" / "checkpoint.pt").read_bytes()
    code, _, err = cli(*TINY, "task=full", "folder=mine", "net.channels=16")
    assert code == 1 and "net.channels is 8 there and 16 here" in err and err.count("\n") == 1
    code, _, err = cli(*TINY, "task=sample", "folder=mine", "sde=ve")
    assert code == 1 and "holds another model" in err
    assert (tmp_path / "mine" / "checkpoint.pt").read_bytes() == before


def test_two_commands_in_one_folder_are_refused(cli, tmp_path):
    import fcntl

    (tmp_path / "mine").mkdir()
    with open(tmp_path / "mine" / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        code, _, err = cli(*TINY, "folder=mine")
    assert code == 1 and "another command is at work" in err


MISTAKES = [
    (["sde=vpp"], ["sde=vpp is unknown", "did you mean vp?"]),
    (["sde.beta_mx=3"], ["sde.beta_mx", "did you mean sde.beta_max?"]),
    (["smpler=pc"], ["smpler", "did you mean sampler?"]),
    (["sampler=foo"], ["sampler=foo", "ddim"]),
    (["data=images", "data.root=/does/not/exist"], ["data.root=/does/not/exist does not exist"]),
    (["data=images"], ["data.root is not set"]),
    (["batch_size=0"], ["batch_size=0"]),
    (["train.batch_size=0"], ["train.batch_size=0"]),
    (["train.steps=many"], ["train.steps='many'"]),
    (["n=0"], ["n=0"]),
    (["likelihood.probes=0"], ["likelihood.probes=0"]),
    (["sampler.grid=foo"], ["grid='foo'", "log_snr"]),
    (["rule=foo"], ["rule='foo'", "eps, v, x0, edm"]),
    (["loss.weight=foo"], ["'foo'", "min_snr"]),
    (["sde.beta_min=-1"], ["sde.beta_min=-1", "above 0"]),
    (["wandb=maybe"], ["wandb='maybe'", "offline"]),
    (["device=tpu"], ["device='tpu'", "cuda"]),
    (["task=sample"], ["no trained model", "task=train"]),
    (["data=toy", "data.kind=rings"], ["rings", "ring"]),
    (["data=toy", "net=unet"], ["take an MLP"]),
    (["net.heads=5"], ["net.heads=5", "divisor of channels=32"]),
    (["net.mults=[1,0]"], ["net.mults=[1, 0]"]),
    (["out=/proc/nowhere"], ["/proc/nowhere"]),
    (["sampler"], ["'sampler'", "KEY=VALUE"]),
]


@pytest.mark.parametrize(("overrides", "words"), MISTAKES, ids=[" ".join(m[0]) for m in MISTAKES])
def test_a_mistake_is_one_line(cli, tmp_path, overrides, words):
    code, _, err = cli(*overrides)
    assert code == 1 and err.startswith("error: ") and err.count("\n") == 1, err
    assert all(w in err for w in words), err
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").iterdir())


def test_bad_files_are_one_line(cli, tmp_path):
    folder, rng = tmp_path / "pictures", np.random.default_rng(0)
    folder.mkdir()
    for i in range(4):
        Image.fromarray(rng.integers(0, 255, (8, 8 + 2 * (i == 3)), np.uint8)).save(folder / f"{i}.png")
    code, _, err = cli("data=images", f"data.root={folder}")
    assert code == 1 and "8x8" in err and "10x8" in err and err.count("\n") == 1
    (folder / "3.png").write_bytes((folder / "2.png").read_bytes()[:70])
    code, _, err = cli("data=images", f"data.root={folder}")
    assert code == 1 and "3.png" in err and err.count("\n") == 1
    x = rng.normal(size=(20, 1, 8, 8))
    x[3, 0, 0, 0] = np.nan
    np.save(tmp_path / "x.npy", x)
    code, _, err = cli("data=array", f"data.root={tmp_path / 'x.npy'}")
    assert code == 1 and "NaN" in err and "row 3" in err and err.count("\n") == 1
