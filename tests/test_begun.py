"""A training that begins with another, by the words that train it: `train.start=[WORDS]`."""

import json

import torch
from commands import TINY, command
from problems import refuses

import scoresde
from scoresde.model.folder import described, weights_of
from scoresde.training.start import alone

SMALL = [*TINY, "rule=v", "tracker=none"]
FIRST = ",".join(f"'{word}'" for word in [*SMALL, "folder=first"])


def run(monkeypatch, capfd, tmp_path, *words):
    return command(monkeypatch, capfd, tmp_path, *SMALL, "folder=second", *words)


def test_the_start_is_trained_first_and_once(monkeypatch, capfd, tmp_path):
    words = [f"train.start=[{FIRST}]", "train.seed=1", "task=train"]
    code, out, err = run(monkeypatch, capfd, tmp_path, *words)
    assert code == 0, out + err
    assert out.index("train.start: ") < out.index(f"beginning with {tmp_path / 'first'}")
    start = described(tmp_path / "second")["start"]
    assert start["folder"].endswith("first") and start["weights"] == weights_of(tmp_path / "first")
    code, out, err = run(monkeypatch, capfd, tmp_path, *words)
    assert code == 0 and "train.start: " not in out and "second is trained already" in out, out + err
    # The model is the one that the folder of the start gives.
    code, out, err = run(monkeypatch, capfd, tmp_path, "train.start=first", "train.seed=1", "task=train")
    assert code == 0 and "second is trained already" in out, out + err
    code, out, err = run(monkeypatch, capfd, tmp_path, *words[:2], "task=sample", "sampler=ddim", "sampler.steps=2")
    assert code == 0 and list((tmp_path / "second").glob("sample-*")), out + err


def test_a_start_may_have_one_of_its_own(monkeypatch, capfd, tmp_path):
    inner = FIRST.replace("'", "\\'")
    second = f"train.start=['train.start=[{inner}]','folder=middle'," + ",".join(f"'{word}'" for word in SMALL) + "]"
    code, out, err = run(monkeypatch, capfd, tmp_path, second, "task=train")
    assert code == 0, out + err
    middle, last = (described(tmp_path / name)["start"]["weights"] for name in ("middle", "second"))
    assert middle == weights_of(tmp_path / "first") and last == weights_of(tmp_path / "middle")


def test_what_is_wrong_is_told_before_the_start_is_trained(monkeypatch, capfd, tmp_path):
    start = f"train.start=[{FIRST}]"
    wrong = {
        (start, "task=sample"): "it is not trained yet: run the same command with task=train first",
        (start, "task=train", "train.lr=-1"): "train.lr=-1",
        ("train.start=[net=nothing]", "task=train"): "net=nothing",
        ("train.start=[]", "task=train"): "train.start=[]: give the words of a training",
        ("train.start=[3]", "task=train"): "train.start=[3]",
        ("train.start=[train.lr=-1]", "task=train"): "train.lr=-1",
    }
    for words, told in wrong.items():
        code, out, err = run(monkeypatch, capfd, tmp_path, *words)
        assert code == 1 and told in err and err.count("\n") == 1, (words, err)
        assert not (tmp_path / "first").exists() and not (tmp_path / "second").exists()


def test_jobs_of_a_sweep_share_their_start(monkeypatch, capfd, tmp_path):
    start = f"train.start=[{FIRST}]".replace("folder=first", "out=starts")
    words = ["--multirun", *SMALL, start, "task=train", "train.seed=0,1"]
    code, out, err = command(monkeypatch, capfd, tmp_path, *words)
    assert code == 0, out + err
    (first,) = (tmp_path / "starts").iterdir()
    made = [json.loads(path.read_text()) for path in (tmp_path / "runs").glob("*/model.json")]
    assert [one["start"]["weights"] for one in made] == [weights_of(first)] * 2


def test_the_weights_of_a_word_alone_are_trained(monkeypatch, capfd, tmp_path):
    start = f"train.start=[{FIRST}]"
    code, out, err = run(monkeypatch, capfd, tmp_path, start, "cond=[label]", "train.only=conditioner", "task=train")
    assert code == 0, out + err
    before, after = (scoresde.load(tmp_path / name).denoiser.state_dict() for name in ("first", "second"))
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    moved = [name for name in after if name not in before]
    assert moved and all("conditioner" in name for name in moved)
    untold = scoresde.Preconditioned(scoresde.nets.MLP((2,)), scoresde.VP())
    refuses("only=nothing: no weight", call=lambda: alone(untold, "nothing"))
