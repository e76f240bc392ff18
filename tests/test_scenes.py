"""Pictures by rule: the sentence is true, the reader reads it back, and what is held out is not in training."""

import pytest
import torch
from problems import refuses

import scoresde
from scoresde.conditions import Text
from scoresde.data import collate
from scoresde.data.readers.scenes.drawing import pictures
from scoresde.data.readers.scenes.reading import follows, read
from scoresde.data.readers.scenes.scene import COLOURS, SHAPES, drawn, holds
from scoresde.data.readers.scenes.words import captions, told

pytest.importorskip("tokenizers")
PAIRS = torch.cartesian_prod(torch.arange(6), torch.arange(6))


def some(n=600, counts=(1, 2, 3)):
    return drawn(torch.arange(n), 0, counts, PAIRS)


def test_shapes_lie_apart_and_the_sentence_is_true():
    scene = some()
    coverage = sum(
        (pictures(scene.rows(slice(None)).__class__(*(only(part, k) for part in parts(scene))), 16) < 255).any(1).int()
        for k in range(3)
    )
    assert int(coverage.max()) == 1  # no pixel has two shapes
    x, y = scene.middle
    for k in (1, 2):
        rows = scene.relation[:, k - 1] >= 0
        assert torch.equal(rows, scene.shape[:, k] >= 0)
        true = holds(x[:, k] - x[:, 0], y[:, k] - y[:, 0])
        assert true[rows, scene.relation[rows, k - 1]].all()
    share = scene.count.bincount(minlength=4)[1:] / len(scene)
    assert (share - 1 / 3).abs().max() < 0.07


def parts(scene):
    return scene.shape, scene.colour, scene.size, scene.x, scene.y, scene.relation


def only(part, k):
    return part if part.shape[1] == 2 else torch.where(torch.arange(3) == k, part, -1)


def test_a_picture_of_16_pixels_is_that_of_64_made_smaller():
    scene = some(50)
    small, large = pictures(scene, 16).float(), pictures(scene, 64).float()
    assert (torch.nn.functional.avg_pool2d(large, 4) - small).abs().max() <= 1  # rounded twice


