"""unCLIP: data of embeddings; a prior and a decoder together have the joint's moments where both are exact."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from commands import TINY, command
from problems import refuses
from torch.nn import functional as F

import scoresde
from scoresde.conditions import Label, Vector
from scoresde.data import Affine, Data, Tensors, collate
from scoresde.denoiser import Denoiser
from scoresde.exact import GaussianMixture
from scoresde.sampling import Heun
from scoresde.sde import VP
from scoresde.unclip import Unclip, embedded, embeddings

MEANS = torch.tensor([[1.0, 0.5], [-1.0, 0.8], [0.2, -1.0], [-0.9, -0.6]]).double()
STDS, WEIGHTS, LABELS = (
    torch.tensor([0.3, 0.5, 0.4, 0.3]).double(),
    torch.tensor([0.3, 0.2, 0.3, 0.2]).double(),
    [0, 1, 2, 1],
)


class First:
    """The embedding of (x_1, x_2) is x_2."""

    size, weights, condition = 1, "none", "label"

    def __init__(self):
        self.calls = 0

    def of_picture(self, x):
        self.calls += 1
        return x[:, 1:]

    def of_text(self, value, kind=None):
        return torch.as_tensor(value).reshape(-1, 1).float() - 1  # label 2 likes a large x_2, label 0 a small one


class Exact(Denoiser):
    """x = (x_1, x_2) of the mixture, told x_2 and its label."""

    shape = (2,)

    def __init__(self, sde):
        super().__init__(sde)
        self.conditions = {"embedding": Vector(1), "label": Label(3)}

    def forward(self, x, t, cond=None):
        e, label = cond["embedding"].to(x), cond.get("label", torch.full((len(x),), -1))
        alpha, sigma = (torch.as_tensor(a).to(x).reshape(-1, 1) for a in self.sde.marginal(t))
        v, m = STDS**2, MEANS.to(x)
        var = alpha**2 * v + sigma**2
        logits = WEIGHTS.log() - (e - m[:, 1]) ** 2 / (2 * v) - v.log() / 2
        logits = logits - (x[:, :1] - alpha * m[:, 0]) ** 2 / (2 * var) - var.log() / 2
        own = (label[:, None] < 0) | (label[:, None] == torch.tensor(LABELS))
        weights = logits.masked_fill(~own, -torch.inf).softmax(1)
        mean = m[:, 0] + alpha * v / var * (x[:, :1] - alpha * m[:, 0])
        return torch.cat([(weights * mean).sum(1, keepdim=True), e], 1)


def pair():
    prior = GaussianMixture(WEIGHTS, MEANS[:, 1:].contiguous(), STDS, VP(), labels=LABELS)
    return Unclip(prior, Exact(VP()), First(), unit=False)


@pytest.mark.parametrize("label", [None, 1])
def test_prior_then_decoder_have_the_moments_of_the_joint(label):
    n, joint = 8000, GaussianMixture(WEIGHTS, MEANS, STDS, VP(), labels=LABELS)
    cond = None if label is None else {"label": label}
    x = pair().generate(n, cond, seed=3, picks=1, sampler=Heun(steps=40))
    true, k = joint.draw(200_000, seed=9)
    true = true if label is None else true[torch.tensor(LABELS)[k] == label]
    error = 4 * true.std(0) / n**0.5
    assert bool(((x.mean(0) - true.mean(0)).abs() < error + 0.01).all()), (x.mean(0), true.mean(0))
    torch.testing.assert_close(torch.cov(x.T).double(), torch.cov(true.T), rtol=0.06, atol=0.015)


def test_the_better_of_two_is_picked_and_numbers_do_not_move():
    """By the dot product with the words' embedding; number i is the same whatever is drawn beside it."""
    model, label = pair(), torch.tensor([0, 2, 2, 0, 2])
    how = {"seed": 4, "sampler": Heun(steps=5)}
    two = model.embed(5, {"label": label}, picks=2, **how)
    every = model.embed(10, {"label": label.repeat_interleave(2)}, picks=1, **how).reshape(5, 2)
    best = torch.where(label == 2, every.amax(1), every.amin(1))
    torch.testing.assert_close(two[:, 0], best)
    torch.testing.assert_close(model.embed(3, {"label": label[:3]}, picks=2, **how), two[:3])
    assert model.embed(5, None, picks=2, **how).shape == (5, 1)
    more = model.generate(5, {"label": label}, **how)
    torch.testing.assert_close(model.generate(2, {"label": label[:2]}, **how), more[:2])
    refuses("name='picture'", "embedding, label", call=lambda: Unclip(model.prior, model.decoder, First(), "picture"))


