"""Averages of the weights: several, by powers of the step, and of any length after a training."""

import itertools
from pathlib import Path

import pytest
import torch
from commands import TINY, command
from problems import refuses

import scoresde
from scoresde import InputError, Preconditioned, Training
from scoresde.model import checkpoint
from scoresde.model.kept import weights
from scoresde.model.kept.state import plain_state
from scoresde.nets import MLP
from scoresde.training import power, snapshots
from scoresde.training.average import Average, Averages, warmed
from scoresde.training.snapshots import reconstruct

WIDTHS = (0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25)
SMALL = dict(steps=120, batch_size=16, lr=1e-2, progress=False, validate_every=1000, log_every=25)


def net(width=16):
    torch.manual_seed(0)
    return Preconditioned(MLP((2,), width=width, blocks=1), scoresde.VP())


@pytest.fixture(scope="module")
def data():
    return scoresde.data.from_tensor(torch.randn(64, 2, generator=torch.Generator().manual_seed(0)).abs())


@pytest.fixture(scope="module")
def mine(data, tmp_path_factory):
    """A folder with 40 snapshots, and two averages."""
    folder = tmp_path_factory.mktemp("averages") / "mine"
    scoresde.train(net(), data, folder=folder, snapshots=3, ema=(0.9, 0.99), **SMALL)
    return folder


@pytest.mark.parametrize("width", WIDTHS)
def test_a_width_is_the_standard_deviation_of_its_profile(width):
    gamma, steps = power.gamma_of(width), torch.arange(1, 20001)
    assert power.sigma_of(gamma) == pytest.approx(width, rel=1e-12)
    w, t = power.profile(steps, 20000, gamma), (steps.double() - 0.5) / 20000
    mean = (w * t).sum()
    assert float(w.sum()) == pytest.approx(1, rel=1e-12)
    assert float((w * (t - mean) ** 2).sum().sqrt()) == pytest.approx(width, rel=1e-3)


def test_an_average_by_a_power_has_the_weights_of_its_profile():
    """And the first weights, of before any step, have no share in it."""
    model, gamma = torch.nn.Linear(1, 1, bias=False), power.gamma_of(0.1)
    average, values = Average(model, power.decay(gamma)), torch.randn(50, dtype=torch.float64)
    for step, value in enumerate(values, 1):
        torch.nn.init.constant_(model.weight, float(value))
        average.update(model, step)
    right = float((power.profile(torch.arange(1, 51), 50, gamma) * values).sum())
    assert float(average.state()["weight"]) == pytest.approx(right, abs=1e-5)


def test_what_is_made_of_averages_of_a_path_is_the_average_itself():
    """Exactly, where the profile is in their span; of others, the nearest of those whose shares sum to 1."""
    steps, path = torch.arange(1, 301), torch.randn(300, dtype=torch.float64).cumsum(0) + 7
    kept = [(step, power.gamma_of(s)) for step, s in itertools.product(range(10, 301, 10), (0.05, 0.1, 0.2))]
    average = lambda end, gamma: float((power.profile(steps, end, gamma) * path).sum())
    values = torch.tensor([average(*k) for k in kept], dtype=torch.float64)
    x, misfit = power.coefficients(kept, kept[7])
    assert misfit < 1e-9 and float(x @ values) == pytest.approx(average(*kept[7]), abs=1e-9)
    for width, end in itertools.product(WIDTHS, (300, 290)):
        x, misfit = power.coefficients(kept, (end, power.gamma_of(width)))
        assert float(x.sum()) == pytest.approx(1, rel=1e-12) and misfit < 0.02
        assert float(x @ values) == pytest.approx(average(end, power.gamma_of(width)), abs=0.02 * float(path.std()))
    wanted, others = power.profile(steps, 300, 1.0), torch.stack([power.profile(steps, *k) for k in kept], 1)
    x, misfit = power.coefficients(kept, (300, 1.0))
    assert misfit == pytest.approx(float((others @ x - wanted).norm() / wanted.norm()), rel=1e-6)
    moved = torch.randn(len(x), dtype=torch.float64) * 1e-3
    nearby = x + moved - moved.mean()
    assert (others @ nearby - wanted).norm() > (others @ x - wanted).norm()


def test_steps_in_parts_are_the_steps_at_once(monkeypatch):
    kept, wanted = [(t, g) for t in (10, 20, 30) for g in (6.0, 16.0)], (30, 9.0)
    whole = power.coefficients(kept, wanted)
    monkeypatch.setattr(power, "CHUNK", 7)
    parts = power.coefficients(kept, wanted)
    assert torch.allclose(whole[0], parts[0], atol=1e-9) and whole[1] == pytest.approx(parts[1])


def test_a_reconstructed_average_is_the_kept_one(data, mine, tmp_path):
    """Of every width within 1 % of the distance between the shortest and the longest."""
    scoresde.train(net(), data, folder=tmp_path, snapshots=120, sigma_rel=WIDTHS, ema=(0.9, 0.99), **SMALL)
    there = weights.read(snapshots.taken(tmp_path)[120])[0]
    names = sorted(plain_state(net()).keys() & {name.partition("/")[2] for name in there})
    flat = lambda state: torch.cat([state[name].flatten() for name in names])
    kept = {w: flat({k.partition("/")[2]: v for k, v in there.items() if k.startswith(f"{w}/")}) for w in WIDTHS}
    far = (kept[WIDTHS[0]] - kept[WIDTHS[-1]]).norm()
    assert len(names) > 5 and far > 0
    for width in WIDTHS:
        found = flat(plain_state(reconstruct(mine, width).bare))
        assert (found - kept[width]).norm() < 0.01 * far, width


