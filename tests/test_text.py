"""Words beside items: columns of text, captions of several columns, what digits are called; on the command line too."""

import json
import sys

import numpy as np
import pytest
import torch
from commands import ROOT, TINY, command
from PIL import Image
from problems import refuses

import scoresde
from scoresde import data as D
from scoresde.conditions import Label, Text
from scoresde.data import items
from scoresde.data.texts.digits import NAMES, TEMPLATES, said

pytest.importorskip("tokenizers")
EMOJI = ROOT.parent / "shared" / "data" / "emoji"
N = 24
WORDS = [f"a {('red', 'blue')[i % 2]} house, number {i}" if i % 6 else "" for i in range(N)]


def told(data, name, part="train"):
    """The texts of the items of a part."""
    return data.conditions[name].decode(items.column(getattr(data, part), name))


def gallery(root, suffix, rows=None):
    for i in range(N):
        Image.fromarray(np.full((4, 4, 3), 5 * i, np.uint8)).save(root / f"{i}.png")
    rows = rows or [{"file_name": f"{i}.png", "text": WORDS[i], "style": ("oil", "ink")[i % 2]} for i in range(N)]
    if suffix == "jsonl":
        lines = [json.dumps(row) for row in rows]
    else:
        lines = [",".join(rows[0])] + [",".join(f'"{v}"' for v in row.values()) for row in rows]
    (root / f"metadata.{suffix}").write_text("\n".join(lines) + "\n")
    return root


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_captions_of_images_are_read_where_they_are_asked_for(tmp_path, suffix, monkeypatch):
    plain = D.images(gallery(tmp_path, suffix), test=4)
    assert plain.conditions == {"style": Label(2, ("ink", "oil"))} and set(plain.more) == {"text"}
    assert plain.notes[-1] == "there is text, for models that ask for it (cond=[text]): text"
    for data in (plain.including(["text", "nothing"]), D.images(tmp_path, test=4, cond=["text"])):
        for part in ("train", "test"):
            split = getattr(data, part)
            assert told(data, "text", part) == [WORDS[int(name[:-4])] for name in split.names]
            assert split.cond["text"].dtype == torch.int16 and split[0]["text"].dtype == torch.int64
        assert D.check_data(data) == D.check_data(plain) and data.fingerprint == plain.fingerprint
        absent = data.conditions["text"].absent(items.column(data.train, "text"))
        assert absent.tolist() == [not text for text in told(data, "text")]
    assert not plain.including([]).more.keys() - {"text"} and plain.including([]) is plain
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    assert D.images(tmp_path, test=4).notes == plain.notes
    refuses("pip install tokenizers", call=lambda: plain.including(["text"]))
    refuses("pip install tokenizers", call=lambda: D.images(tmp_path, cond=["text"]))


def test_a_tokenizer_is_fitted_to_the_training_items_alone(tmp_path):
    words = np.array([f"abcabc{i}" if i < 12 else f"xyzxyz{i}" for i in range(N)])
    data = D.from_tensor(torch.arange(N)[:, None] / N, test=12, cond={"w": (words, Text.fitted(words))})
    assert sorted(told(data, "w") + told(data, "w", "test")) == sorted(words)
    order = data.decode(data.encode(D.stack(data.train, range(12))))[:, 0].mul(N).round().long()
    found = D.from_tensor(torch.arange(N)[:, None] / N, test=12, cond={"w": words}).conditions["w"]
    assert found.tokenizer == Text.fitted(words[order.numpy()]).tokenizer
    assert found.tokenizer != Text.fitted(words).tokenizer


def test_words_called_text_are_text_however_few(tmp_path):
    rows = [{"file_name": f"{i}.png", "text": f"a {('cat', 'dog')[i % 2]}", "kind": "ab"[i % 2]} for i in range(N)]
    data = D.images(gallery(tmp_path, "csv", rows), test=4)
    assert list(data.conditions) == ["kind"] and set(data.more) == {"text"}
    data = D.images(tmp_path, cond={"kind": "text", "text": None})
    assert {*told(data, "kind")} == {"a", "b"} and {*told(data, "text")} == {"a cat", "a dog"}
    refuses("cond=", "names to kinds", call=lambda: D.images(tmp_path, cond={"kind": "words"}))


