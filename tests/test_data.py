"""Laws of scoresde.data: exact round trips, volumes, fixed splits, and one-line errors."""

import gzip
import importlib
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset

from scoresde import data as D
from scoresde.errors import InputError

ROOT = Path(__file__).parents[1]
MNIST = ROOT.parent / "shared" / "data" / "mnist"
KINDS = ("ring", "moons", "checkerboard", "swissroll")


class Stream(IterableDataset):
    def __iter__(self):
        return iter(())


class Pairs(Dataset):
    """Items as a user may have them: tuples with a label."""

    def __init__(self, x, wrap=lambda x: (x, 0)):
        self.x_, self.wrap = x, wrap

    def __len__(self):
        return len(self.x_)

    def __getitem__(self, i):
        return self.wrap(self.x_[i])


def whole(dataset):
    return D.stack(dataset, range(len(dataset)))


def refuses(*parts, call):
    """call raises an InputError of one line that has all the parts."""
    with pytest.raises(InputError) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text
    for part in parts:
        assert str(part) in text, text


def check_levels(data, n=64):
    raw = D.stack(data.train, range(min(n, len(data.train))))
    x = data.encode(raw)
    assert x.dtype == torch.float32 and x.abs().max() <= 1 and x.shape[1:] == data.shape
    back = data.decode(x)
    assert torch.equal(back, raw) and back.dtype == raw.dtype
    noisy = data.dequantize(raw, torch.Generator().manual_seed(0))
    assert not torch.equal(noisy, x) and torch.equal(data.decode(noisy), raw)
    assert torch.equal(noisy, data.dequantize(raw, torch.Generator().manual_seed(0)))


def check_continuous(data):
    raw = whole(data.train)
    x = data.encode(raw, u=0.3)
    assert x.dtype == torch.float32 and torch.equal(x, data.dequantize(raw))
    assert torch.allclose(data.decode(x), raw.float(), rtol=1e-5, atol=1e-5)


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
    refuses(f"data.test={test}", "1..9", call=lambda: D.split(10, test, 0))


def test_other_refusals():
    refuses("n=1", call=lambda: D.split(1, 1, 0))
    refuses("data.seed=-1", call=lambda: D.digits(seed=-1))
    for levels in (1, 0, 2.0, True, 65537):
        refuses(f"data.levels={levels}", call=lambda n=levels: D.from_tensor(torch.zeros(4, 1), levels=n))


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
    ring = whole(D.toy("ring", n=2000).train).norm(dim=1)
    assert ring.mean() == pytest.approx(2, abs=0.05)
    board = (whole(D.toy("checkerboard", n=2000).train) / 2).floor().long()
    assert board.unique(dim=0).shape == (8, 2) and board.sum(1).remainder(2).unique().numel() == 1


def test_toy_refuses():
    refuses("data.kind=moon", "did you mean moons", "swissroll", call=lambda: D.toy("moon"))
    refuses("data.n=0", call=lambda: D.toy(n=0))
    refuses("data.test=0.1", call=lambda: D.toy(test=0.1))


# -- mnist ------------------------------------------------------------------------------------------------------------


def write_idx(folder, part, images, labels, pack=bytes):
    suffix = "" if pack is bytes else ".gz"
    for name, x in ((f"{part}-images-idx3-ubyte", images), (f"{part}-labels-idx1-ubyte", labels)):
        head = struct.pack(f">I{x.ndim}I", 2048 + x.ndim, *x.shape)
        (folder / f"{name}{suffix}").write_bytes(pack(head + x.tobytes()))


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_idx(tmp_path, pack):
    images = np.random.RandomState(0).randint(256, size=(6, 5, 4)).astype(np.uint8)
    labels = np.array([0, 1, 2, 0, 1, 2], np.uint8)
    write_idx(tmp_path, "train", images, labels, pack)
    write_idx(tmp_path, "t10k", images[:3], labels[:3], pack)
    data = D.mnist(str(tmp_path))
    assert (whole(data.train)[:, 0].numpy() == images).all() and len(data.test) == 3 and data.shape == (1, 5, 4)
    check_levels(data)
    some = D.mnist(tmp_path, digits=[0, 2])
    assert (whole(some.train)[:, 0].numpy() == images[[0, 2, 3, 5]]).all() and len(some.test) == 2
    assert len(D.mnist(tmp_path, digits=1).train) == 2
    refuses("data.digits=[7]", "no images", call=lambda: D.mnist(tmp_path, digits=7))
    refuses("data.digits=[10]", call=lambda: D.mnist(tmp_path, digits=[10]))


