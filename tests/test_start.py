"""A training that begins with a trained model: what fits is taken, what does not is named, and it is remembered."""

import json

import pytest
import torch
from commands import TINY, command
from problems import refuses

import scoresde
from scoresde import Preconditioned
from scoresde.conditions import Label
from scoresde.data import Affine, Data, Tensors
from scoresde.model.folder import weights_of
from scoresde.model.kept.state import plain_state
from scoresde.nets import MLP, UNet
from scoresde.training.start import begin_with

SMALL = dict(steps=2, batch_size=8, progress=False)


def labelled(classes, size=4):
    x, y = torch.randn(40, 1, size, size), torch.arange(40) % classes
    part = lambda i: Tensors(x[i], cond={"label": y[i]})
    kinds = {"label": Label(classes)}
    return Data("x", part(slice(10, None)), part(slice(10)), Affine(), conditions=kinds)


def unet(classes, **how):
    torch.manual_seed(classes)
    net = UNet((1, 4, 4), channels=8, blocks=1, mults=(1,), conditions={"label": Label(classes)}, **how)
    return Preconditioned(net, scoresde.VP())


@pytest.mark.parametrize("classes", [2, 6])
def test_other_classes_begin_with_those_there_are_and_no_class_stays_none(classes):
    """Fewer are cut, more are 0; the row for no class is the last one's, wherever that is."""
    old, new = unet(4), unet(classes)
    with torch.no_grad():
        for p in old.parameters():
            p.add_(0.1 * torch.randn(p.shape))
    fit = begin_with(new, plain_state(old))
    (table,) = fit.cut if classes < 4 else fit.grown
    assert not fit.anew and not fit.left and not fit.whole and table in fit.words
    x, t = torch.randn(3, 1, 4, 4), 0.5
    for label in ([-1, -1, -1], [0, 1, -1]):
        cond = {"label": torch.tensor(label)}
        assert torch.equal(old.eval()(x, t, cond), new.eval()(x, t, cond))


def test_what_does_not_fit_is_said_once_in_a_line(tmp_path):
    said, data = [], labelled(4)
    scoresde.train(unet(4), data, folder=tmp_path / "old", **SMALL)
    options = dict(start=tmp_path / "old", folder=tmp_path / "new", say=said.append, checkpoint_every=1)
    deeper = Preconditioned(UNet((1, 4, 4), channels=8, blocks=2, mults=(1,)), scoresde.VP())
    scoresde.train(deeper, data, **options, **SMALL)
    (line,) = (words for words in said if "begins with" in words)
    assert "old" in line and "begin anew: net." in line and "left behind: net.conditioner" in line and "\n" not in line
    started = json.loads((tmp_path / "new" / "model.json").read_text())["start"]
    assert started == {"folder": str(tmp_path / "old"), "weights": weights_of(tmp_path / "old"), "step": 2}
    said.clear()
    scoresde.train(deeper, data, **options, **SMALL | {"steps": 3})
    assert not [words for words in said if "begins with" in words]
    other = scoresde.train(unet(4), data, folder=tmp_path / "other", **SMALL | {"steps": 3})
    refuses("start.weights", call=lambda: scoresde.train(deeper, data, **options | {"start": other}, **SMALL))
    refuses("none of its weights", call=lambda: begin_with(torch.nn.ParameterDict({"odd": torch.ones(3)}), {}))


def test_a_model_is_its_own_start():
    """One step of next to nothing leaves it where it was; and its folder alone is enough."""
    data = scoresde.data.from_tensor(torch.randn(40, 2))
    model = scoresde.train(Preconditioned(MLP((2,), width=16), scoresde.VP()), data, **SMALL)
    on = scoresde.train(data=data, start=model, lr=1e-12, ema=0.0, **SMALL)
    x = torch.randn(5, 2)
    assert torch.allclose(on(x, 0.5), model(x, 0.5), atol=1e-5)


def test_a_command_takes_the_model_of_its_start_and_goes_on_without_it(monkeypatch, capfd, tmp_path):
    run = lambda *words: command(monkeypatch, capfd, tmp_path, "task=train", "wandb=disabled", *words)
    code, _, err = run(*TINY, "sde=ve", "folder=old")
    assert code == 0, err
    few = ("train.steps=2", "train.batch_size=8", "train.checkpoint_every=1")
    code, out, err = run("train.start=old", "folder=new", "data.seed=3", *few)
    known = json.loads((tmp_path / "new" / "model.json").read_text())
    assert code == 0 and "beginning with" in out and known["sde"]["_target_"] == "scoresde.VE", err
    assert known["net"]["channels"] == 8 and known["start"]["weights"] == weights_of(tmp_path / "old")
    assert "start" not in known["train"] and known["data"]["settings"]["seed"] == 3
    (tmp_path / "old").rename(tmp_path / "away")
    code, out, err = run("folder=new", "train.steps=3")
    assert code == 0 and "from step 2 of 3" in out, err
    code, _, err = run("train.start=old", "folder=third", *few)
    assert code == 1 and "train.start=old" in err and err.count("\n") == 1 and not (tmp_path / "third").exists()