def test_variations_walks_and_changes():
    """A variation keeps the embedding, a walk begins and ends at its pictures, a change turns the embedding alone."""
    model, joint = pair(), GaussianMixture(WEIGHTS, MEANS, STDS, VP())
    raw = joint.draw(4, seed=1)[0].float()
    found = model.variations(raw, 3, seed=2, sampler=Heun(steps=20))
    assert found.shape == (4, 3, 2)
    torch.testing.assert_close(found[..., 1].float(), raw[:, 1:].expand(4, 3), rtol=0, atol=0.02)
    assert bool((found[:, :, 0].std(1) > 0.01).all())
    a, b = raw[:2], raw[2:]
    walk = model.between(a, b, points=3, t_min=1e-4)
    assert walk.shape == (2, 3, 2)
    torch.testing.assert_close(walk[:, [0, 2]].float(), torch.stack([a, b], 1), rtol=0, atol=0.03)
    turned = model.changed(raw, 0, 2, amounts=[0.0, 1.0], t_min=1e-4)
    torch.testing.assert_close(turned[:, 0].float(), raw, rtol=0, atol=0.03)
    torch.testing.assert_close(turned[:, 1, 1].float(), torch.ones(4), rtol=0, atol=0.03)
    refuses("are the same", call=lambda: model.changed(raw, 1, 1))


# -- data -------------------------------------------------------------------------------------------------------------


def points(n=120):
    x, label = torch.randn(n, 2) * 3 + 1, torch.arange(n) % 3
    part = lambda s: Tensors(x[s], cond={"label": label[s]})
    return Data("points", part(slice(0, 100)), part(slice(100, n)), Affine(0.5), conditions={"label": Label(3)})


def test_data_of_embeddings_and_data_with_them(tmp_path):
    data, clip = points(), First()
    prior, decoder = embeddings(data, clip), embedded(data, clip, drop=0.2)
    raw = collate(data.train, range(100), ["label"])
    own = collate(prior.train, range(100), ["label"])
    assert prior.shape == (1,) and torch.equal(own.x, 0.5 * raw.x[:, 1:])
    assert torch.equal(own.cond["label"], raw.cond["label"]) and prior.conditions == data.conditions
    x = prior.encode(own.x)
    assert float(x.mean()) == pytest.approx(0, abs=1e-6) and float(x.square().mean()) == pytest.approx(1, rel=1e-5)
    there = collate(decoder.train, range(100), decoder.conditions)
    assert torch.equal(there.x, raw.x) and torch.equal(there.cond["embedding"], 0.5 * raw.x[:, 1:])
    assert torch.equal(there.cond["label"], raw.cond["label"]) and decoder.conditions["embedding"].drop == 0.2
    kept = [embeddings(data, clip, tmp_path / "e"), embedded(data, clip, folder=tmp_path / "e")]
    calls = clip.calls
    assert embedded(data, clip, folder=tmp_path / "e").fingerprint == kept[1].fingerprint and clip.calls == calls
    assert torch.equal(kept[0].train.x, prior.train.x)
    (file,) = (tmp_path / "e").iterdir()
    file.write_bytes(file.read_bytes()[:100])
    assert torch.equal(embeddings(data, clip, tmp_path / "e").train.x, prior.train.x) and clip.calls > calls
    refuses("name='label'", call=lambda: embedded(data, clip, "label"))
    clip.shape, other = (3, 4, 4), SimpleNamespace(shape=(1, 8, 8), conditions=decoder.conditions)
    refuses("clip is of items (3, 4, 4), and the decoder of (1, 8, 8)", call=lambda: Unclip(None, other, clip))
    refuses("clip is of items (3, 4, 4), and", call=lambda: embeddings(data, clip))


def test_scenes_by_way_of_a_clip():
    """A tiny CLIP, prior and decoder of scenes: embeddings of length 1, lazily drawn pictures, and words throughout."""
    pytest.importorskip("tokenizers")
    scenes = scoresde.data.scenes(n=200, test=20)
    kind, sde = scenes.conditions["caption"], VP()
    torch.manual_seed(0)
    net = scoresde.nets.Encoder((3, 16, 16), 8, channels=8, mults=(1,), blocks=1, attention=0, zeros=False)
    clip = scoresde.Clip(net, scoresde.nets.Reader({"caption": kind}, 8, 16), sde)
    few = scoresde.Training(steps=3, batch_size=16, validate_every=3)
    clip = scoresde.fit(scoresde.objectives.Contrastive(clip, scenes), scenes, few, device="cpu")
    first, second = embeddings(scenes, clip), embedded(scenes, clip)
    assert float((first.train.x.norm(dim=1) - 1).abs().max()) < 1e-5
    options = {"width": 16, "blocks": 1, "conditions": {"caption": kind}}
    mlp = scoresde.nets.MLP((8,), **options)
    prior = scoresde.train(scoresde.Preconditioned(mlp, sde), first, training=few, device="cpu")
    unet = scoresde.nets.UNet((3, 16, 16), channels=8, mults=(1,), blocks=1, attention=0, conditions=second.conditions)
    decoder = scoresde.train(scoresde.Preconditioned(unet, sde), second, training=few, device="cpu")
    model = Unclip(prior, decoder, clip)
    x = model.generate(2, {"caption": "a small red circle"}, sampler=Heun(steps=3))
    assert x.shape == (2, 3, 16, 16) and x.dtype == torch.uint8
    e = model.embed(2, {"caption": ["a small red circle", ""]}, sampler=Heun(steps=3))
    torch.testing.assert_close(F.normalize(e, dim=1), e)
    assert model.variations(x, 2, sampler=Heun(steps=2)).shape == (2, 2, 3, 16, 16)