def test_idx_refuses(tmp_path):
    refuses("data.root=/no/such does not exist", "idx", call=lambda: D.mnist("/no/such"))
    refuses("train-images-idx3-ubyte", tmp_path, call=lambda: D.mnist(tmp_path))
    path = tmp_path / "train-images-idx3-ubyte"
    head = struct.pack(">4I", 2051, 2, 3, 3)
    for content, parts in (
        (b"", ("magic 0", "2051")),
        (struct.pack(">II", 2049, 0), ("magic 2049", "2051")),
        (head[:9], ("9 bytes",)),
        (head + bytes(17), ("33 bytes", "expected 34", "(2, 3, 3)")),
        (struct.pack(">4I", 2051, 2**32 - 1, 2**32 - 1, 2**32 - 1), ("16 bytes",)),
    ):
        path.write_bytes(content)
        refuses(path, *parts, call=lambda: D.mnist(tmp_path))
    path.unlink()
    (tmp_path / f"{path.name}.gz").write_bytes(gzip.compress(head)[:-9])
    refuses(f"{path}.gz", "cannot be read", call=lambda: D.mnist(tmp_path))


@pytest.mark.skipif(not MNIST.is_dir(), reason="no MNIST files here")
def test_mnist():
    data = D.mnist(MNIST)
    assert (len(data.train), len(data.test), data.shape, data.levels) == (60000, 10000, (1, 28, 28), 256)
    check_levels(data)
    assert whole(data.train).float().mean().item() / 255 == pytest.approx(0.1307, abs=1e-4)
    assert len(D.mnist(MNIST, digits=[3]).train) == 6131


# -- images -----------------------------------------------------------------------------------------------------------


def save(path, *shape, value=None):
    from PIL import Image

    x = np.random.RandomState(len(path.name)).randint(256, size=shape).astype(np.uint8) if value is None else value
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(x).save(path)
    return x


def test_images_grey(tmp_path):
    kept = [save(tmp_path / f"{'sub/' * (i % 2)}{i}.png", 6, 4) for i in range(10)]
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "._0.png").write_text("not an image either")
    data = D.images(tmp_path, test=3)
    assert data.shape == (1, 6, 4) and data.levels == 256 and (len(data.train), len(data.test)) == (7, 3)
    check_levels(data)
    seen = sorted(x.numpy().tobytes() for x in torch.cat([whole(data.train), whole(data.test)]))
    assert seen == sorted(x.tobytes() for x in kept)
    assert torch.equal(whole(data.test), whole(D.images(tmp_path, test=3).test))
    assert D.images(str(tmp_path), channels=3).shape == (3, 6, 4)


def test_images_colour_and_modes(tmp_path):
    x = save(tmp_path / "a.bmp", 5, 5, 3)
    save(tmp_path / "b.png", 5, 5)
    save(tmp_path / "c.JPG", 5, 5, 3)
    data = D.images(tmp_path, test=1)
    assert data.shape == (3, 5, 5)
    assert any((y.permute(1, 2, 0).numpy() == x).all() for y in (*data.train, *data.test))
    assert D.images(tmp_path, channels=1).shape == (1, 5, 5)
    save(tmp_path / "grey" / "a.png", value=np.full((3, 3), 258 * 100, np.uint16))
    save(tmp_path / "grey" / "b.png", value=np.full((3, 3, 2), 100, np.uint8))
    data = D.images(tmp_path / "grey", test=1)
    assert data.shape == (1, 3, 3) and {int(x.max()) for x in (*data.train, *data.test)} == {100}
    save(tmp_path / "float" / "a.tif", value=np.zeros((3, 3), np.float32))
    refuses("a.tif", "mode F", call=lambda: D.images(tmp_path / "float"))


