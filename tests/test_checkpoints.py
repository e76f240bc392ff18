"""A checkpoint is believed only as far as it was checked: each part that lacks, or is something else, is one line."""

import copy
import os
import shutil
from collections import OrderedDict

import pytest
import torch
from commands import command
from sweeps import SMALL

import scoresde
from scoresde.model import checkpoint


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with an unfinished training, by Python."""
    folder = tmp_path_factory.mktemp("trained")
    fit(folder / "m", stop=2)
    return folder / "m"


class Stop(Exception):
    pass


def fit(folder, stop=None, **options):
    torch.manual_seed(0)
    model = scoresde.Preconditioned(scoresde.nets.MLP((2,), width=16, blocks=1), scoresde.VP())
    x = torch.randn(100, 2, generator=torch.Generator().manual_seed(0))

    def report(step, **figures):
        if step == stop:
            raise Stop

    settings = {"steps": 4, "batch_size": 16, "checkpoint_every": 1, "log_every": 1, "device": "cpu", **options}
    try:
        return scoresde.train(model, x, folder=folder, report=report, **settings)
    except Stop:
        return None


OTHER = [None, 3, -1, 1.5, "x", [], [1], {}, {"a": 1}, {"a": "b"}, torch.ones(3), True, float("nan"), (1, 2)]
PARTS = ("step", "seconds", "model", "ema", "optimizer")
FITTING = {  # what stands for the part all the same
    "step": lambda v: type(v) is int and v >= 0,
    "seconds": lambda v: type(v) in (int, float) and v == v,
}


def damaged(state):
    """Name and state of what a damaged checkpoint may hold."""
    for part in PARTS:
        yield f"no {part}", {k: v for k, v in state.items() if k != part}
    for part in PARTS:
        for value in OTHER:
            if not FITTING.get(part, lambda v: False)(value):
                yield f"{part}={value!r}", state | {part: value}
    name = next(iter(state["model"]))
    for part in ("model", "ema"):
        yield f"{part} without {name}", state | {part: {k: v for k, v in state[part].items() if k != name}}
        yield f"{part} of another shape", state | {part: OrderedDict(state[part], **{name: torch.ones(3)})}
        yield f"{part} of numbers", state | {part: dict.fromkeys(state[part], 1.0)}
        yield f"{part} by numbers", state | {part: dict(enumerate(state[part].values()))}
    for key in ("betas", "lr", "eps", "weight_decay", "params"):
        yield f"optimizer without {key}", change(state, lambda o, k=key: o["param_groups"][0].pop(k))
        yield f"{key} of text", change(state, lambda o, k=key: o["param_groups"][0].update({k: "x"}))
    yield "no groups", change(state, lambda o: o.update(param_groups=[]))
    yield "groups of text", change(state, lambda o: o.update(param_groups=["x"]))
    yield "more groups", change(state, lambda o: o["param_groups"].append(copy.deepcopy(o["param_groups"][0])))
    yield "fewer weights", change(state, lambda o: o["param_groups"][0]["params"].pop())
    for key in ("exp_avg", "exp_avg_sq", "step"):
        yield f"no {key}", change(state, lambda o, k=key: o["state"][0].pop(k))
        yield f"{key} of another shape", change(state, lambda o, k=key: o["state"][0].update({k: torch.ones(7)}))
        yield f"{key} of text", change(state, lambda o, k=key: o["state"][0].update({k: "x"}))
    yield "moments of text", change(state, lambda o: o["state"].update({0: "x"}))


def change(state, what):
    optimizer = copy.deepcopy(state["optimizer"])
    what(optimizer)
    return state | {"optimizer": optimizer}


def test_a_training_goes_on_from_no_damaged_part(trained, tmp_path):
    state, path = checkpoint.load(trained / "checkpoint.pt"), tmp_path / "checkpoint.pt"
    wrong = []
    for name, other in damaged(state):
        torch.save(other, path)
        data = path.read_bytes()
        try:
            fit(tmp_path)
            wrong.append(f"{name}: taken")
        except scoresde.InputError as error:
            words = str(error)
            if "\n" in words or not words.startswith(f"{path} ") or "remove" in words:
                wrong.append(f"{name}: {words}")
        except Exception as error:
            wrong.append(f"{name}: {error!r}")
        if path.read_bytes() != data:
            wrong.append(f"{name}: written over")
    assert not wrong, "\n".join(wrong)
    shutil.copy(trained / "checkpoint.pt", path)
    whole = fit(tmp_path / "whole")
    assert all(torch.equal(a, b) for a, b in zip(fit(tmp_path).parameters(), whole.parameters(), strict=True))


def test_times_that_learned_are_not_taken_from_anything_else(tmp_path):
    loss = scoresde.DenoisingLoss(times=scoresde.loss.Adaptive())
    fit(tmp_path, stop=2, loss=loss)
    path = tmp_path / "checkpoint.pt"
    state = checkpoint.load(path)
    for part in ("x", 3, {}, {"a": torch.ones(2)}, dict.fromkeys(state["loss"], torch.ones(7, 7))):
        torch.save(state | {"loss": part}, path)
        with pytest.raises(scoresde.InputError, match="holds another network"):
            fit(tmp_path, loss=loss)


FACTS = [{"shape": None}, {"shape": [2.5]}, {"shape": ["2"]}, {"shape": [0]}, {"levels": "256"}, {"levels": -1}]
FACTS += [{"name": None}, {"scale": 1.0}, {"shift": None}]


def test_a_command_samples_from_no_damaged_part(monkeypatch, capfd, tmp_path):
    cli = lambda *words: command(monkeypatch, capfd, tmp_path, *SMALL, "folder=m", "sampler=ddim", *words)
    assert cli("task=train")[0] == 0
    (tmp_path / "m" / "model.safetensors").unlink()  # as in a training that has not ended
    path = tmp_path / "m" / "checkpoint.pt"
    state = checkpoint.load(path)
    others = [({k: v for k, v in state.items() if k != part}) for part in ("step", "ema", "facts")]
    others += [state | {part: value} for part in ("step", "ema", "facts") for value in ("x", None, [], {"a": 1})]
    others += [state | {"facts": state["facts"] | wrong} for wrong in FACTS]
    others += [
        state | {"facts": {k: v for k, v in state["facts"].items() if k != key}}
        for key in state["facts"].keys() - {"columns"}
    ]
    for other in others:
        torch.save(other, path)
        code, _, err = cli("task=sample")
        assert code == 1 and err.startswith("error: m/checkpoint.pt ") and err.count("\n") == 1, err


def test_what_is_no_checkpoint_is_told_by_what_it_is(tmp_path):
    path = tmp_path / "checkpoint.pt"

    def refuses(*words):
        with pytest.raises(scoresde.InputError) as caught:
            checkpoint.load(path)
        assert all(word in str(caught.value) for word in words) and "\n" not in str(caught.value), caught.value

    refuses("does not exist", "no trained model")
    torch.save({"step": 1}, tmp_path / "whole")
    path.symlink_to(tmp_path / "whole")
    refuses("is a link")
    path.unlink()
    os.mkfifo(path)
    refuses("is not a file")
    path.unlink()
    torch.save({"step": torch.nn.Linear(1, 1)}, path)  # whole, but it would run code: nobody is told that it is damaged
    with pytest.raises(scoresde.InputError, match="is whole, but holds what is not read") as caught:
        checkpoint.load(path)
    assert "cut short" not in str(caught.value) and "fresh" not in str(caught.value)
    torch.save({"step": 1}, path, _use_new_zipfile_serialization=False)
    refuses("cannot be read")
