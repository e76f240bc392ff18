"""Laws of scoresde.data for what lies in files: MNIST, folders of images, arrays."""

import gzip
import importlib
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from data_problems import Pairs, check_continuous, check_levels, whole
from problems import refuses

from scoresde import data as D

MNIST = Path(__file__).parents[2] / "shared" / "data" / "mnist"

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
    refuses("digits=[7]", "no images", call=lambda: D.mnist(tmp_path, digits=7))
    refuses("digits=[10]", call=lambda: D.mnist(tmp_path, digits=[10]))
    (path,) = tmp_path.glob("t10k-labels-*")
    path.write_bytes(path.read_bytes()[:-1])  # one that is there is not passed over
    refuses(path, "fetch it again", call=lambda: D.mnist(tmp_path))
    write_idx(tmp_path, "t10k", images[:3], labels[:2], pack)
    refuses("3 images and 2 labels", call=lambda: D.mnist(tmp_path))
    path.unlink()
    assert not D.mnist(tmp_path).conditions and len(D.mnist(tmp_path).train) == 6


def test_idx_refuses(tmp_path):
    refuses("root=/no/such does not exist", "idx", call=lambda: D.mnist("/no/such"))
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
    data = D.images(tmp_path / "grey", test=1, background="drop")
    assert data.shape == (1, 3, 3) and {int(x.max()) for x in (*data.train, *data.test)} == {100}
    save(tmp_path / "float" / "a.tif", value=np.zeros((3, 3), np.float32))
    refuses("a.tif", "mode F", call=lambda: D.images(tmp_path / "float"))


def test_images_sizes(tmp_path):
    save(tmp_path / "a.png", 12, 8)
    save(tmp_path / "b.png", 9, 30)
    refuses("a.png is 8x12", "b.png is 30x9", "size=8", call=lambda: D.images(tmp_path))
    for size in (1, 4, 16):
        assert {tuple(x.shape) for x in D.images(tmp_path, size=size, test=1).train} == {(1, size, size)}
    ramp = np.tile(np.arange(64, dtype=np.uint8) * 4, (32, 1))
    save(tmp_path / "wide" / "a.png", value=ramp)
    save(tmp_path / "wide" / "b.png", value=ramp)
    x = D.images(tmp_path / "wide", size=16).train[0].float()
    middle = ramp[:, 16:48].reshape(32, 16, 2).mean((0, 2))
    assert (x[0] - torch.from_numpy(middle)).abs().max() <= 4  # the centre of the picture, in proportion
    refuses("size=0", call=lambda: D.images(tmp_path, size=0))
    refuses("channels=2", "1, 3, or None", call=lambda: D.images(tmp_path, channels=2))


def test_images_on_disk(tmp_path, monkeypatch):
    for i in range(4):
        save(tmp_path / f"{'x' * i}.png.png", 4, 4)
    kept = D.images(tmp_path)
    monkeypatch.setattr(importlib.import_module("scoresde.data.readers.pictures.images"), "IN_MEMORY", 0)
    lazy = D.images(tmp_path)
    assert isinstance(kept.train, D.Tensors) and not isinstance(lazy.train, D.Tensors)
    assert torch.equal(whole(kept.train), whole(lazy.train)) and torch.equal(whole(kept.test), whole(lazy.test))
    (tmp_path / "broken.png").write_bytes((tmp_path / "x.png.png").read_bytes()[:60])
    refuses("broken.png", "remove or replace", call=lambda: D.images(tmp_path))


def test_images_refuse(tmp_path):
    refuses(f"root={tmp_path}/x does not exist", "folder", call=lambda: D.images(tmp_path / "x"))
    refuses("root=None", call=lambda: D.images(None))
    refuses(tmp_path, "no image files", ".png", call=lambda: D.images(tmp_path))
    for i in range(3):
        save(tmp_path / f"{i}.png", 40, 40, 3)
    refuses("test=3", call=lambda: D.images(tmp_path, test=3))
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
        assert data.log_det == pytest.approx(data.space.scale.log().sum().item())


def test_constant_features():
    x = torch.tensor([[0.1, 1.0], [0.1, 2.0], [0.1, 3.0], [0.1, 5.0]])
    data = D.from_tensor(x, standardize="feature")
    assert data.space.scale[0] == 1 and data.encode(x)[:, 0].abs().max() < 1e-6
    refuses("tensor", "all training values are 0.1", call=lambda: D.from_tensor(x[:, :1]))


def test_discrete_arrays(tmp_path):
    assert D.from_tensor(torch.arange(4) > 1, levels=2).levels == 2
    for x in (np.arange(20).reshape(20, 1) % 5, np.arange(20, dtype=">u2") % 5, np.arange(20) % 2 > 0):
        np.save(tmp_path / "a.npy", x)
        data = D.array(tmp_path / "a.npy", levels=5)
        assert whole(data.train).dtype == torch.uint8 and data.levels == 5
        check_levels(data)
    check_levels(D.from_tensor(torch.arange(400).reshape(20, 20), levels=1000))
    refuses("levels=4", "0..4", "0..3", call=lambda: D.from_tensor(torch.arange(5), levels=4))
    refuses("levels=4", "-1..3", call=lambda: D.from_tensor(torch.arange(5) - 1, levels=4))
    refuses("levels=4", "float32", call=lambda: D.from_tensor(torch.rand(5), levels=4))
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
    refuses("key=q", "y, x", call=lambda: D.array(tmp_path / "a.npz", key="q"))
    refuses("key=q", "y, x", call=lambda: D.array(tmp_path / "a.pt", key="q"))
    refuses("key=q", "b.pt", call=lambda: D.array(tmp_path / "b.pt", key="q"))


def test_arrays_refuse(tmp_path):
    x = np.zeros((20, 3))
    x[7, 1], x[9, :2] = np.nan, np.inf
    np.save(tmp_path / "bad.npy", x)
    refuses("bad.npy", "3 values", "row 7", call=lambda: D.array(tmp_path / "bad.npy"))
    refuses("root=/no/such.npy does not exist", call=lambda: D.array("/no/such.npy"))
    refuses("is not a file", tmp_path, call=lambda: D.array(tmp_path))
    (tmp_path / "a.xlsx").write_text("1,2")
    refuses("a.xlsx", "'.xlsx'", ".npz", ".csv", call=lambda: D.array(tmp_path / "a.xlsx"))
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
    refuses("standardize='globl'", "mean global", call=lambda: D.from_tensor(torch.rand(4), standardize="globl"))