def test_a_caption_is_made_of_columns(tmp_path):
    gallery(tmp_path, "csv")
    data = D.images(tmp_path, test=4, caption="{style}: {text}", cond=["style"])
    want = lambda i: f"{('oil', 'ink')[i % 2]}: {WORDS[i]}".strip()
    assert told(data, "caption") == [want(int(name[:-4])) for name in data.train.names]
    assert set(data.conditions) == {"style", "caption"}
    table = {"x": np.arange(N) / N, "age": [3, None] * 12, "organ": ["liver", ""] * 12}
    data = D.from_table(table, caption="{organ} of {age} years")
    assert {*told(data, "caption")} == {"liver of 3 years", ""} and data.columns == ("x",)
    wrong = {"no stile; did you mean style": "{stile}", "names no column": "x", "plain names": "{0:3}"}
    for words, template in wrong.items():
        refuses(f"caption={template!r}", words, call=lambda t=template: D.images(tmp_path, caption=t))
    refuses("no ag", "did you mean age", call=lambda: D.from_table(table, caption="{ag}"))


def test_wrong_captions_files_are_one_line(tmp_path):
    gallery(tmp_path, "jsonl")
    file = tmp_path / "metadata.jsonl"
    good = file.read_text()
    refuses("cond=['caption']", "no caption", call=lambda: D.images(tmp_path, cond=["caption"]))
    for text, words in {
        good + '{"file_name": "1.png", "text": "x"}\n': "names 1.png again",
        good + '{"file_name": "1.png", \n': f"cannot be read (line {N + 1}: ",
        good + "[1, 2]\n": f"line {N + 1} is no object",
        good.replace('"file_name": "3.png", ', ""): "a row without file_name",
    }.items():
        file.write_text(text)
        refuses("metadata.jsonl", words, call=lambda: D.images(tmp_path))
    file.write_text(good.replace('"3.png"', '"gone.png"'))
    assert "1 of 24 rows of the metadata name no image that was taken" in D.images(tmp_path).notes
    file.write_text(good.replace("file_name", "file"))
    assert "metadata.jsonl has no column file_name, and is not read" in D.images(tmp_path).notes


