"""Latent diffusion's recipes in small: the autoencoder is trained first, by its words, and once."""

import json

import pytest
from commands import TINY, command

import scoresde
from scoresde.report.again import value

FEW = ["train.steps=2", "train.batch_size=8", "tracker=none"]
CODER = [*FEW, "task.channels=8", "task.mults=[1,2]", "task.latent=2"]
WORDS = [*TINY, "tracker=none", "net.mults=[1]", "net.attention=0"]


def codec(name, *more):
    return f"data.autoencoder={value([f'experiment={name}', *CODER, *more])}"


@pytest.fixture
def digits(tmp_path):
    """A folder of eight by eight pictures, in place of MNIST's."""
    return ["data@data.data=digits", codec("ldm_mnist_codec", "data=digits")]


def test_the_autoencoder_is_trained_first_and_once(monkeypatch, capfd, tmp_path, digits):
    said = ["experiment=ldm_mnist", *WORDS, *digits, "folder=m"]
    code, out, err = command(monkeypatch, capfd, tmp_path, *said)
    assert code == 0, out + err
    assert out.index("data.autoencoder: experiment=ldm_mnist_codec") < out.index("training vp on digits latents")
    where = tmp_path / "runs" / "ldm_mnist" / "codec"
    assert scoresde.load(tmp_path / "m").codec.weights == scoresde.load(where).weights
    code, out, err = command(monkeypatch, capfd, tmp_path, *said)
    assert code == 0 and "data.autoencoder: " not in out and "m is trained already" in out, out + err
    code, out, err = command(monkeypatch, capfd, tmp_path, "folder=m", "task=sample", "n=2", "sampler.steps=2")
    assert code == 0, out + err


def test_what_is_wrong_is_told_before_the_autoencoder_is_trained(monkeypatch, capfd, tmp_path, digits):
    wrong = {
        "train.lr=-1": "train.lr=-1",
        "data.autoencoder=[]": "data.autoencoder=[]: give the words",
        f"data.autoencoder={value(['task=nothing'])}": "task=nothing",
        codec("ldm_mnist_codec", "data=digits", "task.latent=0"): "task.latent=0",
    }
    said = ["experiment=ldm_mnist", *WORDS, *digits, "folder=m"]
    for word, told in wrong.items():
        code, out, err = command(monkeypatch, capfd, tmp_path, *said, word)
        assert code == 1 and told in err and err.count("\n") == 1, (word, err)
        assert not (tmp_path / "runs").exists() and not (tmp_path / "m").exists()


def test_an_autoencoder_that_is_not_there_is_told_by_what_needs_it(monkeypatch, capfd, tmp_path, digits):
    said = ["experiment=ldm_mnist", *WORDS, *digits, "folder=m", "task=evaluate"]
    code, out, err = command(monkeypatch, capfd, tmp_path, *said)
    assert code == 1 and err.count("\n") == 1 and "codec is not a model folder" in err, out + err


def test_sentences_by_way_of_latents_are_read_back(monkeypatch, capfd, tmp_path):
    pytest.importorskip("tokenizers")
    few = ["data.data.n=60", "data.data.test=20", "data.data.size=32"]
    inner = ["data.n=60", "data.test=20", "data.size=32"]
    words = [*WORDS, *few, codec("ldm_scenes_codec", *inner)]
    start = f"train.start={value(['experiment=ldm_scenes_layout', *words])}"
    code, out, err = command(monkeypatch, capfd, tmp_path, "experiment=ldm_scenes", *words, start, "folder=m")
    assert code == 0 and out.count("data.autoencoder: ") == 1, out + err
    asked = ["folder=m", "task=evaluate", "n=20", "sampler.steps=2", "task.metrics=[mmd]", "guidance=cfg"]
    code, out, err = command(monkeypatch, capfd, tmp_path, *asked)
    assert code == 0, out + err
    (found,) = tmp_path.glob("m/evaluate-*/summary.json")
    known = json.loads(found.read_text())
    assert known["reference"] == "20 scenes32 test" and known["all_seen_real"] == known["all_unseen_real"] == 1


def test_few_steps_of_latents_are_distilled_of_the_model_that_is_trained_first(monkeypatch, capfd, tmp_path, digits):
    words = [*WORDS, *digits]
    teacher = f"teacher={value(['experiment=ldm_mnist', *words])}"
    said = ["experiment=lcm_mnist", *words, teacher, "folder=m"]
    code, out, err = command(monkeypatch, capfd, tmp_path, *said)
    assert code == 0, out + err
    model = scoresde.load(tmp_path / "m")
    assert model.lands == "data" and model.codec is not None and model.conditions["guidance"].high == 4
    few = ["folder=m", "task=sample", "n=2", "given.label=3", "given.guidance=2", "gif=false"]
    code, out, err = command(monkeypatch, capfd, tmp_path, *few)
    assert code == 0 and "renoise" in out, out + err
