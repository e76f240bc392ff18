"""CLIP: what its loss is least at, where the exact answer is known; its folder; guidance by it."""

import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import TINY, command
from problems import refuses
from test_classify import labelled, mixture, posterior
from test_hardware import launch
from torch import nn
from torch.nn import functional as F

import scoresde
from scoresde import Clip, InputError, TrainedClip, Training, fit, metrics
from scoresde.conditions import Label, Picture, Text, Tokens, retold
from scoresde.data import Affine, Data, Tensors
from scoresde.exact import GaussianMixture
from scoresde.guidance import ClipGuided
from scoresde.model import checkpoint
from scoresde.nets import Encoder, Reader
from scoresde.objectives import Contrastive
from scoresde.objectives.contrastive import alike, losses, replaced
from scoresde.sde import EDM, VP

SHORT = Training(steps=9, batch_size=32, validate_every=3, checkpoint_every=3, log_every=1)


def vectors(sde=None, noise=True, channels=16, size=8, seed=1):
    torch.manual_seed(seed)
    reader = Reader({"label": Label(3)}, size, channels)
    return Clip(Encoder((2,), size, channels=channels, mults=(1,), zeros=False), reader, sde or VP(), noise)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A CLIP of the noised mixture and its labels, and its folder."""
    folder = tmp_path_factory.mktemp("clip") / "model"
    data, settings = labelled(mixture(VP())), Training(steps=600, batch_size=256, lr=5e-3, warmup=20)
    return fit(Contrastive(vectors(channels=32), data), data, settings, folder, device="cpu"), folder


# -- the loss ---------------------------------------------------------------------------------------------------------


def test_the_best_logits_are_log_p_of_both_over_p_of_each():
    """Of a population as one batch, in which words are repeated: no table of logits has less, and the gradient is 0."""
    counts = torch.tensor([[6, 1, 0], [2, 3, 4], [1, 1, 2], [3, 0, 5]])  # of 4 pictures and 3 texts
    places = torch.arange(4).repeat_interleave(3), torch.arange(3).repeat(4)
    x, y = (v.repeat_interleave(counts.flatten()) for v in places)
    joint = (counts + 1e-3 * (counts == 0)).double() / counts.sum()
    best = (joint / joint.sum(1, keepdim=True) / joint.sum(0)).log().requires_grad_()
    same = alike(y, Label(3))
    loss = losses(best[x][:, y], same).mean()
    (slope,) = torch.autograd.grad(loss, best)
    assert float(slope.abs().max()) < 2e-4
    for seed in range(20):
        other = best + 0.3 * torch.randn(4, 3, generator=torch.Generator().manual_seed(seed))
        assert losses(other[x][:, y], same).mean() > loss


def test_words_that_say_all_have_no_loss():
    """Ten labels in a batch of 40: the copies of a label are no negatives."""
    y = torch.arange(40) % 10
    same = alike(y, Label(10))
    assert torch.equal(same, y[:, None] == y)
    torch.testing.assert_close(losses(1e3 * same.double(), same), torch.zeros(40).double())
    assert float(losses(torch.zeros(40, 40), same).mean()) == pytest.approx(torch.tensor(10.0).log().item())


def test_negatives_have_one_token_of_another_row_and_join_the_rows_logits():
    torch.manual_seed(0)
    value = torch.randint(4, (40, 6))
    value[::2, 4:] = -1
    value[0, :4], value[2:8, :4] = 0, 0  # alike, with others of their length
    found = replaced(value, 5)
    differs = found != value[:, None]
    assert found.shape == (40, 5, 6) and bool((differs.sum(2) == 1).all())
    for i, k, place in differs.nonzero().tolist():
        others = value[(value >= 0).sum(1) == (value[i] >= 0).sum()]
        assert found[i, k, place] in others[:, place]
    assert torch.equal(replaced(value[[1, 1, 0]], 2), value[[1, 1, 0], None].expand(3, 2, 6))  # they differ from none
    places = differs[1::2].flatten(0, 1).float().mean(0)
    assert bool((places > 0.1).all()), places
    logits, more, same = torch.randn(8, 8).double(), torch.randn(8, 2).double(), torch.eye(8).bool()
    rows = F.cross_entropy(torch.cat([logits, more], 1), torch.arange(8), reduction="none")
    columns = F.cross_entropy(logits.T, torch.arange(8), reduction="none")
    torch.testing.assert_close(losses(logits, same, more), (rows + columns) / 2)


@pytest.mark.parametrize("noise", [True, False])
def test_the_loss_is_that_of_the_told_rows_by_hand(noise):
    seen = []

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(2, 8).double()

        def forward(self, x, c):
            seen.append((x, c))
            return self.linear(x) + c[:, None]

    data, sde = labelled(mixture(VP())), VP()
    clip = Clip(Net(), Reader({"label": Label(3)}, 8, 16).double(), sde, noise)
    objective = Contrastive(clip, data)
    x0, label = torch.randn(12, 2), torch.arange(12) % 3
    label[::4] = -1
    torch.manual_seed(7)
    drawn = objective.draw(scoresde.data.Batch(x0, {"label": label}), 12, slice(None))
    _, t, eps, *_ = drawn
    found = objective(drawn)
    t = t if noise else torch.full((12,), sde.t_min).double()
    alpha, sigma = (a[:, None] for a in sde.marginal(t))
    x = (alpha * x0 + sigma * eps if noise else x0) / (alpha**2 + sigma**2).sqrt()
    torch.testing.assert_close(seen[-1][0], x.double())
    torch.testing.assert_close(seen[-1][1], (sigma / alpha).log()[:, 0])
    own = label >= 0
    f = F.normalize(clip.net.linear(x.double()) + (sigma / alpha).log(), dim=1)[own]
    g = F.normalize(clip.reader(label), dim=1)[own]
    logits, n = f @ g.T / 0.07, torch.bincount(label[own])[label[own]]
    at = torch.arange(int(own.sum()))
    right = (F.cross_entropy(logits, at, reduction="none") + F.cross_entropy(logits.T, at, reduction="none")) / 2
    assert not found[~own].any()
    torch.testing.assert_close(found.mean(), (right - n.log()).mean())
    none = scoresde.data.Batch(x0, {"label": torch.full((12,), -1)})
    loss = objective(objective.draw(none, 12, slice(None))).sum()
    loss.backward()
    assert loss == 0 and all(bool(p.grad.isfinite().all()) for p in clip.parameters() if p.grad is not None)


def test_the_scale_stays_at_100():
    clip, data = vectors(), labelled(mixture(VP()))
    nn.init.constant_(clip.log_scale, 7.0)
    assert clip.scale == 100
    fit(Contrastive(clip, data), data, SHORT, device="cpu")
    assert 90 < float(clip.scale.detach()) <= 100.001 and float(clip.log_scale.detach()) < 4.6053


@pytest.mark.parametrize("sde", [VP(), EDM()], ids=str)
def test_it_comes_near_the_exact_posterior(trained, sde):
    """s f . g + log p(y) is log p(y | x_t) but for a constant; for another SDE at the same levels too."""
    exact, clip, wrong = mixture(sde, torch.float64), trained[0].clip, []
    other = Clip(clip.net, clip.reader, sde, noise=True)
    other.log_scale = clip.log_scale
    prior = torch.zeros(3).double().index_add(0, exact.labels, exact.log_weights.exp()).log()
    for c in (-3.0, -1.0, 0.0, 1.0):
        t = float(sde.time(torch.tensor(-2 * c, dtype=torch.float64)))
        x = exact.sample(1000, t, seed=5)
        logits = other.scale * other.of_picture(x, t) @ other.of_text([0, 1, 2]).double().T
        wrong.append(float(((logits + prior).softmax(1) - posterior(exact, x, t).exp()).abs().mean()))
    assert max(wrong) < 0.05, wrong


# -- training, and the folder -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", [True, False])
def test_resume_is_exact_and_the_folder_gives_what_was_returned(tmp_path, noise):
    data, x = labelled(mixture(VP()), missing=400), torch.randn(5, 2)

    class Stop(Exception):
        pass

    def report(step, **figures):
        if step == 8:
            raise Stop

    run = lambda name, **more: fit(Contrastive(vectors(noise=noise), data), data, SHORT, tmp_path / name, **more)
    whole = run("whole", device="cpu")
    with pytest.raises(Stop):
        run("parts", report=report, device="cpu")
    halfway = scoresde.load(tmp_path / "parts")
    parts, loaded = run("parts", device="cpu"), scoresde.load(tmp_path / "whole")
    t = 0.3 if noise else None
    for other in (parts, loaded):
        assert isinstance(other, TrainedClip) and (other.step, other.weights) == (9, whole.weights)
        assert torch.equal(other.of_picture(x, t), whole.of_picture(x, t)) and other.scale == whole.scale
        assert torch.equal(other.of_text(2), whole.of_text([2])) and other.of_text([1, -1])[1].isnan().all()
        assert (other.sde, other.kind, other.condition, other.noise) == (VP(), Label(3), "label", noise)
        assert not other.training and not any(p.requires_grad for p in other.parameters())
    assert halfway.step == 6 and halfway.weights != whole.weights
    further = fit(Contrastive(whole, data), data, Training(steps=4, batch_size=32), device="cpu")
    assert further.weights != whole.weights == run("whole").weights  # a copy was trained further


def test_two_processes_are_one(tmp_path):
    """Each has the pairs of both as negatives, with labels that are missing; of tokens also some with one replaced."""
    done = launch(__file__, tmp_path / "two")
    assert done.returncode == 0, done.stderr
    alone(tmp_path / "one")
    for part in ("", "tokens"):
        one, two = (checkpoint.load(tmp_path / name / part / "checkpoint.pt") for name in ("one", "two"))
        for name, value in one["model"].items():
            torch.testing.assert_close(two["model"][name], value, rtol=0, atol=1e-5)
        read = lambda name, part=part: (tmp_path / name / part / "metrics.jsonl").read_text().splitlines()
        rows = lambda name, read=read: [json.loads(line) for line in read(name)]
        losses = [[row["loss"] for row in rows(name) if "loss" in row] for name in ("one", "two")]
        assert losses[0] == pytest.approx(losses[1], abs=1e-5) and len(losses[0]) == 9


def alone(folder):
    """Two trainings, which a process of several takes part in."""
    data = labelled(mixture(VP()), 700, missing=250)
    fit(Contrastive(vectors(), data), data, SHORT, folder, device="cpu", progress=False)
    torch.manual_seed(2)
    kind, x, words = Tokens(3, 5, layers=1), torch.randn(300, 2), torch.randint(5, (300, 3))
    parts = (Tensors(x[s], cond={"words": words[s]}) for s in (slice(200), slice(200, 300)))
    data = Data("tokens", *parts, Affine(), conditions={"words": kind})
    net = Encoder((2,), 8, channels=16, mults=(1,), zeros=False)
    objective = Contrastive(Clip(net, Reader({"words": kind}, 8, 16), VP()), data, negatives=2)
    fit(objective, data, SHORT, Path(folder) / "tokens", device="cpu", progress=False)


STRANGE = {
    "a reader": lambda known: known["reader"].update(_target_="os.system"),
    "a reader of another room": lambda known: known["reader"].update(_target_="scoresde.load"),
    "a network": lambda known: known["net"].update(_target_="evil.Net"),
    "a condition": lambda known: known["conditions"]["label"].update(_target_="builtins.eval"),
}


@pytest.mark.parametrize("what", STRANGE)
def test_a_strangers_clip_runs_nothing(trained, tmp_path, what):
    folder = shutil.copytree(trained[1], tmp_path / "m")
    known = json.loads((folder / "model.json").read_text())
    assert known["kind"] == "clip"
    STRANGE[what](known)
    (folder / "model.json").write_text(json.dumps(known))
    with pytest.raises(InputError, match="trust"):
        scoresde.load(folder)


def test_a_damaged_description_is_told_in_a_line(trained, tmp_path):
    folder = shutil.copytree(trained[1], tmp_path / "m")
    known = json.loads((folder / "model.json").read_text())
    for wrong in ({"reader": None}, {"noise": "yes"}, {"conditions": {}}, {"conditions": [3]}):
        (folder / "model.json").write_text(json.dumps(known | wrong))
        with pytest.raises(InputError, match=r"model\.json") as refused:
            scoresde.load(folder)
        assert "\n" not in str(refused.value)


def test_what_is_refused(trained):
    data, clip = labelled(mixture(VP())), vectors()
    refuses("a Picture", call=lambda: Reader({"seen": Picture((3, 4, 4))}, 8))
    refuses("give one", call=lambda: Reader({"a": Label(3), "b": Label(3)}, 8))
    refuses("8 outputs and the reader 4", call=lambda: Clip(clip.net, Reader({"label": Label(3)}, 4), VP()))
    other = Clip(clip.net, Reader({"kind": Label(3)}, 8), VP())
    refuses("condition 'kind' is not in mixture", call=lambda: Contrastive(other, data))
    refuses("negatives=1", "is a Label", call=lambda: Contrastive(clip, data, negatives=1))
    refuses("Adaptive", call=lambda: Contrastive(clip, data, times=scoresde.loss.Adaptive()))
    refuses("clean pictures", "noise=true", call=lambda: vectors(noise=False).of_picture(torch.randn(3, 2), 0.5))
    refuses("class 7", call=lambda: clip.of_text(7))
    frozen = vectors().requires_grad_(False)
    refuses("clip=Clip has no parameters", call=lambda: fit(Contrastive(frozen, data), data, SHORT))


def test_tokens_of_one_text_become_those_of_another():
    pytest.importorskip("tokenizers")
    a, b = (
        Text.fitted(["a red circle", more], vocabulary=280, length=40) for more in ("a blue ring", "large green stars")
    )
    texts = ["a red ring", "", "a large circle"]
    rows = a.rows("caption", texts, 3)
    assert torch.equal(retold(rows, a, b), b.rows("caption", texts, 3)) and retold(rows, a, a) is rows
    refuses("Text here and Label there", call=lambda: retold(rows, a, Label(3), "caption"))


# -- guidance ---------------------------------------------------------------------------------------------------------


class Toy:
    """An encoder in closed form, of the posterior N(mu(x), V) of a Gaussian N(m, v): see `law`."""

    def __init__(self, model, of):
        self.model, self.of = model, of

    def of_picture(self, x, t):
        alpha, sigma = (a[:, None] for a in self.model.sde.marginal(t))
        v = self.model.stds.square()
        return self.of(self.model(x, t), v * sigma**2 / (alpha**2 * v + sigma**2))


def one(sde, mean, std):
    rows = lambda a: torch.tensor([a], dtype=torch.float64)
    return GaussianMixture(rows(1.0), rows(mean), rows(std), sde)


LINEAR, QUADRATIC = torch.tensor([0.7, -1.3]).double(), (4.0, torch.tensor([0.5, -0.2]).double())


@pytest.mark.parametrize("sde", [VP(), EDM()], ids=str)
@pytest.mark.parametrize("kind", ["linear", "quadratic"])
def test_the_steered_denoiser_is_that_of_the_tilted_density(sde, kind):
    """p(x_0) e^h for h = k . x_0, and -q |x_0 - y|^2 / 2: f . g = log E[e^h | x_t], to 1e-8."""
    m, v = torch.tensor([0.3, -0.6]).double(), 0.8**2
    if kind == "linear":
        of, text = (
            lambda mu, spread: torch.cat([mu, spread[:, :1]], 1),
            torch.cat([LINEAR, LINEAR.square().sum()[None] / 2]),
        )
        mean, var = m + v * LINEAR, v
    else:
        q, y = QUADRATIC
        of, text = lambda mu, spread: -(mu - y).square() / (2 * (1 / q + spread)), torch.ones(2).double()
        mean, var = (m / v + q * y) / (1 / v + q), 1 / (1 / v + q)
    model, right = one(sde, m.tolist(), v**0.5), one(sde, mean.tolist(), var**0.5)
    for c in (-2.0, 0.0, 2.0):
        t = sde.time(torch.full((6,), -2 * c, dtype=torch.float64))
        x = right.sample(6, float(t[0]), seed=4)
        found, told = ClipGuided(model, Toy(model, of), text)(x, t), right(x, t)
        torch.testing.assert_close(found, told, rtol=1e-8, atol=1e-8)


def test_missing_texts_are_not_guided_and_scales_are_the_rows_own(trained):
    """Told nothing a row is that of the model, to the bit; many rows are as one at a time."""
    model, clip = mixture(VP(), torch.float64), trained[0]
    x, t = model.sample(5, 0.4, seed=2), torch.linspace(0.1, 0.9, 5).double()
    text, own = clip.of_text([0, 1, -1, 2, -1]), torch.tensor([0.5, 2.0, 3.0, 0.0, 1.0])
    plain, found = model(x, t), ClipGuided(model, clip, text, own)(x, t)
    assert torch.equal(found[[2, 4]], plain[[2, 4]]) and torch.equal(found[3], plain[3])
    assert torch.equal(ClipGuided(model, clip, clip.of_text(-1), 5.0)(x, t), plain)
    for i in range(5):
        alone = ClipGuided(model, clip, text[i], float(own[i]))(x[i : i + 1], t[i : i + 1])
        torch.testing.assert_close(found[i : i + 1], alone, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(
            ClipGuided(model, clip, text, own).select(torch.tensor([i]))(x[i:][:1], t[i:][:1]), alone
        )
    leaf = x[:1].clone().requires_grad_()
    (slope,) = torch.autograd.grad(clip.scale * clip.similarity(leaf, text[:1], t[:1]).sum(), leaf)
    alpha, sigma = VP().marginal(t[:1])
    torch.testing.assert_close(found[:1], plain[:1] + 0.5 * sigma**2 / alpha * slope)
    refuses("clean pictures", call=lambda: ClipGuided(model, vectors(noise=False), 1))
    refuses("text has 5 rows", call=lambda: ClipGuided(model, clip, text)(x[:2], 0.5))
    refuses("clip answers with", call=lambda: ClipGuided(model, clip, text[:, :4])(x, t))


def test_guidance_by_a_loaded_clip_is_that_of_the_class(trained):
    """With the exact unconditional model, at w = 1: the class's own mean and spread, near enough."""
    model, clip = mixture(VP()), scoresde.load(trained[1])
    x = scoresde.sample(ClipGuided(model, clip, 1), scoresde.sampling.Heun(steps=20), (1500, 2), seed=2)
    own, k = model.draw(20000, seed=9)
    own = own[model.labels[k] == 1]
    assert float((x.mean(0) - own.mean(0)).abs().max()) < 0.2
    assert float((x.std(0) - own.std(0)).abs().max()) < 0.1


