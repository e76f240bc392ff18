"""Micro-conditions: images and scenes that are told how they were cropped, and batches of several shapes."""

import numpy as np
import pytest
import torch
from commands import TINY, command
from PIL import Image
from problems import refuses

import scoresde
from scoresde import data as D
from scoresde.data import collate, stack
from scoresde.data.readers.pictures.crops import shapes_of
from scoresde.data.readers.scenes.reading import read
from scoresde.data.readers.scenes.scene import WIDTH
from scoresde.training.order import Buckets, batches


class Stopped(Exception):
    """A training is cut off."""


def place_coded(path, width, height):
    """An image whose red and green are the shares of the way to the right and down."""
    x, y = np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height)
    Image.fromarray((255 * np.stack([x, y, np.full_like(x, 0.5)], -1)).round().astype(np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "pictures"
    root.mkdir()
    sides = [(64, 64), (12, 12), (64, 96), (120, 60), (40, 48), (24, 60), (30, 30), (16, 40)]
    for i in range(24):
        place_coded(root / f"{i:02}.png", *sides[i % len(sides)])
    return root


def test_images_are_told_their_size_and_where_they_are_cropped(folder):
    """What is seen in the picture says where it is cropped."""
    data = D.images(folder, size=16, micro=True, test=4)
    assert list(data.conditions) == ["size", "crop"] and len(data.train) == 20
    batch, paths = collate(data.train, range(20), ["size", "crop"]), data.train.names
    for x, size, crop, name in zip(batch.x, batch.cond["size"], batch.cond["crop"], paths, strict=True):
        with Image.open(folder / name) as image:
            assert size.tolist() == [image.height, image.width]
        scale = 16 / min(size.tolist())
        height, width = (round(scale * side) for side in size.tolist())
        top, left = crop.tolist()
        assert 0 <= top <= height - 16 and 0 <= left <= width - 16
        middle = x[:, 4:12, 4:12].float().mean((1, 2)) / 255
        assert float(middle[0]) == pytest.approx((left + 8) / width, abs=0.02)
        assert float(middle[1]) == pytest.approx((top + 8) / height, abs=0.02)
    corner = batch.cond["crop"].amax(1)
    assert len(corner.unique()) > 4  # anywhere, and the same each time
    again = collate(D.images(folder, size=16, micro=True, test=4).train, range(20), ["crop"])
    assert torch.equal(again.x, batch.x) and torch.equal(again.cond["crop"], batch.cond["crop"])
    other = collate(D.images(folder, size=16, micro=True, test=4, seed=0).test, range(4), ["crop"])
    assert len(other) == 4 and not torch.equal(stack(D.images(folder, size=16, test=4).train, range(20)), batch.x)


def test_images_of_several_shapes(folder):
    assert shapes_of(32, 2.0, 8) == ((32, 32), (24, 40), (40, 24))
    assert shapes_of(64, 1.0, 8) == ((64, 64),)
    data = D.images(folder, size=16, micro=True, aspect=2.6, multiple=4, test=4)
    shapes = {tuple(items[0]["x"].shape) for items in (data.train, *data.buckets)}
    assert data.shape == (3, 16, 16) and len(shapes) == 1 + len(data.buckets) and len(shapes) > 2
    for items in (data.train, *data.buckets):
        batch = collate(items, range(len(items)), ["size", "target"])
        assert (batch.cond["target"] == torch.tensor(batch.x.shape[2:])).all()
        own = (batch.cond["size"][:, 0] / batch.cond["size"][:, 1]).log()
        here = abs(float(np.log(batch.x.shape[2] / batch.x.shape[3])) - own)
        for other in shapes:
            assert (here <= abs(float(np.log(other[1] / other[2])) - own) + 1e-6).all()
    assert sum(map(len, (data.train, *data.buckets))) == 20 and any("by shape" in note for note in data.notes)
    assert data.fingerprint != D.images(folder, size=16, micro=True, test=4).fingerprint
    refuses("size=None", call=lambda: D.images(folder, micro=True))
    refuses("size=18", "multiple", call=lambda: D.images(folder, size=18, aspect=2.0))
    refuses("aspect=0.5", call=lambda: D.images(folder, size=16, aspect=0.5))


def test_batches_of_buckets_are_of_one_shape_and_a_function_of_the_step():
    sizes, size = [10, 3, 25], 4
    every = [*Buckets(sizes, size, 7, 0, 60)]
    ends = np.cumsum([0, *sizes])
    of = [{int(np.searchsorted(ends, i, side="right")) for i in batch} for batch in every]
    assert all(len(found) == 1 for found in of)
    for k, n in enumerate(sizes):  # each item of a set as often as the other ones, to one
        own = [i for batch in every for i in batch if ends[k] <= i < ends[k + 1]]
        often = np.bincount(np.array(own) - ends[k], minlength=n)
        assert often.max() - often.min() <= 1
    assert [*Buckets(sizes, size, 7, 23, 60)] == every[23:]
    parts = [[*Buckets(sizes, size, 7, 0, 60, rank, 2)] for rank in range(2)]
    assert all(whole[rank::2] == part for rank in range(2) for whole, part in zip(every, parts[rank], strict=True))
    turns = [next(iter(found)) - 1 for found in of]
    assert np.bincount(turns[:10]).tolist() == [2, 1, 6] or np.bincount(turns[:9]).tolist() == [2, 1, 6]
    loader = batches(torch.zeros(4, 2), 2, 0, 0, 3)
    assert [len(batch) for batch in loader] == [2, 2, 2]


def test_a_training_on_several_shapes_goes_on_to_the_bit(folder, tmp_path):
    data = D.images(folder, size=16, micro=True, aspect=2.6, multiple=4, test=4)

    def train(folder, report=None):
        torch.manual_seed(0)
        kinds = {name: data.conditions[name] for name in ("size", "crop", "target")}
        net = scoresde.nets.UNet(data.shape, channels=8, mults=(1, 1), blocks=1, attention=0, conditions=kinds)
        few = scoresde.Training(steps=9, batch_size=4, warmup=1, log_every=1, checkpoint_every=3)
        denoiser = scoresde.Preconditioned(net, scoresde.VP())
        objective = scoresde.objectives.Denoising(denoiser, scoresde.loss.DenoisingLoss(), data)
        return scoresde.fit(objective, data, few, folder, report=report, device="cpu", progress=False)

    def stop(step, **figures):
        if step == 5:
            raise Stopped

    whole = train(tmp_path / "a")
    with pytest.raises(Stopped):
        train(tmp_path / "b", stop)
    assert train(tmp_path / "b").weights == whole.weights
    wide = whole.generate(2, cond={"target": [12, 20], "crop": [0, 0]}, shape=(3, 12, 20), progress=False)
    assert wide.shape == (2, 3, 12, 20) and wide.dtype == torch.uint8
    net = scoresde.nets.MLP(data.shape, width=8, blocks=1)
    call = lambda: scoresde.train(scoresde.Preconditioned(net, scoresde.VP()), data, steps=2, progress=False)
    refuses("MLP", "aspect=1", call=call)


def test_the_command_trains_and_draws_several_shapes(folder, tmp_path, monkeypatch, capfd):
    own = ["data=images", "data.root=pictures", "data.size=16", "data.micro=true", "data.aspect=2.6", "data.multiple=4"]
    own += ["data.test=4", "cond=[size,crop,target]", "folder=m", "rule=v", "net.mults=[1,1]"]
    for more in (["task=train"], ["task=sample", "task.shape=[3,12,20]", "given.target=[12,20]", "sampler.steps=2"]):
        words = [*TINY, *own, *more] if more == ["task=train"] else ["folder=m", "n=2", *more]
        code, out, err = command(monkeypatch, capfd, tmp_path, *words)
        assert code == 0, out + err
    assert np.load(next(tmp_path.glob("m/sample-*/samples.npy"))).shape == (2, 3, 12, 20)


def test_scenes_are_told_how_they_were_taken():
    pytest.importorskip("tokenizers")
    data, plain = (D.scenes(n=600, test=40, micro=micro) for micro in (True, False))
    batch = collate(data.train, range(600), ["size", "crop"])
    size, crop = batch.cond["size"], batch.cond["crop"]
    shown = size * (16 / size.amin(1, keepdim=True))
    assert (crop >= 0).all() and (crop <= shown - 16).all() and ((crop == 0).any(1)).all()
    assert {*size.amin(1).tolist()} == {8, 16, 64} and {*(shown.amax(1) / 16).tolist()} == {1, 1.5, 2}
    sharp, square = size.amin(1) > 8, (size[:, 0] == size[:, 1])
    found = data.judge(batch.x, batch.cond)
    assert (found["centred"][square & sharp] == 1).all() and (found["whole"][square & sharp] == 1).all()
    assert found["centred"][~square & sharp].mean() < 0.4 and found["whole"][~sharp].mean() < 0.2
    whole = ~square & sharp & (found["whole"] == 1) & (data.train.scene(torch.arange(600)).count == read(batch.x).count)
    scene = read(batch.x[whole])
    assert len(scene) > 100 and (crop[whole] > 0).any(1).float().mean() > 0.8
    for axis, place in enumerate((scene.y, scene.x)):
        there, width = scene.shape >= 0, torch.tensor(WIDTH)[scene.size.clamp_min(0)]
        middle = (torch.where(there, place, 99).amin(1) + torch.where(there, place + width, -99).amax(1)) / 2
        away = middle - (shown[whole, axis] / 2 - crop[whole, axis])  # from where that of the original must be
        assert (away.abs() <= 0.5).float().mean() > 0.95  # a shape that is cut off just beyond an edge is read as none
    # The same scene, moved: what is seen of an original that is square is that in the middle.
    assert torch.equal(data.train.scene(torch.arange(9)).shape, plain.train.scene(torch.arange(9)).shape)
    assert list(plain.conditions) == ["caption"] and "whole" not in plain.judge(
        batch.x[:1], collate(plain.train, [0], ["caption"]).cond
    )
    fine = D.scenes(size=32, n=200, test=4, micro=True)
    batch = collate(fine.train, range(200), ["size", "crop"])
    assert set(batch.cond["size"].amin(1).tolist()) == {16, 32, 128} and float(batch.cond["crop"].max()) > 16
