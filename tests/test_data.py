"""Laws of scoresde.data: exact round trips, volumes, fixed splits, a user's own data, and one-line errors."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from data_problems import Pairs, check_continuous, check_levels, whole
from problems import refuses
from torch.utils.data import IterableDataset, Subset, TensorDataset

from scoresde import data as D

ROOT = Path(__file__).parents[1]
KINDS = ("ring", "moons", "checkerboard", "swissroll")


class Stream(IterableDataset):
    def __iter__(self):
        return iter(())


# -- the map ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [2.0, -0.3, torch.tensor([[0.5], [-4.0]]), torch.rand(2, 3) + 0.1])
def test_log_det_is_that_of_the_jacobian(scale):
    transform = D.Affine(scale, 0.7)
    y = torch.randn(2, 3, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(transform, y).reshape(6, 6)
    assert transform.log_det(y.shape) == pytest.approx(torch.linalg.slogdet(jacobian).logabsdet.item(), abs=1e-6)
    assert torch.allclose(transform.inverse(transform(y)), y)


def test_log_det_of_data():
    assert D.digits().log_det == pytest.approx(64 * np.log(2), abs=1e-12)
    data = D.toy("moons", n=50, test=5)
    assert data.log_det == pytest.approx(-2 * np.log(whole(data.train).double().std(correction=0).item()))


def test_affine_refuses_what_has_no_inverse():
    refuses("scale=0", call=lambda: D.Affine(0.0))
    refuses("scale=tensor(2,)", call=lambda: D.Affine(torch.tensor([1.0, 0.0])))
    refuses("shift=nan", call=lambda: D.Affine(1.0, float("nan")))


@pytest.mark.parametrize("levels", [2, 17, 256, 1000, 65536])
def test_every_level_round_trips_from_its_whole_bin(levels):
    raw = torch.arange(levels).to(torch.uint8 if levels <= 256 else torch.int64).unsqueeze(1)
    data = D.from_tensor(raw, levels=levels)
    for u in (None, 0.0, 1e-9, 0.25, 1 - 2**-24, torch.rand(raw.shape)):
        assert torch.equal(data.decode(data.encode(raw, u)), raw)
    assert data.decode(torch.tensor([-9.0, 9.0])).tolist() == [0, levels - 1]
    centre = 2 * (raw.double() + 0.5) / levels - 1
    assert torch.allclose(data.encode(raw).double(), centre, atol=1e-6)


def test_dequantize_fills_the_bin():
    raw = torch.full((4000, 1), 3, dtype=torch.uint8)
    u = (D.from_tensor(raw, levels=8).dequantize(raw) + 1) / 2 * 8 - 3
    assert u.min() < 0.01 and u.max() > 0.99 and u.mean() == pytest.approx(0.5, abs=0.03)


# -- items and splits -------------------------------------------------------------------------------------------------


def test_item_and_stack():
    x = torch.arange(12).reshape(4, 3)
    for entry in (x, (x, 1), [x], {"x": x, "y": 0}, ((x, 1), 2)):
        assert torch.equal(D.item(entry), x)
    refuses("keys ['image']", call=lambda: D.item({"image": x}))
    refuses("numpy.ndarray", call=lambda: D.item(x.numpy()))
    refuses("tuple", call=lambda: D.item(()))
    sets = D.Tensors(x), TensorDataset(x, x), Pairs(x), Subset(D.Tensors(x.flip(0)), [3, 2, 1, 0])
    for dataset in sets:
        for indices in ([2, 0], range(2, -1, -2), torch.tensor([2, 0]), np.array([0, 2])[::-1]):
            assert torch.equal(D.stack(dataset, indices), x[[2, 0]])
    refuses("(3,)", "item 1 (2,)", call=lambda: whole(Pairs([torch.zeros(3), torch.zeros(2)])))


def test_split_is_fixed_disjoint_and_whole():
    for test, count in ((300, 300), (0.1, 180), (1e-9, 1), (1 - 1e-9, 1796)):
        a, b = D.split(1797, test, seed=0)
        assert len(b) == count and sorted([*a, *b]) == list(range(1797))
        again = D.split(1797, test, seed=0)
        assert (a == again[0]).all() and (b == again[1]).all()
    assert (D.split(1797, 300, seed=1)[1] != D.split(1797, 300, seed=0)[1]).any()


@pytest.mark.parametrize("test", [0, 10, -1, 0.0, 1.0, 3.5, True, "a", None, float("nan")])
def test_split_refuses(test):
    refuses(f"test={test!r}: give", "1..9", call=lambda: D.split(10, test, 0))


def test_other_refusals():
    refuses("n=1", call=lambda: D.split(1, 1, 0))
    refuses("seed=-1", call=lambda: D.digits(seed=-1))
    for levels in (1, 0, 2.0, True, 65537):
        refuses(f"levels={levels}", call=lambda n=levels: D.from_tensor(torch.zeros(4, 1), levels=n))


# -- digits, toy ------------------------------------------------------------------------------------------------------


def test_digits():
    data = D.digits()
    assert (len(data.train), len(data.test), data.shape, data.levels) == (1497, 300, (1, 8, 8), 17)
    check_levels(data)
    assert torch.equal(whole(data.test), whole(D.digits().test))
    from sklearn.datasets import load_digits

    order = np.random.RandomState(0).permutation(1797)
    assert (whole(data.test)[:, 0].numpy() == load_digits().images[order[-300:]]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_toy(kind):
    data = D.toy(kind, n=500, test=50)
    x = whole(data.train)
    assert x.shape == (500, 2) and len(data.test) == 50 and x.dtype == torch.float32 and x.isfinite().all()
    check_continuous(data)
    encoded = data.encode(x)
    assert encoded.mean().abs() < 1e-5 and encoded.std(correction=0) == pytest.approx(1, abs=1e-5)
    assert torch.equal(x, whole(D.toy(kind, n=500, test=50).train))
    assert not torch.equal(x, whole(D.toy(kind, n=500, test=50, seed=1).train))


def test_toy_densities():
    """Their curves, and around them the deviations that are promised: all of it in the ring, the part across else."""

    def across(kind, *curve):
        return float(
            torch.cdist(whole(D.toy(kind, n=4000).train), torch.stack(curve, 1)).amin(1).square().mean().sqrt()
        )

    angle = 2 * math.pi * torch.arange(8) / 8
    assert across("ring", 2 * angle.cos(), 2 * angle.sin()) == pytest.approx(0.1 * 2**0.5, rel=0.03)
    eighth = whole(D.toy("ring", n=4000).train).flip(1).unbind(1)
    counts = (torch.atan2(*eighth) * 4 / math.pi).round().long().remainder(8).bincount()
    assert len(counts) == 8 and (counts - 500).abs().max() < 5 * 500**0.5
    t = math.pi * torch.linspace(0, 1, 2000)
    moons = (torch.cat([t.cos(), 1 - t.cos()]), torch.cat([t.sin(), 0.5 - t.sin()]))
    assert across("moons", *moons) == pytest.approx(0.1, rel=0.06)
    t = 1.5 * math.pi * torch.linspace(1, 3, 4000)
    assert across("swissroll", t / 5 * t.cos(), t / 5 * t.sin()) == pytest.approx(0.06, rel=0.06)
    board = (whole(D.toy("checkerboard", n=2000).train) / 2).floor().long()
    assert board.unique(dim=0).shape == (8, 2) and board.sum(1).remainder(2).unique().numel() == 1


def test_toy_refuses():
    refuses("kind='moon'", "did you mean moons", "swissroll", call=lambda: D.toy("moon"))
    refuses("n=0", call=lambda: D.toy(n=0))
    refuses("test=0.1", call=lambda: D.toy(test=0.1))


# -- a user's own -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: (x, 0), lambda x: {"x": x}])
def test_custom(wrap):
    x = torch.randn(30, 2)
    data = D.custom(Pairs(x, wrap), scale=2, shift=1)
    assert (len(data.train), len(data.test), data.shape, data.name) == (27, 3, (2,), "pairs")
    check_continuous(data)
    assert data.log_det == pytest.approx(2 * np.log(2)) and torch.equal(data.encode(x), 2 * x + 1)
    assert not set(data.train.indices) & set(data.test.indices)
    assert data.test.indices == D.custom(Pairs(x, wrap)).test.indices
    raw = torch.randint(256, (30, 1, 4, 4)).to(torch.uint8)
    check_levels(D.custom(Pairs(raw, wrap), Pairs(raw, wrap), levels=256, name="mine"))


def test_as_data():
    data, rows = D.toy(n=10, test=2), Pairs(torch.randn(30, 2))
    assert D.as_data(data) is data
    assert len(D.as_data(rows).train) == 27
    refuses("list", "scoresde.data.Data", call=lambda: D.as_data([1]))


def test_custom_refuses():
    rows, x = Pairs(torch.rand(9, 2)), torch.rand(9, 3)
    refuses("Stream", "length", call=lambda: D.custom(Stream()))
    refuses("Tensor", "from_tensor", call=lambda: D.custom(x))
    refuses("empty", call=lambda: D.custom(Pairs([])))
    refuses("item 0", "NaN", call=lambda: D.custom(Pairs(x / 0)))
    refuses("numpy.ndarray", call=lambda: D.custom(Pairs(x.numpy())))
    refuses("shape ()", call=lambda: D.custom(Pairs(x[0])))
    refuses("(2,)", "(3,)", call=lambda: D.custom(rows, Pairs(x)))
    refuses("levels=4", "float32", call=lambda: D.custom(rows, levels=4))
    refuses("levels=4", "0..9", call=lambda: D.custom(Pairs(torch.arange(20).reshape(2, 10)), levels=4))
    refuses("scale=3", call=lambda: D.custom(Pairs(torch.arange(8).reshape(4, 2)), levels=8, scale=3))
    refuses("test=9", call=lambda: D.custom(rows, test=9))
    refuses("scale=0", call=lambda: D.custom(rows, scale=0))


def test_import_is_light():
    code = "import sys, scoresde.data; assert not {'sklearn', 'PIL', 'torchvision'} & set(sys.modules), 'heavy'"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