def test_several_averages_are_kept_and_chosen(data, mine, tmp_path):
    one, other = scoresde.load(mine), scoresde.load(mine, ema=0.99)
    assert one.weights == scoresde.load(mine, ema=0.9).weights != other.weights
    alone = scoresde.train(net(), data, ema=0.99, **SMALL)
    assert alone.weights == other.weights and other.step == 120
    refuses("0.9, 0.99", call=lambda: scoresde.load(mine, ema=0.5))
    refuses("power-0.1", call=lambda: scoresde.load(mine, ema="../model"))
    model = reconstruct(mine, 0.1, keep=True)
    assert scoresde.load(mine, ema="power-0.1").weights == model.weights
    refuses("0.9, 0.99, power-0.1", call=lambda: scoresde.load(mine, ema="power-0.2"))


def test_averages_go_on_to_the_bit(data, mine, tmp_path):
    """Killed between a snapshot and a checkpoint: what was kept too early is made again."""

    class Stop(Exception):
        pass

    def report(step, **figures):
        if step == 75:
            raise Stop

    options = dict(folder=tmp_path, snapshots=3, ema=(0.9, 0.99), checkpoint_every=50, **SMALL)
    with pytest.raises(Stop):
        scoresde.train(net(), data, report=report, **options)
    assert scoresde.load(tmp_path, ema=0.99).step == 50 and max(snapshots.taken(tmp_path)) == 75
    scoresde.train(net(), data, **options)
    assert [*snapshots.taken(tmp_path)] == [*snapshots.taken(mine)] == list(range(3, 121, 3))
    for name in ("model", "averages/0.99", "snapshots/00000075", "snapshots/00000120"):
        (a, _), (b, _) = (weights.read(folder / f"{name}.safetensors") for folder in (mine, tmp_path))
        assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a), name
    with pytest.raises(InputError, match="train.snapshots"):
        scoresde.train(net(), data, **options | {"snapshots": 20})
    scoresde.train(net(), data, **options | {"steps": 1, "snapshots": 0, "ema": 0.9}, fresh=True)
    assert not (tmp_path / "averages").exists() and not (tmp_path / "snapshots").exists()


def test_a_damaged_snapshot_is_one_line(mine, tmp_path):
    import shutil

    copy = shutil.copytree(mine, tmp_path / "copy")
    path = snapshots.taken(copy)[60]
    data = path.read_bytes()
    path.write_bytes(data[:-100] + bytes([data[-100] ^ 1]) + data[-99:])
    refuses("00000060.safetensors", "remove it", call=lambda: reconstruct(copy, 0.1))
    path.unlink()
    assert reconstruct(copy, 0.12).misfit < 0.05
    shutil.rmtree(copy / "snapshots")
    refuses("has no snapshots", "train.snapshots", call=lambda: reconstruct(copy, 0.1))


def test_averages_are_in_float32():
    """bfloat16 would not move by 1 - 0.999 of a difference; half the size is in the files alone."""
    model = torch.nn.Linear(3, 3).bfloat16()
    found = Averages(model, Training(ema=(0.99, 0.999), snapshots=2, snapshot_dtype="float16")).state()
    assert {v.dtype for v in found["ema"].values()} == {torch.float32}
    assert {v.dtype for state in found["averages"].values() for v in state.values()} == {torch.float32}
    assert set(found["averages"]) == {"0.999", "power-0.05", "power-0.1", "power-0.2"}


def test_the_warm_up_is_that_of_before():
    assert [warmed(0.999)(n) for n in (1, 10, 10**6)] == [2 / 11, 11 / 20, 0.999]


@pytest.mark.parametrize("wrong", [{"ema": ()}, {"ema": (0.9, 0.9)}, {"ema": (0.9, 1.0)}, {"sigma_rel": (0.4,)}])
def test_wrong_settings(wrong):
    (name,) = wrong
    refuses(f"{name}=", call=lambda: Training(**wrong))


def test_the_task_finds_a_length_and_its_weights_are_used(monkeypatch, capfd, tmp_path):
    here = ("folder=here", "gif=false")
    run = lambda *words: command(monkeypatch, capfd, tmp_path, *words)
    code, _, err = run(*TINY, "task=train", *here, "train.snapshots=1", "train.ema=[0.9,0.99]")
    assert code == 0, err
    code, out, err = run("task=ema", *here, "task.sigma_rel=[0.1,0.2]")
    assert code == 0 and "sigma_rel 0.2" in out and "ema=power-0." in out, err
    (name,) = (p.stem for p in (tmp_path / "here" / "averages").glob("power*"))
    code, out, err = run("task=sample", *here, f"ema={name}", "n=2", "sampler=ddim", "sampler.steps=2")
    assert code == 0, err
    code, _, err = run("task=sample", *here, "ema=0.5")
    assert code == 1 and "ema=0.5" in err and name in err and err.count("\n") == 1


def test_checkpoints_hold_them(mine):
    assert set(checkpoint.load(Path(mine) / "checkpoint.pt")["averages"]) == {
        "0.99",
        "power-0.05",
        "power-0.1",
        "power-0.2",
    }