def test_images_sizes(tmp_path):
    save(tmp_path / "a.png", 12, 8)
    save(tmp_path / "b.png", 9, 30)
    refuses("a.png is 8x12", "b.png is 30x9", "data.size=8", call=lambda: D.images(tmp_path))
    for size in (1, 4, 16):
        assert {tuple(x.shape) for x in D.images(tmp_path, size=size, test=1).train} == {(1, size, size)}
    ramp = np.tile(np.arange(64, dtype=np.uint8) * 4, (32, 1))
    save(tmp_path / "wide" / "a.png", value=ramp)
    save(tmp_path / "wide" / "b.png", value=ramp)
    x = D.images(tmp_path / "wide", size=16).train[0].float()
    middle = ramp[:, 16:48].reshape(32, 16, 2).mean((0, 2))
    assert (x[0] - torch.from_numpy(middle)).abs().max() <= 4  # the centre of the picture, in proportion
    refuses("data.size=0", call=lambda: D.images(tmp_path, size=0))
    refuses("data.channels=2", "null, 1, 3", call=lambda: D.images(tmp_path, channels=2))


def test_images_on_disk(tmp_path, monkeypatch):
    for i in range(4):
        save(tmp_path / f"{'x' * i}.png.png", 4, 4)
    kept = D.images(tmp_path)
    monkeypatch.setattr(importlib.import_module("scoresde.data.images"), "IN_MEMORY", 0)
    lazy = D.images(tmp_path)
    assert isinstance(kept.train, D.Tensors) and not isinstance(lazy.train, D.Tensors)
    assert torch.equal(whole(kept.train), whole(lazy.train)) and torch.equal(whole(kept.test), whole(lazy.test))
    (tmp_path / "broken.png").write_bytes((tmp_path / "x.png.png").read_bytes()[:60])
    refuses("broken.png", "remove or replace", call=lambda: D.images(tmp_path))


def test_images_refuse(tmp_path):
    refuses(f"data.root={tmp_path}/x does not exist", "folder", call=lambda: D.images(tmp_path / "x"))
    refuses("data.root=None", call=lambda: D.images(None))
    refuses(tmp_path, "no image files", ".png", call=lambda: D.images(tmp_path))
    for i in range(3):
        save(tmp_path / f"{i}.png", 40, 40, 3)
    refuses("data.test=3", call=lambda: D.images(tmp_path, test=3))
    refuses("0.png is not a folder", call=lambda: D.images(tmp_path / "0.png"))
    whole_file = (tmp_path / "1.png").read_bytes()
    for broken in (b"", b"hello", whole_file[:20], whole_file[:-2000]):
        (tmp_path / "1.png").write_bytes(broken)
        refuses("1.png cannot be decoded", "remove or replace", call=lambda: D.images(tmp_path))


# -- arrays -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3,), (1, 8, 8), (2, 3, 4, 5), ()])
@pytest.mark.parametrize("standardize", ["global", "feature", None])
def test_array(tmp_path, shape, standardize):
    x = np.random.RandomState(0).randn(20, *shape) * 3 + 5
    np.save(tmp_path / "a.npy", x)
    data = D.array(tmp_path / "a.npy", standardize=standardize)
    assert data.shape == (shape or (1,)) and len(data.test) == 2 and data.name == "a" and data.levels is None
    check_continuous(data)
    train = data.encode(whole(data.train))
    if standardize == "feature":
        assert train.mean(0).abs().max() < 1e-5 and (train.std(0, correction=0) - 1).abs().max() < 1e-5
    elif standardize is None:
        assert torch.equal(train, whole(data.train))
    else:
        assert train.mean().abs() < 1e-5 and train.std(correction=0) == pytest.approx(1, abs=1e-5)
    assert torch.equal(whole(data.test), whole(D.array(tmp_path / "a.npy").test))
    if standardize == "feature":
        assert data.log_det == pytest.approx(data.transform.scale.log().sum().item())


def test_constant_features():
    x = torch.tensor([[0.1, 1.0], [0.1, 2.0], [0.1, 3.0], [0.1, 5.0]])
    data = D.from_tensor(x, standardize="feature")
    assert data.transform.scale[0] == 1 and data.encode(x)[:, 0].abs().max() < 1e-6
    refuses("tensor", "all training values are 0.1", call=lambda: D.from_tensor(x[:, :1]))


