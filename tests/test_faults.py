"""Faults: the quick kinds here, more of them and random kills with -m slow; `python tests/faults.py` prints a table."""

import pytest
import torch
from boxes import FAULTS, Box, applies
from faults import kills

import scoresde
from scoresde.machine.devices import Single
from scoresde.model import checkpoint
from scoresde.training import loop as room

QUICK = [("plain", "sigterm_in_training"), ("plain", "nan_in_gradients"), ("plain", "full_disk")]
QUICK += [("label", "kill_in_training"), ("turns", "kill_in_training"), ("turns", "nan_in_weights")]
FEW = ["sigterm_to_two_processes", "kill_with_data_readers", "checkpoint_bit_flipped", "full_disk", "idx_cut_short"]


def _kinds():
    names = {"plain": [*FAULTS], "label": FEW, "turns": FEW}
    kinds = dict.fromkeys([*QUICK, *((of, name) for of in names for name in names[of] if applies(name, of))])
    return [pytest.param(*kind, marks=() if kind in QUICK else pytest.mark.slow) for kind in kinds]


@pytest.mark.parametrize(("of", "name"), _kinds())
def test_fault(tmp_path, of, name):
    FAULTS[name](Box(tmp_path, of))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("of", "sampling"),
    [("plain", False), ("plain", True), ("label", False), ("label", True)]
    + [(of, False) for of in ("turns", "coder", "codes", "players")],
)
def test_random_kills(tmp_path, of, sampling):
    counts = kills(Box(tmp_path, of), {"plain": 25, "players": 20}.get(of, 10), sampling, seed=1)
    assert counts["lost"] == counts["corrupt"] == counts["left behind"] == 0 and counts["kills"] >= 10, counts


def test_a_flipped_bit_is_seen_and_the_checkpoint_before_takes_its_place(tmp_path):
    path = tmp_path / "checkpoint.pt"
    for step in (1, 2):
        checkpoint.save(path, {"step": step, "x": torch.full((100,), float(step))}, last=False)
    assert checkpoint.load(checkpoint.before(path))["step"] == 1 and not checkpoint.mend(path)
    data = bytearray(path.read_bytes())
    data[data.index(torch.full((9,), 2.0).numpy().tobytes()) + 2] ^= 1
    path.write_bytes(data)
    assert "of step 1, takes its place" in checkpoint.mend(path)
    assert checkpoint.load(path)["step"] == 1 and [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]
    checkpoint.save(path, {"step": 2}, last=False)
    checkpoint.save(path, {"step": 3})
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]  # the last one stands alone


def test_without_accelerate_the_weights_are_the_same(monkeypatch):
    def fit(**options):
        torch.manual_seed(0)
        model = scoresde.Preconditioned(scoresde.nets.MLP((2,), width=16), scoresde.VP())
        x = torch.randn(100, 2, generator=torch.Generator().manual_seed(0))
        return [*scoresde.train(model, x, steps=5, batch_size=16, device="cpu", **options).parameters()]

    for precision in ("no", "bf16"):
        whole = fit(precision=precision)
        with monkeypatch.context() as patch:
            patch.setattr(room, "accelerator", lambda precision, cpu, some: Single(precision, cpu))
            assert all(torch.equal(a, b) for a, b in zip(whole, fit(precision=precision), strict=True))
    with pytest.raises(scoresde.InputError, match="fp16 needs accelerate"):
        Single("fp16", True)


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), MemoryError(), RuntimeError("CUDA out of memory")])
def test_a_checkpoint_that_could_not_be_read_just_now_is_not_called_damaged(tmp_path, monkeypatch, error):
    path = tmp_path / "checkpoint.pt"
    for step in (1, 2):
        checkpoint.save(path, {"step": step}, last=False)

    def fail(*args, **options):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(torch, "load", fail)
        with pytest.raises(type(error)) as caught:
            checkpoint.mend(path)
    assert not isinstance(caught.value, scoresde.InputError) and checkpoint.load(path)["step"] == 2
