"""task=cascade: its samples, its survival, and what it refuses before any work."""

import json

import numpy as np
import pytest
from commands import TINY, command

from scoresde.tasks.likelihood.parts import Examples

SMALL = ["net.channels=8", "net.attention=0", *TINY[2:8]]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """The folders of a base of 4 x 4 digits and of a model from there to 8 x 8, hardly trained."""
    from commands import ROOT
    from hydra import compose, initialize_config_dir

    from scoresde.run import Run, execute
    from scoresde.tasks.train import Train

    place = tmp_path_factory.mktemp("models")
    own = {"base": ["data.size=4"], "up": ["view=lower", "objective.condition_noise=0.5"]}
    for name, words in own.items():
        words = [*SMALL, *words, "cond=[label]", "rule=v", "tracker=none", f"folder={place / name}"]
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            config = compose("config", words)
        execute(Run(config, {}, said=tuple(words)), Train())
    return place


@pytest.fixture
def run(monkeypatch, capfd, tmp_path):
    return lambda *words: command(monkeypatch, capfd, tmp_path, "task=cascade", "sampler=dpmpp_2m", "n=10", *words)


def held(folder):
    return {path.name: np.load(path) for path in folder.glob("*.npy")}


def stages(models, base="", up=""):
    return f"stages=[{{folder:{models / 'base'}{base}}},{{folder:{models / 'up'}{up}}}]"


def test_it_writes_the_samples_of_every_stage_whatever_the_batch(models, run, tmp_path):
    words = [stages(models, ",scale:2.0,sampler:{steps:4}", ",augment:0.2,sampler:ddim"), "given.label=all"]
    code, out, err = run(*words, "folder=one")
    assert code == 0, out + err
    one = held(tmp_path / "one")
    assert {name: x.shape for name, x in one.items()} == {
        "stage-1.npy": (10, 1, 4, 4),
        "stage-2.npy": (10, 1, 8, 8),
        "samples.npy": (10, 1, 8, 8),
    }
    assert one["samples.npy"].dtype == np.uint8 and one["samples.npy"].max() <= 16
    assert np.load(tmp_path / "one" / "given.npz")["label"].tolist() == list(range(10))
    assert {"samples.png", "stage-1.png"} <= {path.name for path in (tmp_path / "one").iterdir()}
    known = json.loads((tmp_path / "one" / "summary.json").read_text())
    assert [part["evaluations"] for part in known["stages"]] == [5.0, 51.0]  # each its own sampler
    code, out, err = run(*words, "folder=two", "batch_size=3")
    assert code == 0, out + err
    two = held(tmp_path / "two")
    assert all(np.allclose(one[name], two[name], atol=1e-5) for name in ("stage-1.npy", "stage-2.npy"))
    # The stages that a command gives alike are one cascade, and its place is not another's.
    code, out, err = run(*words, "folder=one")
    assert code == 0 and "has these samples already" in out
    code, out, err = run(*words, "folder=one", "seed=1")
    assert code == 1 and "another cascade" in err


def test_a_command_that_was_cut_off_goes_on_where_it_stopped(models, run, tmp_path, monkeypatch):
    words = [stages(models, ",truncate:0.3"), "batch_size=3", "given.label=2"]
    code, out, err = run(*words, "folder=whole")
    assert code == 0, out + err
    put, kept = Examples.put, []

    def cut(self, start, columns):
        if len(kept) == 6:  # in the second stage, at its third part
            raise KeyboardInterrupt
        kept.append((self.folder.name, start))
        put(self, start, columns)

    monkeypatch.setattr(Examples, "put", cut)
    assert run(*words, "folder=cut")[0] != 0
    assert kept == [*(("stage-1", start) for start in (0, 3, 6, 9)), ("stage-2", 0), ("stage-2", 3)]
    (tmp_path / "cut" / "stage-2" / "0.npz").write_bytes(b"damaged")
    monkeypatch.setattr(
        Examples, "put", lambda self, start, x: (kept.append((self.folder.name, start)), put(self, start, x))
    )
    code, out, err = run(*words, "folder=cut")
    assert code == 0, out + err
    assert kept[6:] == [("stage-2", start) for start in (0, 6, 9)]
    a, b = held(tmp_path / "whole"), held(tmp_path / "cut")
    assert a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)
    assert not (tmp_path / "cut" / "stage-2").exists()


