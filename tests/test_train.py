"""Training: it learns, it averages, it stops when it should, and a stopped run goes on to the same weights."""

import random
import re
import shutil
import time

import pytest
import torch
from boxes import Box, begun, differences
from commands import TINY

import scoresde
from scoresde.conditions import Label
from scoresde.data import Affine, Data, Tensors
from scoresde.machine import files
from scoresde.model import checkpoint
from scoresde.training import Training
from scoresde.training.average import EMA
from scoresde.training.order import Order

LABEL = {"label": Label(3, drop=0.3)}


def denoiser(dropout=0.1, **conditions):
    torch.manual_seed(1)
    net = scoresde.nets.MLP((2,), width=32, blocks=1, dropout=dropout, conditions=conditions)
    return scoresde.Preconditioned(net, scoresde.VP())


def points(n=400):
    x = torch.randn(n, 2, generator=torch.Generator().manual_seed(0))
    part = lambda i: Tensors(x[i], cond={"label": torch.arange(n)[i] % 3})
    return Data("points", part(slice(n - 50)), part(slice(n - 50, n)), Affine(), conditions={"label": Label(3)})


SETTINGS = {"batch_size": 32, "lr": 1e-3, "warmup": 2, "validate_every": 3, "checkpoint_every": 3, "log_every": 1}


def test_it_learns_the_scale_of_gaussian_data():
    x = 0.3 * torch.randn(2000, 2)
    model = scoresde.train(denoiser(dropout=0.0), x, steps=600, batch_size=128, ema=0.95)
    samples = scoresde.sample(model, scoresde.sampling.Heun(steps=12), (2000, 2))
    assert samples.std() == pytest.approx(0.3, rel=0.15)
    assert not model.training


@pytest.mark.parametrize("stop", [3, 6])
@pytest.mark.parametrize("conditions", [{}, LABEL], ids=["plain", "label"])
def test_resume_is_exact(tmp_path, stop, conditions):
    """N steps and then the rest, by another process's objects, give the weights of one run to the bit."""
    training = Training(steps=9, **SETTINGS)
    start = lambda: denoiser(**conditions)
    whole = scoresde.train(start(), points(), training=training, folder=tmp_path / "whole")

    class Stop(Exception):
        pass

    def report(step, **figures):
        if step == stop + 2:
            raise Stop

    with pytest.raises(Stop):
        scoresde.train(start(), points(), training=training, folder=tmp_path / "parts", report=report)
    assert checkpoint.load(tmp_path / "parts" / "checkpoint.pt")["step"] == stop
    torch.rand(7)  # the state of the global generator must not matter
    parts = scoresde.train(start(), points(), training=training, folder=tmp_path / "parts")
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), parts.parameters(), strict=True))
    assert not (differ := differences(tmp_path / "whole", tmp_path / "parts")), differ


def test_a_training_killed_in_its_very_last_moment_leaves_nothing(tmp_path):
    for _ in range(2):
        scoresde.train(denoiser(), points(), steps=6, folder=tmp_path, **SETTINGS)
        left = {"checkpoint.pt", "metrics.jsonl", "model.json", "model.safetensors", "moments.safetensors"}
        left |= {"summary.json"}
        assert {p.name for p in tmp_path.iterdir()} == left
        shutil.copy(tmp_path / "checkpoint.pt", tmp_path / "checkpoint.before.pt")
        (tmp_path / ".checkpoint.pt.4711.passing").write_bytes(b"half")


def test_training_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    model = denoiser()
    torch.manual_seed(5)
    scoresde.train(model, points(), steps=2, batch_size=8)
    assert torch.equal(torch.rand(3), expected)


def test_kill_and_go_on(tmp_path):
    """kill -9 at a random moment, then the same command: the weights of an uninterrupted run, to the bit."""
    box = Box(tmp_path)
    tiny = [word for word in TINY if not word.startswith("train.steps")]
    words = [*tiny, "train.steps=100", "task=train", "wandb=disabled", "device=cpu"]
    job = begun(box, box.start(words))
    time.sleep(random.random() * 0.5)
    box.fails(job.send().wait(), -9)
    assert checkpoint.load(box.model / "checkpoint.pt")["step"] > 0
    box.same(words)


