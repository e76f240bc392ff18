"""Laws of large arrays: how much memory reading one takes, and that it makes no difference to what is read."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from commands import ROOT
from data_problems import check_continuous, whole
from problems import refuses

import scoresde
from scoresde import data as D
from scoresde.training.order import batches

MIB = 2**20
PEAK = """
import sys, torch
import numpy as np
from scoresde import data as D
from scoresde.data import rows
status = lambda key: next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(key)) * 1024
D.from_tensor(torch.randn(20, 2)).fingerprint
path, options = sys.argv[1], eval(sys.argv[2])
for rows.IN_MEMORY in (0, 2**31):
    data = None
    open("/proc/self/clear_refs", "w").write("5")  # the peak begins here
    start = status("VmRSS")
    data = D.array(path, **options)
    data.fingerprint
    data.encode(D.stack(data.train, range(0, 256, 2)))
    print(status("VmHWM") - start)
"""


def peaks(path, **options):
    """By how many MiB reading the file raises the most memory that a process holds: later, and at once."""
    command = [sys.executable, "-c", PEAK, str(path), repr(options)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    return [int(line) / MIB for line in done.stdout.split()]


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="needs Linux's /proc")
@pytest.mark.parametrize("kind", ["<f4", ">f8", "u1", "npz", "csv"])
def test_the_peak_is_at_most_twice_the_file(tmp_path, kind):
    rng, path, options = np.random.default_rng(0), tmp_path / "x.npy", {}
    if kind == "csv":
        path = tmp_path / "x.csv"
        np.savetxt(path, rng.standard_normal((3 * 10**4, 8)), delimiter=",", fmt="%.17g")
    elif kind == "u1":
        np.save(path, rng.integers(0, 256, (64 * 256, 64, 64), dtype=np.uint8))
        options = {"levels": 256}
    else:
        x = rng.standard_normal((2**14, 512 if kind == ">f8" else 1024), dtype=np.float32)
        path = tmp_path / "x.npz" if kind == "npz" else path
        np.savez(path, x=x) if kind == "npz" else np.save(path, x.astype(kind))
    size = path.stat().st_size / MIB
    later, at_once = peaks(path, **options)
    assert at_once < 2 * size + 16
    if path.suffix == ".npy":
        assert later < 50, later  # the blocks that are looked at, whatever the file's size


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["<f4", "<f8", ">f8", "u1", "i8", "f2"])
def test_what_is_read_later_is_the_same(tmp_path, monkeypatch, kind, order):
    x = (np.random.RandomState(0).rand(70, 2, 9) * 100 + (1e7 if "8" in kind else 0)).astype(kind)
    np.save(tmp_path / "x.npy", np.asarray(x, order=order))
    for options in ({}, {"standardize": "feature"}, {"levels": 256} if kind == "u1" else {"channels": "last"}):
        kept = D.array(tmp_path / "x.npy", **options)
        with monkeypatch.context() as patch:
            patch.setattr("scoresde.data.rows.IN_MEMORY", 0)
            lazy = D.array(tmp_path / "x.npy", **options)
            mapped = D.from_tensor(np.load(tmp_path / "x.npy", mmap_mode="r"), **options)
        assert isinstance(kept.train, D.Tensors) and not isinstance(lazy.train, D.Tensors)
        for other in (lazy, mapped, pickle.loads(pickle.dumps(lazy))):
            assert kept.fingerprint == other.fingerprint and kept.shape == other.shape
            for split in ("train", "test"):
                a, b = whole(getattr(kept, split)), whole(getattr(other, split))
                assert a.dtype == b.dtype and torch.equal(a, b)
                assert torch.equal(kept.encode(a), other.encode(b))
            assert torch.equal(lazy.train[5], kept.train[5])
    if kind != "u1":
        check_continuous(kept)


def test_parts_of_a_memory_map(tmp_path, monkeypatch):
    monkeypatch.setattr("scoresde.data.rows.IN_MEMORY", 0)
    x = np.random.RandomState(0).randn(60, 4)
    np.save(tmp_path / "x.npy", x)
    held = np.load(tmp_path / "x.npy", mmap_mode="r")
    for view in (held[10:50], held[::2], held[:, 1:], held.T, np.memmap(tmp_path / "x.npy", "f8", "r", 128, (20, 4))):
        order = np.random.RandomState(0).permutation(len(view))
        assert np.allclose(whole(D.from_tensor(view, test=1).train), np.array(view)[order[:-1]])


def test_training_reads_a_file_that_does_not_fit(tmp_path, monkeypatch):
    x = 3 + 2 * np.random.RandomState(0).randn(300, 2).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    kept = D.array(tmp_path / "x.npy")
    monkeypatch.setattr("scoresde.data.rows.IN_MEMORY", 0)
    lazy = D.array(tmp_path / "x.npy")
    for workers in (0, 1):
        for a, b in zip(*(batches(d.train, 16, 0, 0, 5, workers=workers) for d in (kept, lazy)), strict=True):
            assert torch.equal(a.x, b.x)
    weights = []
    for data in (kept, lazy):
        torch.manual_seed(0)
        model = scoresde.Preconditioned(scoresde.nets.MLP((2,), width=8), scoresde.VP())
        weights.append(scoresde.train(model, data, steps=5, batch_size=16).state_dict())
    assert all(torch.equal(weights[0][k], weights[1][k]) for k in weights[0])
    np.save(tmp_path / "x.npy", x + 1)
    refuses("x.npy was changed", call=lambda: lazy.train[0])
    (tmp_path / "x.npy").unlink()
    refuses("x.npy cannot be read", call=lambda: lazy.train[0])


def test_the_array_that_was_given_may_change_afterwards():
    x = np.random.RandomState(0).randn(50, 2).astype(np.float32)
    data = D.from_tensor(x)
    before = whole(data.train).clone()
    x[:] = 0
    assert torch.equal(whole(data.train), before)