def test_discrete_arrays(tmp_path):
    assert D.from_tensor(torch.arange(4) > 1, levels=2).levels == 2
    for x in (np.arange(20).reshape(20, 1) % 5, np.arange(20, dtype=">u2") % 5, np.arange(20) % 2 > 0):
        np.save(tmp_path / "a.npy", x)
        data = D.array(tmp_path / "a.npy", levels=5)
        assert whole(data.train).dtype == torch.uint8 and data.levels == 5
        check_levels(data)
    check_levels(D.from_tensor(torch.arange(400).reshape(20, 20), levels=1000))
    refuses("data.levels=4", "0..4", "0..3", call=lambda: D.from_tensor(torch.arange(5), levels=4))
    refuses("data.levels=4", "-1..3", call=lambda: D.from_tensor(torch.arange(5) - 1, levels=4))
    refuses("data.levels=4", "float32", call=lambda: D.from_tensor(torch.rand(5), levels=4))
    assert whole(D.from_tensor(torch.arange(10)).train).dtype == torch.float32


def test_npz_and_pt(tmp_path):
    x, y = torch.randn(10, 3), torch.randn(10, 2)
    np.savez(tmp_path / "a.npz", y=y, x=x)
    np.savez(tmp_path / "b.npz", y=y, z=x)
    torch.save({"y": y, "x": x}, tmp_path / "a.pt")
    torch.save(x.requires_grad_(), tmp_path / "b.pt")
    for name, key, size in (
        ("a.npz", None, 3),
        ("a.npz", "y", 2),
        ("b.npz", None, 2),
        ("a.pt", None, 3),
        ("a.pt", "y", 2),
    ):
        assert D.array(tmp_path / name, key=key).shape == (size,)
    data = D.array(tmp_path / "b.pt")
    check_continuous(data)
    assert not whole(data.train).requires_grad
    refuses("data.key=q", "y, x", call=lambda: D.array(tmp_path / "a.npz", key="q"))
    refuses("data.key=q", "y, x", call=lambda: D.array(tmp_path / "a.pt", key="q"))
    refuses("data.key=q", "b.pt", call=lambda: D.array(tmp_path / "b.pt", key="q"))


def test_arrays_refuse(tmp_path):
    x = np.zeros((20, 3))
    x[7, 1], x[9, :2] = np.nan, np.inf
    np.save(tmp_path / "bad.npy", x)
    refuses("bad.npy", "3 values", "row 7", call=lambda: D.array(tmp_path / "bad.npy"))
    refuses("data.root=/no/such.npy does not exist", call=lambda: D.array("/no/such.npy"))
    refuses("is not a file", tmp_path, call=lambda: D.array(tmp_path))
    (tmp_path / "a.csv").write_text("1,2")
    refuses("a.csv", "'.csv'", ".npz", call=lambda: D.array(tmp_path / "a.csv"))
    np.save(tmp_path / "object.npy", np.array([{}, 1], dtype=object), allow_pickle=True)
    torch.save(Pairs, tmp_path / "object.pt")
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "empty.pt").write_bytes(b"")
    for name in ("object.npy", "object.pt", "text.npz", "empty.pt"):
        refuses(tmp_path / name, "cannot be read", call=lambda name=name: D.array(tmp_path / name))
    torch.save([1, 2], tmp_path / "list.pt")
    refuses("list.pt is a list", call=lambda: D.array(tmp_path / "list.pt"))
    for x in (torch.zeros(1, 3), torch.zeros(0, 3), torch.tensor(1.0), torch.zeros(4, 0)):
        refuses("2", call=lambda x=x: D.from_tensor(x))
    refuses("complex64", call=lambda: D.from_tensor(torch.zeros(4, dtype=torch.complex64)))
    refuses("dtype <U1", call=lambda: D.from_tensor(np.array(["a", "b"])))
    refuses("data.standardize=globl", "mean global", call=lambda: D.from_tensor(torch.rand(4), standardize="globl"))


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
    refuses("data.levels=4", "float32", call=lambda: D.custom(rows, levels=4))
    refuses("data.levels=4", "0..9", call=lambda: D.custom(Pairs(torch.arange(20).reshape(2, 10)), levels=4))
    refuses("data.scale=3", call=lambda: D.custom(Pairs(torch.arange(8).reshape(4, 2)), levels=8, scale=3))
    refuses("data.test=9", call=lambda: D.custom(rows, test=9))
    refuses("scale=0", call=lambda: D.custom(rows, scale=0))


def test_import_is_light():
    code = "import sys, scoresde.data; assert not {'sklearn', 'PIL', 'torchvision'} & set(sys.modules), 'heavy'"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
