"""Vectors that a frozen encoder gave, told without any encoder: padding tells nothing, another encoder is refused."""

import sys

import pytest
import torch
from problems import refuses

import scoresde
from scoresde import encoders
from scoresde.conditions import Features
from scoresde.nets.parts.conditioning.sequence import Encoded

WORDS = ("a", "red", "ring", "star")


class Spelled:
    """Stands for an encoder: a vector for each word, after their mean."""

    print, size = "abc", 4

    def __call__(self, texts):
        found = []
        for text in texts:
            rows = torch.stack([torch.arange(4.0) == WORDS.index(word) for word in text.split()] or [torch.zeros(4)])
            found.append(torch.cat([rows.float().mean(0, keepdim=True), rows.float()])[: 8 * bool(text)].half())
        return found


@pytest.fixture
def spelled(monkeypatch):
    monkeypatch.setattr(encoders, "text_encoder", lambda name: Spelled())


def test_padding_tells_a_network_nothing():
    torch.manual_seed(0)
    kind = Features(6, 4, layers=1)
    net = Encoded(kind, 8).eval()
    value = kind.rows("caption", torch.randn(3, 2, 4), 3)
    assert value.shape == (3, 6, 4) and value[:, 2:].isnan().all()
    with torch.no_grad():
        h, mask, vector = net(value)
        net.place.weight[2:] = 1e3  # what stands beyond the end
        other, same, pooled = net(value)
    assert torch.equal(mask, same) and mask.sum(1).tolist() == [2, 2, 2]
    assert (h - other)[mask].abs().max() < 1e-6 and (vector - pooled).abs().max() < 1e-6


def test_texts_become_vectors_and_another_encoder_is_refused(spelled):
    kind = Features(5, 4, "spelled", "abc")
    rows = kind.rows("caption", ["a red ring", "", None], 3)
    assert rows.shape == (3, 5, 4) and kind.absent(rows).tolist() == [False, True, True]
    assert rows[0, 4].isnan().all() and rows[0, 1:4].argmax(1).tolist() == [0, 1, 2]
    with pytest.warns(UserWarning, match="has 5 vectors: cut to 3"):
        short = Features(3, 4, "spelled").rows("caption", "a red ring star", 2)
    assert torch.equal(short[0], Spelled()(["a red ring star"])[0][:3].float())
    refuses("is abc here, and was xyz", call=lambda: Features(5, 4, "spelled", "xyz").rows("caption", "a", 1))
    assert not kind.fits(Features(5, 4, "spelled", "xyz")) and kind.fits(Features(5, 4, "other", "abc"))


def test_networks_see_the_numbers_of_texts_standardised(spelled):
    pytest.importorskip("tokenizers")
    words = [" ".join(WORDS[: 1 + i % 4]) for i in range(40)]
    plain = scoresde.data.from_tensor(
        torch.arange(40)[:, None] / 40, cond={"w": (words, scoresde.conditions.Text.fitted(words))}
    )
    data = scoresde.data.encoded(plain, "spelled", standardise=True)
    kind = data.conditions["w"]
    texts = sorted(set(words))
    h = torch.cat(Spelled()(texts)).float()
    h = torch.nn.functional.layer_norm(h, (4,))
    assert torch.tensor(kind.mean).allclose(h.mean(0), atol=1e-5)
    assert torch.tensor(kind.std).allclose(h.std(0, correction=0), atol=1e-5)
    net = Encoded(kind, 8)
    seen = net.table[:2](kind.encode(texts))
    seen = seen[~seen.isnan().any(2)]
    assert seen.mean(0).abs().max() < 1e-4 and (seen.std(0, correction=0) - 1).abs().max() < 1e-4
    assert not {"mean", "std"} & {name.rpartition(".")[2] for name in net.state_dict()}
    # A model is told the vectors as they are, and its folder has the numbers.
    told = kind.encode(texts).nan_to_num(7.0)
    assert torch.equal(told, Features(kind.length, 4, "spelled").encode(texts).nan_to_num(7.0))
    refuses("mean=None", "give 4 numbers", call=lambda: Features(5, 4, standardise=True))
    refuses("mean=(0.0,)", "give 4 numbers", call=lambda: Features(5, 4, standardise=True, mean=(0.0,), std=(1.0,)))
    zero = {"mean": (0.0,) * 4, "std": (1.0, 1.0, 0.0, 1.0)}
    refuses("give positive", call=lambda: Features(5, 4, standardise=True, **zero))


def test_data_are_read_by_an_encoder(spelled):
    pytest.importorskip("tokenizers")
    words = [" ".join(WORDS[: 1 + i % 4]) if i % 5 else "" for i in range(40)]
    kind = scoresde.conditions.Text.fitted(words)
    plain = scoresde.data.from_tensor(torch.arange(40)[:, None] / 40, cond={"w": (words, kind)})
    data = scoresde.data.encoded(plain, "spelled")
    assert data.conditions["w"] == Features(9, 4, "spelled", "abc") and data.fingerprint == plain.fingerprint
    for part in ("train", "test"):
        index = range(len(getattr(data, part)))
        texts = kind.decode(scoresde.data.collate(getattr(plain, part), index, ["w"]).cond["w"])
        found = scoresde.data.collate(getattr(data, part), index, ["w"]).cond["w"]
        assert torch.equal(found.nan_to_num(7.0), data.conditions["w"].encode(texts).nan_to_num(7.0))
    assert scoresde.data.condition_prints(data, ["w"]) != scoresde.data.condition_prints(plain, ["w"])
    refuses("names=['v']", "v is no text", call=lambda: scoresde.data.encoded(plain, "spelled", ["v"]))


def test_without_the_package_it_is_one_line(monkeypatch, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"")
    monkeypatch.setenv("SCORESDE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(sys.modules, "transformers", None)
    refuses("pip install 'scoresde[pretrained]'", call=lambda: encoders.TextEncoder(str(tmp_path))(["a"]))