@pytest.mark.parametrize("name", ["digits", "mnist"])
def test_digits_are_told_in_words(name, tmp_path):
    if name == "mnist":
        for part, n in (("train", 40), ("t10k", 20)):
            shape = np.array([n, 4, 4], ">u4").tobytes()
            (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + shape + bytes(16 * n))
            labels = bytes((3 * i) % 10 for i in range(n))
            (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01" + shape[:4] + labels)
    data = D.digits() if name == "digits" else D.mnist(tmp_path)
    assert data.conditions == {"label": Label(10)} and set(data.more) == {"caption"} and data.notes == ()
    more = data.including(["caption"])
    assert more.fingerprint == data.fingerprint and set(more.conditions) == {"label", "caption"}
    for part in ("train", "test"):
        labels = items.column(getattr(more, part), "label").tolist()
        texts = told(more, "caption", part)
        assert texts == [said(y, i) for i, y in enumerate(labels)]
        assert all(NAMES[y] in text for y, text in zip(labels, texts, strict=True))
    assert said(3, 4) == "a handwritten three" and len({said(3, i) for i in range(9)}) == len(TEMPLATES)


def test_alpha_is_over_a_colour_or_a_channel(tmp_path):
    x = np.zeros((4, 8, 8, 4), np.uint8)
    x[..., 0], x[:, :4, :, 3], x[:, 4:6, :, 3] = 200, 255, 128
    for i, one in enumerate(x):
        Image.fromarray(one).save(tmp_path / f"{i}.png")
    read = lambda **how: D.stack(D.images(tmp_path, test=2, **how).train, [0])[0]
    kept = read(background="keep")
    assert kept.shape == (4, 8, 8) and torch.equal(kept[3], torch.from_numpy(x[0, ..., 3]))
    assert (kept[:3, 6:] == 255).all() and (kept[0, :6] == 200).all() and (kept[1:3, :6] == 0).all()
    alpha = kept[3:].float() / 255
    for background, value in {"white": 255, "black": 0}.items():
        over = alpha * kept[:3] + (1 - alpha) * value
        assert (read(background=background).float() - over).abs().max() <= 1
    small = read(background="keep", size=4)
    assert small.shape == (4, 4, 4) and (small[:3, 0, 0] - torch.tensor([200.0, 0, 0])).abs().max() < 3
    assert read(background="keep", channels=1).shape == (2, 8, 8)
    assert "4 with transparency, which is the last channel" in D.images(tmp_path, background="keep").notes[0]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return tmp_path_factory.mktemp("words")


@pytest.fixture
def say(trained, monkeypatch, capfd):
    """Runs a command on a tiny model with captions, which is trained first where it is not there."""

    def run(*words, code=0):
        if not (trained / "m" / "model.safetensors").exists():
            done = command(
                monkeypatch, capfd, trained, *TINY, "folder=m", "cond=[caption]", "task=train", "data=digits"
            )
            assert done[0] == 0, done[2]
        few = ("sampler=ddim", "sampler.steps=1", "n=4", "gif=false")
        found = command(monkeypatch, capfd, trained, *TINY, "folder=m", "task=sample", *few, *words)
        assert found[0] == code, found[2]
        assert code == 0 or found[2].count("\n") == 1, found[2]
        return found[1] + found[2]

    return run


def test_a_text_is_given_on_the_command_line(say, trained):
    (trained / "lines.txt").write_text("the digit four\n\nfive\nsix\n")
    kind = None
    for word, texts in {
        "a handwritten three": ["a handwritten three"] * 4,
        "a three, or two": ["a three, or two"] * 4,
        '"three" isn\'t 3': ['"three" isn\'t 3'] * 4,
        '["a two, big",four]': ["a two, big"] * 2 + ["four"] * 2,
        "lines.txt": ["the digit four", "", "five", "six"],
        "": [""] * 4,
        "null": None,
        "3": ["3"] * 4,
    }.items():
        said = say(f"given.caption={word}")
        kind = kind or scoresde.load(trained / "m").conditions["caption"]
        found = max((trained / "m").glob("sample-*/summary.json"), key=lambda p: p.stat().st_mtime_ns).parent
        assert (found / "given.npz").exists() == (texts is not None) and "warning" not in said
        assert texts is None or kind.decode(torch.from_numpy(np.load(found / "given.npz")["caption"])) == texts
    said = say("given.caption=" + "a long sentence " * 9)
    assert "tokens: cut to 16" in said and said.count("warning") == 1
    assert max(map(len, (trained / "m" / "report.html").read_text().split("\n"))) < 10**6
    assert "tokenizer" not in (trained / "m" / "report.html").read_text()


def test_what_cannot_be_given_is_one_line(say):
    assert "did you mean caption" in say("given.captoin=a three", code=1)
    assert "none.txt cannot be read" in say("given.caption=none.txt", code=1)
    assert "for --multirun" in say("given.caption=a,b", code=1)


def test_a_model_of_another_tokenizer_is_refused():
    data = D.digits().including(["caption"])
    other = Text.fitted(["zzz"], length=16, vocabulary=data.conditions["caption"].vocabulary)
    assert data.conditions["caption"].fits(data.conditions["caption"])
    assert not data.conditions["caption"].fits(other) and len(repr(other)) < 100
    net = scoresde.nets.UNet(data.shape, 8, (1,), 1, conditions={"label": Label(10), "caption": other})
    denoiser = scoresde.Preconditioned(net, scoresde.VP())
    refuses("condition caption", call=lambda: scoresde.train(denoiser, data, steps=1))
    refuses("including(['caption'])", call=lambda: scoresde.train(denoiser, D.digits(), steps=1))


@pytest.mark.skipif(not EMOJI.is_dir(), reason="the emoji are not here")
def test_emoji_have_captions_with_their_style():
    data = D.images(EMOJI / "test", size=8, caption="{name}, {style}", cond=["style"])
    names = data.conditions["style"].names
    for part in ("train", "test"):
        texts, styles = told(data, "caption", part), items.column(getattr(data, part), "style").tolist()
        assert all(text.endswith(f", {names[y]}") for text, y in zip(texts, styles, strict=True))
