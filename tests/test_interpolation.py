"""The task that interpolates, and what sampling leaves of its way: files, figures, and mistakes in one line."""

import json

import numpy as np
import pytest
import torch
from commands import FEW, TINY, command
from PIL import Image

import scoresde
from scoresde.config import build
from scoresde.data import stack
from scoresde.noise import normal
from scoresde.sampling import decode, encode, slerp


@pytest.fixture
def cli(monkeypatch, capfd, tmp_path):
    return lambda *overrides, **options: command(monkeypatch, capfd, tmp_path, *overrides, **options)


TOY = ["data=toy", "data.n=100", "data.test=20", "net.width=16", "train.steps=4", "train.batch_size=16", "n=50"]
WALK = ["task=interpolate", "task.pairs=2", "task.points=3"]


def test_images(cli, tmp_path):
    assert cli(*TINY, "task=train")[0] == 0
    code, out, err = cli(*TINY, *WALK)
    assert code == 0, err
    (folder,) = (tmp_path / "runs").glob("*/interpolate-test-*")
    walks = np.load(folder / "interpolation.npy")
    assert walks.shape == (2, 3, 1, 8, 8) and walks.dtype == np.uint8
    assert Image.open(folder / "interpolation.png").width > 5 * 64
    figures = json.loads((folder / "summary.json").read_text())
    assert 0 < figures["round_trip_rms"] <= figures["round_trip_worst"] < 0.05 and figures["round_trip_same"] > 0.9
    assert figures["evaluations"] > 14 and figures["t_min"] == 1e-5 and figures["pairs"] == 2
    assert "round trip" in out and "of values unchanged" in out and "interpolation.png" in out
    # The ends are the examples, and the same command gives the same walks, whatever the batch size.
    model = scoresde.load(folder.parent)
    test = build.build_data(build.OmegaConf.load(folder / "config.yaml")).test
    known = stack(test, range(len(test))).numpy().astype(int)
    for way in walks:
        first, last = (np.abs(known - way[i].astype(int)).reshape(len(known), -1) for i in (0, -1))
        # A value within 1e-4 of a level's edge may fall to its neighbour.
        assert min(first.sum(1)) <= 2 and min(last.sum(1)) <= 2 and first.sum(1).argmin() != last.sum(1).argmin()
        assert min(np.abs(known - way[1].astype(int)).reshape(len(known), -1).sum(1)) > 20  # and the middle is new
    code, _, err = cli(*TINY, *WALK, "batch_size=1")
    assert code == 0 and np.abs(np.load(folder / "interpolation.npy").astype(int) - walks).max() <= 1, err
    assert tuple(model.shape) == (1, 8, 8)


def test_points_are_those_of_the_functions(cli, tmp_path):
    assert cli(*TOY, "task=train")[0] == 0
    code, out, err = cli(*TOY, *WALK)
    assert code == 0, err
    (folder,) = (tmp_path / "runs").glob("*/interpolate-test-*")
    walks = torch.from_numpy(np.load(folder / "interpolation.npy"))
    model = scoresde.load(folder.parent)
    assert walks.shape == (2, 3, 2) and "of the data's units" in out
    ends = model.space(walks[:, [0, -1]].flatten(0, 1))
    latent = encode(model, ends).unflatten(0, (2, 2))
    middle = model.decode(decode(model, slerp(latent[:, 0], latent[:, 1], 0.5)))
    assert torch.allclose(middle, walks[:, 1], atol=2e-3)


def test_the_way_of_the_samples(cli, tmp_path):
    assert cli(*TOY, "task=train")[0] == 0
    for sampler, frames in ((["sampler.steps=45"], 24), (["sampler=ode"], 11), (["sampler=reversible", *FEW], 4)):
        code, _, err = cli(*TOY, "task=sample", *sampler)
        assert code == 0, err
        (folder,) = (tmp_path / "runs").glob(f"*/sample-{sampler[0].partition('=')[2] if frames != 24 else 'pc'}-*")
        way = np.load(folder / "trajectory.npz")
        assert way["x"].shape == way["x0"].shape == (frames, 50, 2) and way["times"].shape == (frames,)
        assert (np.diff(way["times"]) < 0).all() and way["times"][-1] == 1e-5 and way["times"][0] == 1.0
        model = scoresde.load(folder.parent)
        start = model.sde.prior(normal(torch.zeros(50, 2), torch.arange(50), 0, 0, 0))
        assert np.allclose(way["x"][0], start) and np.allclose(way["x0"][0], model(start, 1.0))
        last = model.decode(model(torch.from_numpy(way["x"][-1]), 1e-5))
        assert np.allclose(last.numpy(), np.load(folder / "samples.npy"), atol=2e-3)
        assert np.allclose(model.decode(torch.from_numpy(way["x0"][-1])).numpy(), last.numpy())
        assert Image.open(folder / "trajectory.gif").n_frames == frames and (folder / "trajectory.png").exists()
    code, _, err = cli(*TOY, "task=sample", *FEW, "gif=false", "sampler.last=mean")
    assert code == 0, err
    assert len(list((tmp_path / "runs").glob("*/*/trajectory.gif"))) == 3


def test_mistakes_are_one_line(cli):
    assert cli(*TOY, "task=train")[0] == 0
    for override, *words in (
        ("task.pairs=0", "task.pairs=0", "from 1"),
        ("task.pairs=11", "22 examples are needed", "20"),
        ("task.points=1", "task.points=1", "from 2"),
        ("task.split=all", "task.split='all'", "train, test"),
        ("task.rtol=0", "task.rtol=0"),
        ("task.t_min=2.0", "t_min=2.0"),
        ("task.pears=2", "did you mean"),
    ):
        code, _, err = cli(*TOY, "task=interpolate", override)
        assert code == 1 and err.count("\n") == 1 and all(w in err for w in words), err


def test_the_flow_of_what_is_given(cli, tmp_path):
    own = [*TINY, "cond=[label]"]
    assert cli(*own, "task=train")[0] == 0
    for given in ([], ["given.label=[3,4]"], ["given.label=[3,4]", "guidance=cfg", "guidance.scale=2"]):
        code, _, err = cli(*own, *WALK, *given)
        assert code == 0, err
    folders = (tmp_path / "runs").glob("*/interpolate-test-*")
    found = [json.loads((folder / "summary.json").read_text())["round_trip_rms"] for folder in folders]
    assert len(found) == len(set(found)) == 3  # three flows
    code, _, err = cli(*own, *WALK, "given.label=10")
    assert code and "label has a class 10" in err
