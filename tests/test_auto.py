"""`net=auto`: as wide as the data feeds and the time allows, the same each time, and known by its folder."""

import json

import pytest
import torch
from commands import TINY, command
from problems import refuses

import scoresde
from scoresde.making import node_of
from scoresde.nets import MLP, UNet, auto
from scoresde.nets.cost import cost

SHAPES = [(5,), (2, 40), (1, 8, 8), (3, 28, 28), (1, 64, 48), (1, 5, 1), (1, 6, 9, 8)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_takes_every_shape(shape):
    net = auto(shape, minutes=0.01)
    assert isinstance(net, MLP if len(shape) == 1 else UNet)
    assert net(torch.randn(2, *shape), torch.zeros(2)).shape == (2, *shape)
    assert auto(shape, minutes=0.01, outputs=3)(torch.randn(2, *shape), torch.zeros(2)).shape[1] == 3 * shape[0]


def width(*shape, **said):
    return auto(shape, **said).arguments["channels"]


def test_it_grows_with_time_and_data_and_stops_there():
    """No more operations than the time has, unless it is the smallest; and no more channels than the data feeds."""
    for minutes in (0.5, 5, 50):
        net = auto((1, 28, 28), 60_000, 1000, 128, minutes, speed=1e11)
        channels = net.arguments["channels"]
        assert 3 * cost(net, (1, 28, 28)).flops * 128_000 <= 6e12 * minutes or channels == 16
    grown = [width(1, 28, 28, examples=60_000, minutes=m, speed=1e11) for m in (0.5, 20, 100, 5000)]
    assert grown == sorted(set(grown)) and grown[-1] == 128
    assert [width(1, 8, 8, examples=n, minutes=1e4) for n in (500, 5000, 50_000)] == [32, 64, 128]
    assert width(1, 8, 8, examples=500, minutes=1e-6) == 16


def test_digits_get_the_default_network_drawn_from_the_same_numbers():
    """The candidates' own weights leave the random numbers as they were."""
    torch.manual_seed(0)
    net = auto((1, 8, 8), 1497, minutes=30, speed=6e10)
    torch.manual_seed(0)
    other = UNet((1, 8, 8), 32, (1, 1), 1, 16, dropout=0.1)
    assert node_of(net) == node_of(other)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters(), strict=True))
    refuses("minutes=0", call=lambda: auto((1, 8, 8), minutes=0))


def test_a_folder_has_the_network_that_was_chosen(tmp_path, monkeypatch, capfd):
    """Its description says it, the same words find it again, and labels go with it."""
    ask = lambda *words: command(monkeypatch, capfd, tmp_path, *words)
    words = [*TINY[2:], "net=auto", "net.minutes=0.000001", "cond=[label]"]
    code, out, err = ask(*words, "task=train")
    assert code == 0 and "net=auto: UNet, channels 16" in out + err, err
    (folder,) = (tmp_path / "runs").iterdir()
    known = json.loads((folder / "model.json").read_text())
    assert known["net"]["_target_"] == "scoresde.nets.UNet" and known["net"]["channels"] == 16
    assert scoresde.load(folder).bare.net.arguments["channels"] == 16
    few = ["task=sample", "n=2", "sampler=ddim", "sampler.steps=2"]
    assert ask(*words, *few)[0] == 0 and ask(f"folder={folder}", *few)[0] == 0
    code, out, err = ask(*words, "task=describe", "task.steps=1")
    assert code == 0 and "UNet" in out, err
    assert len(list((tmp_path / "runs").iterdir())) == 1
