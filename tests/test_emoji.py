"""The recipe of emoji: it trains on a folder with captions, and its samples are measured by a CLIP."""

import csv
import json

import numpy as np
import pytest
from commands import ROOT, command

from scoresde.tasks.evaluate import task as evaluation

pytest.importorskip("tokenizers")
Image = pytest.importorskip("PIL.Image")
EMOJI = ROOT.parent / "shared" / "data" / "emoji"
COLOURS = {"red": (220, 40, 40), "blue": (40, 60, 220), "green": (40, 160, 60), "yellow": (240, 210, 40)}
STYLES = ("flat", "round")
FEW = ["train.steps=2", "train.batch_size=8", "train.validate_every=2", "train.checkpoint_every=2", "train.log_every=1"]
SMALL = ["data.size=16", "net.channels=16", "net.mults=[1,2]", "train.warmup=1", *FEW]
WORDS = [
    "~told.text.encoder",
    "+told.text.layers=1",
]  # byte pairs in place of the frozen encoder, which may not be here


@pytest.fixture
def folder(tmp_path):
    """Discs and squares of four colours, 32 pixels, with metadata.csv, in train/ and test/."""
    rng = np.random.default_rng(0)
    for part, n in (("train", 64), ("test", 24)):
        place = tmp_path / "pictures" / part
        place.mkdir(parents=True)
        rows = []
        for k in range(n):
            name, style = [*COLOURS][k % 4], STYLES[k // 4 % 2]
            x, y = np.mgrid[:32, :32] - rng.uniform(12, 20, (2, 1, 1))
            inside = np.hypot(x, y) < 9 if style == "round" else np.maximum(abs(x), abs(y)) < 8
            picture = np.where(inside[..., None], COLOURS[name], 255).astype(np.uint8)
            Image.fromarray(picture).save(place / f"{k}.png")
            rows.append({"file_name": f"{k}.png", "text": f"{name} thing, {style} style", "style": style})
        with (place / "metadata.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, [*rows[0]])
            writer.writeheader()
            writer.writerows(rows)
    return tmp_path / "pictures"


@pytest.fixture
def say(tmp_path, monkeypatch, capfd):
    def run(*words):
        code, out, err = command(monkeypatch, capfd, tmp_path, *words)
        assert code == 0, err
        return out + err

    return run


def test_the_recipe_and_its_figures(say, folder, tmp_path, monkeypatch):
    recipe = ["experiment=emoji", f"data.root={folder}", *WORDS, *SMALL]
    say(*recipe, "folder=m")
    assert "efficient" in (tmp_path / "m" / "model.json").read_text()
    clip = ["task=contrastive", "task.condition=text", "task.folder=c", "task.channels=16", "task.width=16"]
    say(*recipe, *clip, "train.seed=1")
    judged = ["task=evaluate", "sampler.steps=1", "n=40", "task.metrics=[kid]", "task.extractor=flatten"]
    judged += ["task.clip=c", "task.among=6", "task.split=test", "task.by=style", "task.groups=8"]
    splits, given = [], evaluation.given
    monkeypatch.setattr(evaluation, "given", lambda run, n, split: splits.append(split) or given(run, n, split))
    say("folder=m", "guidance=cfg", "guidance.scale=2", *judged)
    assert splits == ["test"]
    (summary,) = (tmp_path / "m").rglob("evaluate*/**/summary.json")
    found = json.loads(summary.read_text())
    assert found["r_precision_chance"] == pytest.approx(1 / 6) and 0 <= found["r_precision"] <= 1
    assert "kid_style_flat" in found and "kid_style_round" in found
    say("folder=m", "task=sample", "n=4", "sampler.steps=1", "gif=false", "given.text=red thing, round style")


@pytest.mark.skipif(not EMOJI.is_dir(), reason="the emoji are not here")
def test_the_recipe_takes_the_emoji(say, tmp_path):
    said = say("experiment=emoji", f"data.root={EMOJI / 'test'}", *WORDS, *SMALL, "folder=m")
    assert "1347 images" in said
    known = json.loads((tmp_path / "m" / "model.json").read_text())
    assert [*known["conditions"]] == ["text"]
