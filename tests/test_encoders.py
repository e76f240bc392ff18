"""Frozen encoders of text: what they give is the same alone and together, from the disk and anew; what is missing is
unconditional."""

import json
import zipfile

import numpy as np
import pytest
import torch
from commands import TINY, command
from problems import refuses

import scoresde
from scoresde import data as D
from scoresde.conditions import Features, Text, retold
from scoresde.data import items
from scoresde.encoders import TextEncoder, kept, places, text, text_encoder

tokenizers = pytest.importorskip("tokenizers")
transformers = pytest.importorskip("transformers")
TEXTS = ["a small red circle above a large blue square", "a star", "", "a red ring left of a star", "  "]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Tiny encoders of three families, of random weights, and their tokenizer."""
    root = tmp_path_factory.mktemp("encoders")
    made = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=300, special_tokens=["[UNK]", "[PAD]"], show_progress=False)
    made.train_from_iterator(TEXTS, trainer)
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=made, unk_token="[UNK]", pad_token="[PAD]")
    small = dict(vocab_size=300, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)
    torch.manual_seed(0)
    t5 = transformers.T5Config(vocab_size=300, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2)
    clip = transformers.CLIPTextConfig(**small, bos_token_id=0, eos_token_id=299)
    models = {
        "bert": transformers.BertModel(transformers.BertConfig(**small)),
        "t5": transformers.T5EncoderModel(t5),
        "clip": transformers.CLIPTextModel(clip),
    }
    for name, model in models.items():
        model.save_pretrained(root / name)
        fast.save_pretrained(root / name)
    return root


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SCORESDE_CACHE", str(tmp_path / "cache"))
    text_encoder.cache_clear()


@pytest.mark.parametrize("family", ["bert", "t5", "clip"])
def test_it_gives_what_transformers_gives_with_padding(folders, family, monkeypatch):
    monkeypatch.setattr(text, "KEPT", torch.float32)
    found = TextEncoder(str(folders / family))(TEXTS)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folders / family)
    kind = {"bert": transformers.AutoModel, "t5": transformers.T5EncoderModel, "clip": transformers.CLIPTextModel}
    model = kind[family].from_pretrained(folders / family).eval()
    some = [t for t in TEXTS if t.strip()]
    ids = tokenizer(some, padding=True, return_tensors="pt")
    with torch.no_grad():
        out = model(input_ids=ids["input_ids"], attention_mask=ids["attention_mask"])
    for k, value in enumerate(v for v in found if len(v)):
        n = int(ids["attention_mask"][k].sum())
        assert value.shape == (n + 1, 16)
        assert (value[1:] - out.last_hidden_state[k, :n]).abs().max() < 1e-5
        if family != "clip":
            assert (value[0] - out.last_hidden_state[k, :n].mean(0)).abs().max() < 1e-5
    assert found[2].shape == found[4].shape == (0, 16)


def test_alone_and_together_and_from_the_disk_are_the_same(folders, monkeypatch):
    monkeypatch.setattr(kept, "LEAST", 2)
    made = TextEncoder(str(folders / "bert"))
    together = made(TEXTS)
    alone = [TextEncoder(str(folders / "bert"), made.keep / "apart")([t])[0] for t in TEXTS]
    for a, b in zip(together, alone, strict=True):
        assert a.dtype == torch.float16 and a.shape == b.shape
        assert not len(a) or (a.float() - b.float()).abs().max() <= 2e-3
    monkeypatch.setattr(TextEncoder, "_computed", lambda self, texts: pytest.fail("it was kept"))
    again = TextEncoder(str(folders / "bert"))
    assert all(torch.equal(a, b) for a, b in zip(again(TEXTS), together, strict=True)) and again.size == 16
    monkeypatch.undo()
    (file,) = made.keep.glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-30])
    assert TextEncoder(str(folders / "bert"), made.keep).known == {}


def test_texts_are_rows_and_back(folders):
    name = str(folders / "bert")
    kind = Features(12, 16, name, text_encoder(name).print)
    rows = kind.rows("caption", TEXTS, 5)
    assert rows.shape == (5, 12, 16) and kind.absent(rows).tolist() == [False, False, True, False, True]
    assert kind.decode(rows) == [t.strip() for t in TEXTS]
    assert torch.equal(kind.rows("caption", TEXTS[1], 2)[1].nan_to_num(), rows[1].nan_to_num())
    most = int((~rows.isnan().any(2)).sum(1).max())
    assert torch.equal(kind.rows("caption", rows[:, :most], 5).nan_to_num(7.0), rows.nan_to_num(7.0))
    with pytest.warns(UserWarning, match="vectors: cut to 3"):
        assert Features(3, 16, name).rows("caption", TEXTS[0], 1).shape == (1, 3, 16)
    refuses("condition caption", "a text or 2", call=lambda: kind.rows("caption", 3.5, 2))
    refuses("no encoder", call=lambda: Features(3, 16).rows("caption", "a", 1))
    half = rows.clone()
    half[0, 0, 0] = torch.nan
    refuses("not finite", call=lambda: kind.rows("caption", half, 5))


def test_what_is_missing_is_unconditional_and_ends_tell_nothing(folders):
    name = str(folders / "bert")
    torch.manual_seed(0)
    kind = Features(12, 16, name)
    net = scoresde.nets.UNet((1, 8, 8), 16, (1, 2), 1, attention=4, conditions={"caption": kind}).eval()
    for p in net.parameters():  # what begins at 0 speaks too
        torch.nn.init.normal_(p, std=0.2)
    x, c = torch.randn(3, 1, 8, 8), torch.zeros(3)
    rows = kind.rows("caption", [TEXTS[0], "", TEXTS[1]], 3)
    with torch.no_grad():
        out, none = net(x, c, {"caption": rows}), net(x, c)
        assert torch.equal(net(x[1:2], c[1:2], {"caption": rows[1:2]}), net(x[1:2], c[1:2]))
        assert torch.equal(net(x, c, {"caption": kind.missing(3)}), none)
        assert (out - none).abs().amax((1, 2, 3))[[0, 2]].min() > 1e-3
        part = next(m for m in net.modules() if type(m).__name__ == "Encoded")
        counts = (~rows.isnan().any(2)).sum(1).tolist()
        assert part(rows)[1].sum(1).tolist() == [counts[0], 1, counts[2]]
        swapped = rows.clone()
        swapped[0, [1, 2]] = rows[0, [2, 1]]
        assert (net(x, c, {"caption": swapped}) - out).abs().amax((1, 2, 3))[0] > 1e-3  # their order counts
        part.place.weight[counts[2] :] = 1e3  # of places beyond the end of the last
        assert (net(x, c, {"caption": rows}) - out).abs().amax((1, 2, 3))[1:].max() < 1e-6
        assert (net(x, c, {"caption": rows}) - out).abs().amax((1, 2, 3))[0] > 1e-3


def test_data_that_an_encoder_has_read(folders):
    plain = D.scenes(n=40, test=20)
    name = str(folders / "bert")
    data = D.encoded(plain, name)
    kind = data.conditions["caption"]
    assert kind.encoder == name and data.fingerprint == plain.fingerprint
    a, b = (D.collate(part, [3, 17, 3], ["caption"]) for part in (plain.train, data.train))
    texts = plain.conditions["caption"].decode(a.cond["caption"])
    assert kind.decode(b.cond["caption"]) == texts and torch.equal(a.x, b.x)
    assert (b.cond["caption"].nan_to_num() - kind.encode(texts).nan_to_num()).abs().max() == 0
    whole = items.collate(plain.test, range(20), ["caption"])
    judged = data.judge(whole.x, items.collate(data.test, range(20), ["caption"]).cond)
    assert all(torch.equal(v.isnan(), judged[k].isnan()) for k, v in plain.judge(whole.x, whole.cond).items())
    assert judged["all_seen"].nanmean() == 1
    assert len(D.condition_prints(data, ["caption"])["caption"]) == 16 and D.check_data(data) == D.check_data(plain)
    digits = D.encoded(D.digits(), name, ["caption"])
    assert digits.conditions["caption"].size == 16
    refuses("names=['label']", "label is no text", call=lambda: D.encoded(D.digits(), name, ["label"]))


def test_words_of_one_kind_are_those_of_another(folders):
    name = str(folders / "bert")
    tokens = Text.fitted(TEXTS, length=20)
    long, short = (Features(n, 16, name, text_encoder(name).print) for n in (12, 1))
    rows = tokens.rows("caption", TEXTS, 5)
    read = retold(rows, tokens, long)
    assert torch.equal(read.nan_to_num(7.0), long.rows("caption", TEXTS, 5).nan_to_num(7.0))
    assert torch.equal(retold(read, long, short).nan_to_num(7.0), read[:, :1].nan_to_num(7.0))  # and no warning
    assert torch.equal(retold(read, long, tokens), rows) and retold(read, long, long) is read
    refuses("Features here and Text there", call=lambda: retold(read, Features(12, 16), tokens))


def test_an_encoder_of_a_stranger_is_only_read(folders, tmp_path, monkeypatch):
    name = str(folders / "bert")
    refuses("encoder=nobody/nothing", "hf download", call=lambda: TextEncoder("nobody/nothing"))
    refuses("encoder=nothing_of_that_name", "pip install", call=lambda: TextEncoder("nothing_of_that_name"))
    refuses("no config.json", call=lambda: TextEncoder(str(tmp_path)))
    other = tmp_path / "other"
    other.mkdir()
    for path in (folders / "bert").iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    assert places.print_of(other) == places.print_of(folders / "bert")
    known = json.loads((other / "config.json").read_text())
    code = {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config", "AutoModel": "mine.Model"}}
    (other / "config.json").write_text(json.dumps(known | code))
    (other / "mine.py").write_text("raise SystemExit('it was run')")
    refuses("cannot be read", call=lambda: TextEncoder(str(other))(["a"]))
    (other / "config.json").write_text(json.dumps(known | {"layer_norm_eps": 1e-3}))
    kind = Features(12, 16, str(other), text_encoder(name).print)
    refuses("put back the one", call=lambda: kind.rows("caption", "a", 1))
    (other / "model.safetensors").rename(other / "model.bin")
    refuses("no safetensors", call=lambda: TextEncoder(str(other)))
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    refuses("needs the package transformers: pip install 'scoresde[pretrained]'", call=lambda: TextEncoder(name)(["a"]))


def test_a_package_may_ship_one_in_an_archive(folders, tmp_path, monkeypatch):
    package = tmp_path / "shipped"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('it was imported')")
    with zipfile.ZipFile(package / "model.zip", "w") as held:
        held.writestr("1_Pooling/config.json", "{}")
        held.writestr("../evil.json", "{}")
        for path in (folders / "bert").iterdir():
            held.write(path, path.name)
    monkeypatch.syspath_prepend(str(tmp_path))
    found = TextEncoder("shipped")
    assert found.folder.is_relative_to(tmp_path / "cache") and not list(tmp_path.rglob("evil.json"))
    assert torch.equal(found(TEXTS[:1])[0], TextEncoder(str(folders / "bert"), tmp_path / "apart")(TEXTS[:1])[0])


def test_on_the_command_line(folders, tmp_path, monkeypatch, capfd):
    def say(*words, code=0):
        found = command(monkeypatch, capfd, tmp_path, *TINY, "cond=[caption]", "folder=m", "data=digits", *words)
        assert found[0] == code, found[2]
        return found[1] + found[2]

    encoder = f"told.caption.encoder={folders / 'bert'}"
    assert "not on this machine" in say("task=train", "told.caption.encoder=nobody/nothing", code=1)
    assert "of an encoder" in say("task=train", "told.caption.length=2", code=1)
    assert "of an encoder" in say("task=train", "told.caption.standardise=true", code=1)
    say("task=train", encoder, "told.caption.standardise=true")
    known = json.loads((tmp_path / "m" / "model.json").read_text())
    assert known["conditions"]["caption"]["encoder"] == str(folders / "bert")
    assert len(known["conditions"]["caption"]["mean"]) == 16
    few = ("task=sample", "sampler=ddim", "sampler.steps=1", "n=2", "gif=false")
    say(*few, "given.caption=a three, or a four")
    (tmp_path / "two.txt").write_text("a three\na four\n")
    say(*few, "given.caption=two.txt")
    rows = [np.load(p)["caption"] for p in (tmp_path / "m").rglob("given.npz")]
    assert any(text_encoder(str(folders / "bert")).texts(torch.from_numpy(v)) == ["a three", "a four"] for v in rows)
    say(*few)
    assert "told.caption.encoder is" in say("task=train", f"told.caption.encoder={folders / 't5'}", code=1)
