"""What a model is told in words: the transformer that reads them, its settings, and whether samples follow."""

import json

import pytest
import torch
from commands import TINY, command
from problems import refuses

import scoresde
from scoresde.conditions import Text, Tokens
from scoresde.data import collate
from scoresde.nets.parts.conditioning.sequence import Sequence
from scoresde.tasks.evaluate.judge import figures, verdicts

pytest.importorskip("tokenizers")


def reader(layers=2, length=8):
    torch.manual_seed(0)
    return Sequence(Tokens(length, 50, layers=layers), 16).eval()


@pytest.mark.parametrize("layers", [0, 2])
def test_what_follows_the_end_of_a_text_changes_nothing(layers):
    net, rows = reader(layers), torch.tensor([[3, 1, 4, -1, -1, -1, -1, -1]])
    h, mask, vector = net(rows)
    assert mask.sum() == 3
    with torch.no_grad():  # as if the places beyond the end held anything at all
        net.place.weight[3:] += 100.0
        net.table.weight[0] += 100.0
    again, _, other = net(rows)
    assert (again[mask] - h[mask]).abs().max() < 1e-6
    assert (other - vector).abs().max() < 1e-6


def test_the_order_of_words_reaches_the_vector():
    """Before the transformer has learned: to a mean over what is added up of words and places they are one."""
    a, b = torch.tensor([[3, 1, 4, -1, -1, -1, -1, -1]]), torch.tensor([[4, 1, 3, -1, -1, -1, -1, -1]])
    net = reader(2)
    net.norm = torch.nn.Identity()
    with torch.no_grad():
        for block in net.blocks:
            for layer in (block.attend.out, block.mlp[-1]):
                layer.weight.zero_()
    assert (net(a)[2] - net(b)[2]).abs().max() > 0.1 * net(a)[2].std()


def test_missing_text_is_one_token_of_its_own():
    net = reader(2)
    h, mask, vector = net(torch.full((2, 8), -1))
    assert mask.sum(1).tolist() == [1, 1]
    assert torch.equal(vector[0], vector[1])
    with torch.no_grad():
        net.table.weight.normal_()
    assert torch.equal(net(torch.full((2, 8), -1))[2], vector)


def test_a_command_tells_a_model_sentences_and_judges_what_follows(tmp_path, monkeypatch, capfd):
    def run(*words, fails=False):
        code, out, err = command(monkeypatch, capfd, tmp_path, *words, "gif=false", "sampler=ddim", "sampler.steps=2")
        assert (code != 0) == fails, err
        return out + err

    base = [*TINY, "data=scenes", "data.n=300", "data.test=40", "cond=[caption]", "net.heads=1"]
    for _ in range(2):  # said again it is the same
        run(*base, "told.caption.layers=1", "task=train", "folder=m")
    there = json.loads((tmp_path / "m" / "model.json").read_text())
    assert there["conditions"]["caption"]["layers"] == 1
    run("folder=m", "n=4", "task=sample", 'given.caption="a small red circle above a large blue square"')
    out = run("folder=m", "n=20", "task=evaluate")
    assert "colour seen" in out and "chance" in out
    found = next((tmp_path / "m").glob("evaluate*/summary.json")).read_text()
    assert "relation_unseen_chance" in found
    assert "told.caption.layers is 1 there and 2 here" in run("folder=m", "told.caption.layers=2", fails=True)
    assert "takes no title" in run(*base, "task=train", "told.title.layers=2", fails=True)
    assert "has no such setting" in run(
        *TINY, "cond=[label]", "task=train", "told.label.layers=2", "folder=l", fails=True
    )


def test_a_text_longer_than_its_length_is_cut_with_a_warning():
    data = scoresde.data.scenes(n=20, test=4)
    kind = data.conditions["caption"]
    assert isinstance(kind, Text) and kind.layers == 2
    with pytest.warns(UserWarning, match=f"cut to {kind.length}"):
        kind.rows("caption", "a small red circle above a large blue square and a small green star above it", 1)
    refuses("layers=-1", call=lambda: Tokens(8, 50, layers=-1))


def test_chance_is_told_by_the_conditions_of_others():
    data = scoresde.data.scenes(n=20, test=200)
    some = collate(data.test, range(100), ["caption"])
    numbers, rows = figures(data, verdicts(data, some.x, some.cond))
    assert numbers["all_seen"] == numbers["all_seen_real"] == 1.0
    assert numbers["all_seen_low"] < 1.0
    assert 0.25 < numbers["relation_seen_chance"] < 0.75
    assert numbers["all_unseen_chance"] < 0.1
    assert len(rows) == 1 + len(data.judge(some.x, some.cond))
    assert figures(data, {}) == ({}, [])
