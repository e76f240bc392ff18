"""Imagen's recipe in small: it trains what is not there, keeps to the data's range, and judges each stage."""

import json

import numpy as np
import pytest
from commands import TINY, command
from hydra import compose, initialize_config_dir

import scoresde
from scoresde.cascade import Stage
from scoresde.guidance import Guided, Thresholded
from scoresde.report.again import value

WORDS = [*TINY, "data.n=60", "data.test=12", "tracker=none", "net.mults=[1,1]"]


def words(name, *more):
    return [f"experiment={name}", *WORDS, *more]


@pytest.fixture
def encoder(tmp_path, monkeypatch):
    """A tiny frozen encoder, of random weights; None where the packages are missing: the words are tokens then."""
    monkeypatch.setenv("SCORESDE_CACHE", str(tmp_path / "cache"))
    tokenizers, transformers = (pytest.importorskip(name) for name in ("tokenizers", "transformers"))
    made = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=280, special_tokens=["[UNK]", "[PAD]"], show_progress=False)
    made.train_from_iterator(["a small red circle above a large blue square"], trainer)
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=made, unk_token="[UNK]", pad_token="[PAD]")
    small = dict(vocab_size=300, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    for part in (transformers.BertModel(transformers.BertConfig(**small)), fast):
        part.save_pretrained(tmp_path / "encoder")
    return tmp_path / "encoder"


def stages(*more):
    """The recipe's stages with tiny networks and few steps."""
    first = f"train.start={value(words('glide_scenes_layout'))}"
    start = f"train.start={value(words('imagen_scenes_layout', *more, first))}"
    found = [{"train": words("imagen_scenes_base", *more, start), "scale": 2.0, "threshold": 0.9}]
    found += [{"train": words(f"imagen_scenes_up{size}", *more), "augment": 0.1} for size in (32, 64)]
    return f"stages={value(found)}"


def judged(monkeypatch, capfd, tmp_path, *more):
    said = ["experiment=imagen_scenes", stages(*more), "n=6", "sampler.steps=2", "folder=made"]
    code, out, err = command(monkeypatch, capfd, tmp_path, *said)
    assert code == 0, out + err
    return out, json.loads((tmp_path / "made" / "summary.json").read_text())["stages"]


def test_the_recipe_trains_draws_and_judges(encoder, monkeypatch, capfd, tmp_path):
    out, known = judged(monkeypatch, capfd, tmp_path, f"told.caption.encoder={encoder}")
    assert [one["shape"] for one in known] == [[3, size, size] for size in (16, 32, 64)]
    assert out.index("train.start: ") < out.index("stage 2: ") and "as told" in out
    for one in known:
        figures = one["judged"]
        assert figures["number_seen_n"] == figures["number_unseen_n"] == 3  # by turns
        assert figures["all_seen_real"] == 1 and figures["all_seen"] <= figures["number_seen"]
    x = np.load(tmp_path / "made" / "samples.npy")
    assert x.shape == (6, 3, 64, 64) and x.dtype == np.uint8
    code, out, err = command(
        *(monkeypatch, capfd, tmp_path, "experiment=imagen_scenes", "n=2", "sampler.steps=2", "folder=other"),
        stages(f"told.caption.encoder={encoder}"),
        "given.caption=a small red circle",
    )
    assert code == 0 and out.count("trained already") == 3, out + err


def test_the_recipe_is_whole(capfd):
    """Its stages' words are those of recipes that are there, in the sizes that fit."""
    from commands import ROOT

    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("config", ["experiment=imagen_scenes"])
        made = [compose("config", list(stage.train)) for stage in config.stages]
        first = compose("config", list(made[0].train.start))
    assert [one.data.size for one in (first, *made)] == [16, 16, 32, 64]
    assert len({one.told.caption.encoder for one in (first, *made)}) == 1
    assert config.task.judge and list(first.train.start) == ["experiment=glide_scenes_layout"]
    assert all(one.objective.condition_noise >= config.stages[k].augment for k, one in enumerate(made) if k)


def test_a_threshold_stands_around_what_guides(monkeypatch, tmp_path):
    from types import SimpleNamespace

    from scoresde.tasks.cascade.settings import Maker, Said

    net = scoresde.nets.MLP((2,), width=8, conditions={"label": scoresde.conditions.Label(3)})
    model = scoresde.Preconditioned(net, scoresde.VP())
    ways = {
        (2.0, 0.9): [Thresholded, Guided],
        (1.0, 0.9): [Thresholded],
        (2.0, None): [Guided],
        (None, 0.9): [Thresholded],
    }
    for (scale, threshold), kinds in ways.items():
        said = Said(folder="here", scale=scale, threshold=threshold)
        maker = SimpleNamespace(guides=[None], config=SimpleNamespace(trust=False))
        made = Stage(model, shape=(2,), guide=Maker._guide(maker, 0, said)).denoiser
        found = []
        while made is not model:
            made = made.denoiser
            found += [type(made)] * (made is not model)
        assert found == kinds


def test_what_has_no_judge_is_told(monkeypatch, capfd, tmp_path):
    small = ["net.channels=8", "net.attention=0", *TINY[2:8], "data.size=4", "rule=v", "tracker=none", "folder=base"]
    code, out, err = command(monkeypatch, capfd, tmp_path, *small, "task=train", "cond=[label]")
    assert code == 0, out + err
    said = ["task=cascade", "stages=[base]", "task.judge=true", "sampler=ddim", "n=2"]
    code, out, err = command(monkeypatch, capfd, tmp_path, *said)
    assert code == 1 and "task.judge=true: digits has no judge" in err and err.count("\n") == 1, err