def test_order_covers_every_item_once_an_epoch_whatever_the_start_and_the_processes():
    whole = list(Order(10, 4, 0, 0, 10))
    flat = [i for batch in whole for i in batch]
    assert all(sorted(flat[e : e + 10]) == list(range(10)) for e in range(0, 40, 10))
    assert flat[:10] != flat[10:20]
    assert list(Order(10, 4, 0, 3, 10)) == whole[3:]
    for a, b, both in zip(Order(10, 4, 0, 0, 10, 0, 2), Order(10, 4, 0, 0, 10, 1, 2), whole, strict=True):
        assert sorted(a + b) == sorted(both)


def test_ema_starts_at_the_weights_and_forgets_the_start():
    model = torch.nn.Linear(1, 1, bias=False)
    ema = EMA(model, 0.9)
    torch.nn.init.constant_(model.weight, 2.0)
    value = float(ema.model.weight)
    for step in range(1, 200):
        decay = min(0.9, (1 + step) / (10 + step))
        value = decay * value + (1 - decay) * 2.0
        ema.update(model, step)
        assert float(ema.model.weight) == pytest.approx(value, rel=1e-5)
    assert value == pytest.approx(2.0, abs=1e-5)


def test_not_finite_stops_and_names_the_step(tmp_path):
    """Data that is not finite is refused before; what comes during a training is told by its step."""
    data, training = points(), Training(steps=20, **SETTINGS)
    spoil = lambda step=0, **figures: data.train.x[5:].fill_(float("nan"))
    with pytest.raises(FloatingPointError, match=r"step .*look at the data"):
        scoresde.train(denoiser(), data, folder=tmp_path / "a", training=training, report=spoil)
    with pytest.raises(scoresde.InputError, match="train item 5 .*must be finite"):
        scoresde.train(denoiser(), data, folder=tmp_path / "b", training=training)
    assert not (tmp_path / "b").exists()


def test_a_gradient_that_is_not_finite_is_not_saved(tmp_path):
    model = denoiser()
    weight = model.net.enter.weight
    weight.register_hook(lambda g: g * float("nan") if checkpoint_there(tmp_path) else g)
    with pytest.raises(FloatingPointError, match="gradient is not finite at step 4"):
        scoresde.train(model, points(), folder=tmp_path, training=Training(steps=6, **SETTINGS))
    state = checkpoint.load(tmp_path / "checkpoint.pt")
    assert state["step"] == 3 and all(v.isfinite().all() for v in state["model"].values())


def checkpoint_there(folder):
    return (folder / "checkpoint.pt").exists()


def test_one_process_trains_with_one_precision_and_then_another():
    """What bfloat16 rounds is seen in the weights, which stay near and in float32; the run after it is not touched."""
    found = []
    for precision in ("no", "bf16", "no"):
        model = scoresde.train(denoiser(), points(), steps=20, batch_size=8, warmup=0, ema=0.0, precision=precision)
        assert all(p.dtype == torch.float32 for p in model.parameters())
        found.append(torch.nn.utils.parameters_to_vector(model.parameters()))
    full, half, again = found
    assert torch.equal(full, again) and 1e-5 < (half - full).norm() / full.norm() < 0.1
    with pytest.raises(scoresde.InputError, match="both `training` and steps"):
        scoresde.train(denoiser(), points(), training=Training(), steps=3)


def test_another_network_in_the_folder_is_refused(tmp_path):
    scoresde.train(denoiser(), points(), folder=tmp_path, steps=2, batch_size=8)
    other = scoresde.Preconditioned(scoresde.nets.MLP((2,), width=16), scoresde.VP())
    with pytest.raises(scoresde.InputError, match="holds another model: net.blocks is 1 there and 4 here"):
        scoresde.train(other, points(), folder=tmp_path, steps=2, batch_size=8)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"batch_size": 0}, {"lr": -1.0}, {"ema": 1.0}, {"precision": "fp8"}])
def test_wrong_settings(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(scoresde.InputError, match=rf"^{name}={re.escape(repr(value))}: "):
        Training(**wrong)


def test_checkpoints_are_written_whole(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, {"step": 1, "x": torch.ones(3)})

    def fail(file):
        file.write(b"half")
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        files.write(path, fail)
    assert checkpoint.load(path)["step"] == 1 and list(tmp_path.iterdir()) == [path]
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(scoresde.InputError, match="cut short or damaged"):
        checkpoint.load(path)
