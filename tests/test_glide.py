"""GLIDE's recipes in small: base and upsampler in a row, judged; a region drawn anew by a sentence."""

import json

import numpy as np
import pytest
from commands import TINY, command

import scoresde
from scoresde.data import stack
from scoresde.report.again import value

pytest.importorskip("tokenizers")
WORDS = [*TINY, "data.n=60", "data.test=12", "tracker=none", "net.mults=[1,1]"]


def words(name, *more):
    return [f"experiment={name}", *WORDS, *more]


def begun(*before):
    """The words of a recipe that begins with others, tiny all."""
    found = []
    for name in before:
        found = words(name, *([f"train.start={value(found)}"] if found else []))
    return found


def test_base_and_upsampler_are_trained_and_judged_in_one_command(monkeypatch, capfd, tmp_path):
    stages = [
        {"train": begun("glide_scenes_layout", "glide_scenes"), "scale": 2.0},
        {"train": words("glide_scenes_up")},
    ]
    said = ["experiment=glide_scenes_large", f"stages={value(stages)}", "n=4", "sampler.steps=2", "folder=made"]
    code, out, err = command(monkeypatch, capfd, tmp_path, *said)
    assert code == 0, out + err
    known = json.loads((tmp_path / "made" / "summary.json").read_text())["stages"]
    assert [one["shape"] for one in known] == [[3, 16, 16], [3, 32, 32]]
    assert all(one["judged"]["all_seen_real"] == 1 for one in known)


def test_a_region_is_drawn_anew_by_a_sentence_and_the_rest_is_kept(monkeypatch, capfd, tmp_path):
    start = f"train.start={value(begun('glide_scenes_layout', 'glide_scenes'))}"
    code, out, err = command(monkeypatch, capfd, tmp_path, *words("glide_scenes_edit", start, "folder=edit"))
    assert code == 0 and "begins with" in out, out + err
    view = "task.view={_target_:scoresde.data.Box,low:[0,0],high:[0.5,1]}"
    asked = ["folder=edit", "task=translate", view, "n=3", "task.k=2", "task.frechet=false", "sampler.steps=2"]
    told = ['given.caption="a small red star above a large blue ring"', "guidance=cfg", "guidance.scale=2"]
    code, out, err = command(monkeypatch, capfd, tmp_path, *asked, *told)
    assert code == 0, out + err
    (place,) = tmp_path.glob("edit/translate-*/samples.npy")
    held = stack(scoresde.data.scenes(n=60, test=12).test, range(3)).numpy()
    assert (np.load(place)[:, :, :, 8:] == held[:, None, :, 8:]).all()