# -- figures of pairs -------------------------------------------------------------------------------------------------


def test_similarity_and_r_precision_are_their_definitions():
    x, y = (torch.randn(60, 5, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    y[30:] = x[30:] + 0.1 * y[30:]
    found = metrics.similarity(x, y)
    cosines = F.cosine_similarity(x.double(), y.double())
    assert found.value == pytest.approx(float(cosines.mean()))
    assert found.stderr == pytest.approx(float(cosines.std()) / 60**0.5) and found.low < found.value < found.high
    assert metrics.similarity(3 * x, y).value == pytest.approx(found.value)
    whole = metrics.r_precision(x, y, y, r=60)  # among all
    unit = lambda v: F.normalize(v.double(), dim=1)
    right = (unit(x) @ unit(y).T).argmax(1) == torch.arange(60)
    assert whole.value == pytest.approx(float(right.double().mean())) and whole.m == 60
    assert metrics.r_precision(x, y, torch.cat([y, y, y]), r=60).value == whole.value  # none twice
    assert metrics.r_precision(x, y, y[:10], r=100).m == 10  # its own is there, and one among them for some


def test_r_precision_of_no_relation_is_chance():
    draw = lambda seed, n: torch.randn(n, 6, generator=torch.Generator().manual_seed(seed))
    found = metrics.r_precision(draw(1, 20000), draw(2, 20000), draw(3, 300), r=25)
    assert found.m == 25 and abs(found.value - 1 / 25) < 4 * (0.04 * 0.96 / 20000) ** 0.5 and 0.04 in found
    refuses("r=1", call=lambda: metrics.r_precision(draw(1, 9), draw(2, 9), draw(3, 9), r=1))
    refuses("no other words", call=lambda: metrics.r_precision(draw(1, 9), draw(2, 9)[:1].expand(9, 6), draw(2, 9)[:1]))
    refuses("9 rows and y 8", call=lambda: metrics.similarity(draw(1, 9), draw(2, 8)))


# -- the command ------------------------------------------------------------------------------------------------------


def newest(folder, task):
    return max(folder.glob(f"{task}-*/summary.json"), key=lambda p: p.stat().st_mtime_ns).parent


FAST = ("task.channels=8", "task.mults=[1]", "task.size=8", "task.width=16")


def test_from_the_command(tmp_path, monkeypatch, capfd):
    """A CLIP of digits and their labels guides a model that knows none; one of clean digits measures samples."""
    say = lambda *words: command(monkeypatch, capfd, tmp_path, *TINY, *words)
    told = ("task=contrastive", "task.condition=label", *FAST)
    for more in ("task.noise=true", "task.folder=noisy"), ("task.folder=clean",):
        code, out, err = say(*told, *more)
        assert code == 0 and re.search(r"of \d+ pairs; chance 10", out), out + err
    assert "guidance.clip" not in out and "task.clip=clean" in out
    assert say("task=train", "folder=m")[0] == 0
    draw = ("task=sample", "folder=m", "sampler=ddim", "sampler.steps=3", "n=4", "given.label=[1,4]")
    code, _, err = say(*draw, "guidance=clip", "guidance.clip=noisy", "guidance.scale=2")
    assert code == 0, err
    model, clip = (scoresde.load(tmp_path / name) for name in ("m", "noisy"))
    guided = ClipGuided(model, clip, clip.of_text([1, 1, 4, 4]), 2.0)
    x = scoresde.sample(guided, scoresde.sampling.DDIM(steps=3), (4, 1, 8, 8), progress=False)
    assert (np.load(newest(tmp_path / "m", "sample") / "samples.npy") == model.decode(x).numpy()).mean() > 0.99
    for folder, words in {"clean": "guidance.clip is one of clean pictures", "m": "holds a Model"}.items():
        code, _, err = say(*draw, "guidance=clip", f"guidance.clip={folder}")
        assert code == 1 and words in err and err.count("\n") == 1, err
    code, _, err = say("task=evaluate", "folder=m", "task.clip=clean", "n=30", "task.metrics=[sliced]")
    assert code == 1 and "reads 'label'" in err, err
    tell = (
        "task=evaluate",
        "task.extractor=flatten",
        "cond=[label]",
        "n=30",
        "task.metrics=[sliced]",
        "sampler=ddim",
        "sampler.steps=3",
    )
    code, out, err = say(*tell, "folder=l", "task.clip=clean")
    assert code == 0 and "R-precision of 10" in out and "clip similarity" in out, err
    found = json.loads((newest(tmp_path / "l", "evaluate") / "summary.json").read_text())
    assert {"clip", "clip_low", "clip_real", "clip_shuffled", "r_precision", "r_precision_real"} <= found.keys()
    assert found["r_precision_chance"] == pytest.approx(0.1)
    code, _, err = say("task=contrastive", "task.condition=kind", "task.folder=d")
    assert code == 1 and "task.condition=kind" in err and not (tmp_path / "d").exists()


def test_scenes_and_their_captions_find_each_other():
    """A tiny CLIP of scenes of one shape, in seconds: many times chance."""
    pytest.importorskip("tokenizers")
    data, rows = scoresde.data.scenes(shapes=1, n=4000, test=128), []
    kind = replace(data.conditions["caption"], drop=0.0, layers=1)
    torch.manual_seed(0)
    net = Encoder((3, 16, 16), 16, channels=16, mults=(1, 2), blocks=1, attention=0, zeros=False)
    clip = Clip(net, Reader({"caption": kind}, 16, 32), VP())
    settings = Training(steps=80, batch_size=64, lr=6e-3, warmup=5, validate_every=80, ema=0.9)
    fit(Contrastive(clip, data), data, settings, report=lambda step, **f: rows.append(f), device="cpu")
    (told,) = [f for f in rows if "accuracy" in f]
    assert told["accuracy"] > 4 * told["chance"], told


if __name__ == "__main__":
    torch.set_num_threads(1)
    alone(sys.argv[1])