def test_from_the_command(tmp_path, monkeypatch, capfd):
    """The three trainings, and what the task does; what is missing is told before any work."""
    say = lambda *words: command(monkeypatch, capfd, tmp_path, *TINY, *words)
    fast = ("task.channels=8", "task.mults=[1]", "task.size=8", "task.width=16", "task.folder=c")
    assert say("task=contrastive", "task.condition=label", *fast)[0] == 0
    other = ("task=train", "data@data.data=digits", "data.clip=c", "data.folder=kept")
    mlp = [word for word in TINY if not word.startswith("net.")]
    code, _, err = command(
        monkeypatch, capfd, tmp_path, *mlp, *other, "data=embeddings", "net=mlp", "cond=[label]", "folder=p"
    )
    assert code == 0, err
    code, _, err = say(*other, "data=embedded", "cond=[embedding]", "folder=d")
    assert code == 0 and len([*(tmp_path / "kept").iterdir()]) == 1, err
    how = ("task=unclip", "folder=d", "task.clip=c", "sampler=ddim", "sampler.steps=2", "n=3")
    flow = ("task.rtol=0.1", "task.atol=0.1")
    for shape, *words in (
        ((3, 1, 8, 8), "task.prior=p", "given.label=[3,4,5]", "task.reader=c"),
        ((3, 3, 1, 8, 8), "task.do=variations", "task.points=2"),
        ((3, 4, 1, 8, 8), "task.do=walks", "task.points=4", *flow),
        ((3, 3, 1, 8, 8), "task.do=changes", "task.before=3", "task.after=5", *flow),
    ):
        code, _, err = say(*how, *words)
        assert code == 0, err
        newest = max((tmp_path / "d").glob("unclip-*/samples.npy"), key=lambda p: p.stat().st_mtime_ns)
        assert np.load(newest).shape == shape and newest.with_suffix(".png").exists()
    for words, said in {
        (): "task.prior=null",
        ("task.do=changes", "task.before=3"): "task.after=null",
        ("task.prior=c",): "task.prior=c holds a TrainedClip",
        ("task.clip=none", "task.prior=p"): "task.clip=none is not a model folder",
        ("task.prior=d",): "draws (1, 8, 8)",
        ("task.do=walks", "n=200"): "400 pictures are needed",
    }.items():
        code, _, err = say(*how, *words)
        assert code == 1 and said in err and err.count("\n") == 1, err
    words = [*mlp, how[0], "folder=p", *how[2:], "task.prior=p"]
    code, _, err = command(monkeypatch, capfd, tmp_path, *words)
    assert code == 1 and "takes no embedding" in err, err


def test_the_recipe(tmp_path, monkeypatch, capfd):
    """One command trains a CLIP, a prior and a decoder and draws; said again, for another picture, it only draws."""
    pytest.importorskip("tokenizers")
    few = [
        "train.steps=2",
        "train.batch_size=8",
        "train.warmup=1",
        "train.validate_every=2",
        "train.checkpoint_every=2",
    ]
    items = ["data.data.n=40", "data.data.test=20"]
    within = {
        "clip": [*few, "data.n=40", "data.test=20", "task.channels=8", "task.width=16", "task.size=8"],
        "prior": [*few, *items, "net.width=16", "net.blocks=1"],
    }
    words = ["experiment=unclip_scenes", *few, *items, "net.channels=8", "net.attention=0", "sampler.steps=2", "n=4"]
    for name, more in within.items():
        quoted = ",".join(f"'{word}'" for word in (f"experiment=unclip_scenes_{name}", *more))
        words.append(f"task.{name}.train=[{quoted}]")
    say = lambda *more: command(monkeypatch, capfd, tmp_path, *words, *more)
    code, out, err = say()
    assert code == 0, err
    assert "all seen" in out and np.load(*tmp_path.glob("runs/**/unclip-words-*/samples.npy")).shape == (4, 3, 16, 16)
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/*/model.safetensors")}
    assert sorted(path.parent.name for path in kept) == ["clip", "decoder", "prior"]
    code, out, err = say("task.do=variations", "task.points=2")
    assert code == 0 and "all seen" in out and "trained already" in out, err
    assert kept == {path: path.stat().st_mtime_ns for path in kept}
    for said in ("task.clip.train=3", "task.clip.other=3", "task.clip.train=['task=cascade']"):
        code, _, err = say(said)
        assert code == 1 and "task" in err and err.count("\n") == 1, err