@pytest.mark.parametrize("side", [16, 32])
def test_the_reader_reads_true_pictures_and_noisy_ones(side):
    scene = some(400)
    raw, said = pictures(scene, side), captions(scene)
    assert all(bool((value.isnan() | (value == 1)).all()) for value in follows(raw, said).values())
    noisy = (raw + 255 * 0.2 * torch.randn(raw.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 255)
    assert follows(noisy.to(torch.uint8), said)["all"].mean() > 0.98
    found = read(raw)
    assert torch.equal(found.count, scene.count)


def test_the_reader_sees_what_is_wrong():
    scene = drawn(torch.arange(300), 0, [2], PAIRS)
    raw = pictures(scene, 16)
    turned = follows(raw.flip(2, 3), captions(scene))  # above is below, and left is right
    assert turned["colour"].mean() > 0.98
    twins = (scene.shape[:, 0] == scene.shape[:, 1]) & (scene.colour[:, 0] == scene.colour[:, 1])
    assert turned["relation"][~twins].mean() < 0.02
    others = follows(raw.roll(1, 0), captions(scene))
    assert others["all"].mean() < 0.02
    assert 0.3 < others["relation"].mean() < 0.7
    recoloured = scene.__class__(scene.shape, (scene.colour + (scene.colour >= 0)) % 6, *parts(scene)[2:])
    assert follows(pictures(recoloured, 16), captions(scene))["colour"].mean() < 0.1
    assert follows(pictures(recoloured, 16), captions(scene))["shape"].mean() > 0.9
    blank = follows(torch.full_like(raw, 255), captions(scene))
    assert blank["number"].sum() == blank["shape"].sum() == blank["relation"].sum() == 0


def test_sentences_are_read_back():
    scene = some(200)
    for sentence, row in zip(captions(scene), range(200), strict=True):
        found = told(sentence)
        n = int(scene.count[row])
        want = [(int(scene.size[row, k]), int(scene.colour[row, k]), int(scene.shape[row, k])) for k in range(n)]
        assert list(found.shapes) == want
        assert list(found.relations) == scene.relation[row, : n - 1].tolist()
    free = told("A circle  left of the RED star")
    assert free.shapes == ((None, None, 0), (None, 0, 5))
    assert free.relations == (2,)
    raw = pictures(scene, 16)
    silent = follows(raw[:1], ["a circle"])
    assert silent["colour"].isnan().all() and silent["relation"].isnan().all()
    refuses("names 0 shapes", call=lambda: told("a house"))


def test_training_never_sees_what_is_held_out():
    data = scoresde.data.scenes(n=3000, test=400, unseen=[["green", "triangle"], ["red", "star"]])
    held = {(COLOURS.index("green"), SHAPES.index("triangle")), (COLOURS.index("red"), SHAPES.index("star"))}
    pairs = lambda scene: [
        {(int(c), int(s)) for c, s in zip(*row, strict=True)} for row in zip(scene.colour, scene.shape, strict=True)
    ]
    assert not any(held & found for found in pairs(data.train.scene(torch.arange(3000))))
    found = pairs(data.test.scene(torch.arange(400)))
    assert all(held & row for row in found[1::2])
    assert not any(held & row for row in found[::2])
    batch = collate(data.test, range(40), ["caption"])
    verdicts = data.judge(batch.x, batch.cond)
    assert torch.equal(verdicts["all_seen"].isnan(), torch.arange(40) % 2 == 1)
    assert verdicts["all_unseen"].nanmean() == 1
    assert not torch.equal(data.train.scene(torch.arange(40)).x, data.test.scene(torch.arange(40)).x)


def test_an_item_is_a_function_of_seed_and_number():
    a, b = scoresde.data.scenes(n=50, test=10), scoresde.data.scenes(n=500, test=10, size=32)
    one, other = collate(a.train, [7, 3], ["caption"]), collate(b.train, range(10), ["caption"])
    assert a.conditions["caption"].decode(one.cond["caption"]) == b.conditions["caption"].decode(
        other.cond["caption"][[7, 3]]
    )
    small = torch.nn.functional.avg_pool2d(other.x[[7, 3]].float(), 2)
    assert (small - one.x.float()).abs().max() <= 1
    assert a.fingerprint != scoresde.data.scenes(n=50, test=10, seed=1).fingerprint


def test_bad_settings_are_refused():
    refuses("size=20", call=lambda: scoresde.data.scenes(size=20))
    refuses("shapes=[]", call=lambda: scoresde.data.scenes(shapes=[]))
    refuses("triangle", "a colour and a shape", call=lambda: scoresde.data.scenes(unseen=[["triangle", "green"]]))
    every = [[c, s] for c in COLOURS for s in SHAPES]
    refuses("unseen", "leave some", call=lambda: scoresde.data.scenes(unseen=every))


def test_text_is_tokens_and_back():
    kind = Text.fitted(["a small red circle", "a large blue ring"], vocabulary=300)
    rows = kind.rows("caption", ["a red circle", "ä ☂"], 2)
    assert rows.shape == (2, kind.length)
    assert kind.decode(rows) == ["a red circle", "ä ☂"]
    assert kind.rows("caption", "a ring", 3).shape == (3, kind.length)
    assert kind.absent(kind.rows("caption", ["", "a"], 2)).tolist() == [True, False]
    with pytest.warns(UserWarning, match="cut to"):
        kind.rows("caption", "a red circle " * 20, 1)
    refuses("caption", "a text or 2", call=lambda: kind.rows("caption", 3.5, 2))
    refuses("tokenizer=", call=lambda: Text(8, 300, tokenizer="{}"))
    refuses("vocabulary=7", call=lambda: Text(8, 7, tokenizer=kind.tokenizer))
    refuses("no text", call=lambda: Text.fitted(["", ""]))