def test_stages_are_trained_by_their_words_where_they_are_not_there(run, tmp_path, models):
    words = ",".join([*SMALL, "data.size=4", "rule=v", "folder=trained"]).replace("net.attention=0", "net.attention=0")
    quoted = ",".join(f"'{word}'" for word in words.split(","))
    said = f"stages=[{{train:[{quoted}],sampler:{{steps:2}}}},{{folder:{models / 'up'}}}]"
    code, out, err = run(said, "given.label=1", "folder=made")
    assert code == 0, out + err
    assert (tmp_path / "trained" / "model.json").exists() and len(held(tmp_path / "made")) == 3
    code, out, err = run(said, "given.label=1", "folder=made", "seed=2", "fresh=true")
    assert code == 1 or "trained already" in out


WRONG = {
    "stages=[]": "stages is not set",
    "stages=[{base},none]": "stage 2: none is no folder of a trained model",
    "stages=[{up},{base}]": "stage 1 gives seen (1, 8, 8), and stage 2 asks for label",
    "stages=[{up}]": "stage 1 asks for the condition seen, which nobody gives",
    "stages=[{base},{folder:{up},augment:2}]": "stage 2: augment=2: give at most 0.5",
    "stages=[{folder:{base},augment:0.1},{up}]": "stage 1: augment=0.1: the model was not trained with it",
    "stages=[{folder:{base},truncate:0.9},{up}]": "trained with noise up to 0.5",
    "stages=[{folder:{base},gives:low},{up}]": "stage 1 gives low (1, 4, 4), and stage 2 asks for label, seen",
    "stages=[{folder:{base},scal:2},{up}]": "stage 1: scal is no setting of a stage; did you mean scale?",
    "stages=[{folder:{base},scale:-2},{up}]": "stage 1: scale=-2",
    "stages=[{folder:{base},sampler:ddimm},{up}]": "stage 1: sampler=ddimm",
    "stages=[{folder:{base},sampler:{stepz:3}},{up}]": "stage 1: sampler.stepz is unknown",
    "stages=[{scale:2},{up}]": "stage 1: say folder=, of a model",
    "stages=[{folder:{base},scale:2,guidance:{a:1}},{up}]": "stage 1: scale=2 and guidance",
    "stages=[{base},{up}] given.lable=3": "given.lable=3: 'lable' is unknown; did you mean label?",
    "stages=[{base},{up}] given.label=30": "has a class 30",
}


@pytest.mark.parametrize("words", WRONG)
def test_what_is_wrong_is_told_in_one_line_before_any_work(words, models, run, tmp_path):
    said = words.replace("{base}", str(models / "base")).replace("{up}", str(models / "up"))
    code, out, err = run(*said.split())
    assert code == 1 and WRONG[words] in err and err.count("\n") == 1, err
    assert not list(tmp_path.rglob("*.npy"))


def test_samples_and_densities_of_a_model_may_be_told_noisier_pictures(models, monkeypatch, capfd, tmp_path):
    for task in ("sample", "likelihood"):
        words = [f"folder={models / 'up'}", f"task={task}", "n=4", "sampler=ddim", "likelihood.n=3", *TINY[-2:]]
        for given in ([], ["given.corruption=0.4"]):
            code, out, err = command(monkeypatch, capfd, tmp_path, *words, *given)
            assert code == 0, out + err
    given = [dict(np.load(path)) for path in sorted((models / "up").glob("sample-*/given.npz"))]
    plain, noisy = sorted(given, key=lambda found: "corruption" in found)
    assert (noisy["corruption"] == 0.4).all() and (noisy["label"] == plain["label"]).all()
    n = (noisy["seen"] - plain["seen"]) / 0.4
    assert abs(n.mean()) < 0.5 and 0.7 < n.std() < 1.3
    assert len(list((models / "up").glob("likelihood-*"))) == 2
