"""A classifier of noisy data: the exact posterior where it is known, its folder, and guidance by it."""

import json
import shutil
import sys

import pytest
import torch
from problems import refuses
from test_hardware import launch
from torch import nn
from torch.nn import functional as F

import scoresde
from scoresde import InputError, NoisyClassifier, TrainedClassifier, Training, fit
from scoresde.conditions import Label
from scoresde.data import Affine, Data, Tensors
from scoresde.exact import GaussianMixture
from scoresde.guidance import ClassifierGuided
from scoresde.model import checkpoint
from scoresde.nets import Encoder
from scoresde.objectives import Classify
from scoresde.sde import EDM, VP

SHORT = Training(steps=9, batch_size=32, validate_every=3, checkpoint_every=3, log_every=1)


def mixture(sde, dtype=torch.float32):
    """Four components of three classes."""
    means = torch.tensor([[1.0, 0.5], [-1.0, 0.8], [0.2, -1.0], [-0.9, -0.6]], dtype=dtype)
    weights, stds = torch.tensor([0.3, 0.2, 0.3, 0.2], dtype=dtype), torch.tensor([0.3, 0.5, 0.4, 0.3], dtype=dtype)
    return GaussianMixture(weights, means, stds, sde, labels=[0, 1, 2, 1])


def labelled(model, n=4000, missing=0):
    """Points of the mixture with their classes, of which the first are missing."""
    x, k = model.draw(n, seed=3)
    label = model.labels[k].clone()
    label[:missing] = -1
    label[-200 : -200 + missing // 8] = -1
    part = lambda a, b: Tensors(x[a:b], cond={"label": label[a:b]})
    return Data("mixture", part(0, n - 200), part(n - 200, n), Affine(), conditions={"label": Label(3)})


def posterior(model, x, t):
    """log p(label | x_t = x), (B, 3), by Bayes from the exact densities."""
    weights = torch.zeros(3).double().index_add(0, model.labels, model.log_weights.exp().double())
    joint = [model.log_prob(x, t, {"label": k}) + weights[k].log() for k in range(3)]
    return torch.stack(joint, 1).log_softmax(1)


def vectors(sde=None, channels=16, seed=1):
    torch.manual_seed(seed)
    return NoisyClassifier(Encoder((2,), 3, channels=channels, mults=(1,)), sde or VP())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A classifier of the mixture, and its folder."""
    folder = tmp_path_factory.mktemp("classifier") / "model"
    data, settings = labelled(mixture(VP())), Training(steps=600, batch_size=256, lr=5e-3, warmup=20)
    return fit(Classify(vectors(channels=32), data), data, settings, folder, device="cpu"), folder


@pytest.mark.parametrize("sde", [VP(), EDM()], ids=str)
def test_it_comes_near_the_exact_posterior(trained, sde):
    """At all noise levels, and for another SDE than its own at the same levels: it knows none."""
    exact, model = mixture(sde, torch.float64), trained[0]
    if not isinstance(sde, VP):
        model = NoisyClassifier(model.classifier.net, sde)
    wrong = []
    for c in (-3.0, -1.0, 0.0, 1.0):
        t = float(sde.time(torch.tensor(-2 * c, dtype=torch.float64)))
        x = exact.sample(1000, t, seed=5)
        found = model.log_prob(x, t) if isinstance(model, TrainedClassifier) else model(x, t).log_softmax(1)
        wrong.append(float((found.exp() - posterior(exact, x, t).exp()).abs().mean()))
        assert found.dtype == torch.float64
    assert max(wrong) < 0.05, wrong


@pytest.mark.parametrize("sde", [VP(), EDM()], ids=str)
def test_the_loss_is_that_of_the_labelled_rows_by_hand(sde):
    """The network's input and level, the noise and the cross-entropy, of every third row without a label."""
    seen = []

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(2, 3).double()

        def forward(self, x, c):
            seen.append((x, c))
            return self.linear(x) * c[:, None]

    data = labelled(mixture(VP()))
    objective = Classify(NoisyClassifier(Net(), sde), data)
    x0, t = torch.randn(12, 2), torch.linspace(0.05, 0.9, 12).double()
    label = torch.arange(12) % 3
    label[::3] = -1
    batch = scoresde.data.Batch(x0, {"label": label})
    torch.manual_seed(7)
    drawn = objective.draw(batch, 12, slice(None))
    _, t, eps, _, _ = drawn
    assert t.shape == (12,) and len(t.unique()) == 12 and 0.8 < float(eps.std()) < 1.4
    losses = objective(drawn)
    alpha, sigma = (a[:, None] for a in sde.marginal(t))
    x = (alpha * x0 + sigma * eps) / (alpha**2 + sigma**2).sqrt()
    torch.testing.assert_close(seen[-1][0], x)
    torch.testing.assert_close(seen[-1][1], (sigma / alpha).log()[:, 0])
    logits = objective.product.net(x, (sigma / alpha).log()[:, 0])
    own = label >= 0
    assert not losses[~own].any()
    torch.testing.assert_close(losses.mean(), F.cross_entropy(logits[own], label[own]))
    part = scoresde.data.Batch(x0[::2], {"label": label[::2]})
    objective.several(lambda count: count.fill_(int(own.sum())))  # of both halves
    torch.manual_seed(7)
    torch.testing.assert_close(objective(objective.draw(part, 12, slice(0, None, 2))), losses[::2])


def test_missing_labels_are_trained_around(tmp_path):
    """Nothing is learned from rows without one, a batch of none is no error, and the validation leaves them out."""
    data, rows = labelled(mixture(VP()), 600, missing=160), []
    fit(Classify(vectors(), data), data, SHORT, report=lambda step, **f: rows.append(f), device="cpu")
    told = [r for r in rows if "validation" in r]
    assert len(told) == 3 and all(0 <= r["accuracy"] <= 1 and r["validation"] < 3 for r in told)
    assert all(len(r[f"{k}_by_level"]) == 8 for r in told for k in ("validation", "accuracy"))
    none = labelled(mixture(VP()), 600, missing=1600)
    none.train.cond["label"].fill_(-1)
    none.test.cond["label"].fill_(-1)
    rows.clear()
    fit(Classify(vectors(), none), none, SHORT, report=lambda step, **f: rows.append(f), device="cpu")
    assert [r["loss"] for r in rows] == [0.0] * 9 and not any("validation" in r for r in rows)


@pytest.mark.parametrize("stop", [3, 6])
def test_resume_is_exact_and_the_folder_gives_what_was_returned(tmp_path, stop):
    data, x, t = labelled(mixture(VP())), torch.randn(5, 2), 0.3

    class Stop(Exception):
        pass

    def report(step, **figures):
        if step == stop + 2:
            raise Stop

    run = lambda name, **options: fit(Classify(vectors(), data), data, SHORT, tmp_path / name, device="cpu", **options)
    whole = run("whole")
    with pytest.raises(Stop):
        run("parts", report=report)
    halfway = scoresde.load(tmp_path / "parts")
    assert halfway.step == checkpoint.load(tmp_path / "parts" / "checkpoint.pt")["step"] == stop
    parts, again = run("parts"), run("parts")
    loaded = scoresde.load(tmp_path / "whole")
    for other in (parts, again, loaded):
        assert isinstance(other, TrainedClassifier) and (other.step, other.weights) == (9, whole.weights)
        assert torch.equal(other(x, t), whole(x, t)) and (other.sde, other.label) == (VP(), Label(3))
        assert (other.name, other.shape, other.levels, other.training) == ("mixture", (2,), None, False)
        assert not any(p.requires_grad for p in other.parameters())
    assert halfway.weights != whole.weights
    names = {"checkpoint.pt", "metrics.jsonl", "model.json", "model.safetensors", "summary.json"}
    assert {p.name for p in (tmp_path / "whole").iterdir()} == names
    more = Training(steps=4, batch_size=32)
    further = fit(Classify(whole, data), data, more, device="cpu")
    assert further.weights != whole.weights == run("whole").weights  # a copy was trained further


def test_two_processes_are_one(tmp_path):
    """With labels that are missing, more of them in the share of one process than of the other."""
    done = launch(__file__, tmp_path / "two")
    assert done.returncode == 0, done.stderr
    alone(tmp_path / "one")
    one, two = (checkpoint.load(tmp_path / name / "checkpoint.pt") for name in ("one", "two"))
    for name, value in one["model"].items():
        torch.testing.assert_close(two["model"][name], value, rtol=0, atol=1e-5)


def alone(folder):
    """One training, which a process of several takes part in."""
    data = labelled(mixture(VP()), 700, missing=250)
    fit(Classify(vectors(), data), data, SHORT, folder, device="cpu", progress=False)


def test_guidance_by_a_loaded_classifier_is_that_of_the_class(trained):
    """With the exact unconditional model, at w = 1: the class's own mean and spread, near enough."""
    model, classifier = mixture(VP()), scoresde.load(trained[1])
    guided = ClassifierGuided(model, classifier, label=1)
    x = scoresde.sample(guided, scoresde.sampling.Heun(steps=20), (1500, 2), seed=2)
    own, k = model.draw(20000, seed=9)
    own = own[model.labels[k] == 1]
    assert float((x.mean(0) - own.mean(0)).abs().max()) < 0.2
    assert float((x.std(0) - own.std(0)).abs().max()) < 0.1
    refuses("label=3", "3 classes", call=lambda: ClassifierGuided(model, classifier, label=3)(x, 0.5))


def test_what_is_refused(tmp_path):
    data, other = labelled(mixture(VP())), NoisyClassifier(Encoder((2,), 4, channels=8, mults=(1,)), VP())
    refuses("4 classes", "outputs=3", call=lambda: Classify(other, data))
    refuses("3 classes and the label 4", call=lambda: NoisyClassifier(Encoder((2,), 3, channels=8), VP(), Label(4)))
    refuses("condition 'kind' is not in mixture", "label", call=lambda: Classify(vectors(), data, "kind"))
    refuses("Adaptive", "another", call=lambda: Classify(vectors(), data, times=scoresde.loss.Adaptive()))
    refuses("times='often'", call=lambda: Classify(vectors(), data, times="often"))
    refuses("classifier=", call=lambda: Classify(vectors().net, data))
    refuses("data=", call=lambda: fit(Classify(vectors(), data), torch.randn(5, 2)))
    wrong = NoisyClassifier(nn.Bilinear(2, 1, 3), VP())
    wrong.net.forward = lambda x, c: x
    refuses(
        "Bilinear answers with", "(1, 3)", call=lambda: fit(Classify(wrong, data), data, folder=tmp_path, fresh=True)
    )
    assert not [*tmp_path.iterdir()]
    frozen = vectors().requires_grad_(False)
    refuses("classifier=NoisyClassifier has no parameters", call=lambda: fit(Classify(frozen, data), data, SHORT))


def test_a_classifier_s_folder_is_its_own(trained, tmp_path):
    """No other training takes it, nor one of another classifier; the weights go to a classifier alone."""
    folder, data = shutil.copytree(trained[1], tmp_path / "m"), labelled(mixture(VP()))
    known = json.loads((folder / "model.json").read_text())
    assert known["kind"] == "classifier" and known["label"]["classes"] == 3 and "rule" not in known
    denoiser = scoresde.Preconditioned(scoresde.nets.MLP((2,), width=8, blocks=1), VP())
    with pytest.raises(InputError, match="kind is 'classifier' there and 'denoiser' here"):
        scoresde.train(denoiser, data, folder=folder, steps=2)
    settings = Training(steps=600, batch_size=256, lr=5e-3, warmup=20)
    for objective in (Classify(vectors(), data), Classify(vectors(channels=32), data, times="uniform")):
        with pytest.raises(InputError, match="there and"):
            fit(objective, data, settings, folder)
    with pytest.raises(InputError, match="a Preconditioned cannot take its weights"):
        scoresde.load(folder, denoiser=denoiser)
    assert scoresde.load(folder, denoiser=vectors(channels=32)).weights == trained[0].weights
    scoresde.train(denoiser, data, folder=tmp_path / "d", steps=2)
    with pytest.raises(InputError, match="kind is 'denoiser' there and 'classifier' here"):
        fit(Classify(vectors(), data), data, settings, tmp_path / "d")
    with pytest.raises(InputError, match="a NoisyClassifier cannot take its weights"):
        scoresde.load(tmp_path / "d", denoiser=vectors())


def test_the_command_takes_no_classifier(trained, monkeypatch, capfd, tmp_path):
    from commands import command

    shutil.copytree(trained[1], tmp_path / "m")
    code, _, err = command(monkeypatch, capfd, tmp_path, "task=sample", "folder=m")
    assert code == 1 and err.count("\n") == 1 and "holds a classifier" in err, err


STRANGE = {
    "a network": lambda known: known["net"].update(_target_="os.system"),
    "a network of ours that is none": lambda known: known.update(net={"_target_": "scoresde.load", "folder": "."}),
    "a label": lambda known: known.update(label={"_target_": "builtins.eval", "source": "1"}),
    "a label of another room": lambda known: known.update(label={"_target_": "scoresde.VP"}),
    "an SDE": lambda known: known.update(sde={"_target_": "evil.VP"}),
    "times": lambda known: known["loss"].update(times={"_target_": "evil.times"}),
    "folders": lambda known: known.update(paths=["/evil"]),
}


@pytest.mark.parametrize("what", STRANGE)
def test_a_strangers_classifier_runs_nothing(trained, tmp_path, what):
    folder = shutil.copytree(trained[1], tmp_path / "m")
    known = json.loads((folder / "model.json").read_text())
    STRANGE[what](known)
    (folder / "model.json").write_text(json.dumps(known))
    with pytest.raises(InputError, match="trust") as refused:
        scoresde.load(folder)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("wrong", [{"kind": "oracle"}, {"kind": ["x"]}, {"kind": None}, {"label": None}, {"sde": 3}])
def test_a_damaged_description_is_told_in_a_line(trained, tmp_path, wrong):
    folder = shutil.copytree(trained[1], tmp_path / "m")
    known = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(known | wrong))
    with pytest.raises(InputError, match=r"model\.json") as refused:
        scoresde.load(folder)
    assert "\n" not in str(refused.value)


def test_digits_are_told_apart():
    digits, rows = scoresde.data.digits(), []
    net = Encoder((1, 8, 8), 10, channels=16, mults=(1, 2, 2), blocks=1)
    settings = Training(steps=300, batch_size=64, lr=5e-3, warmup=20, validate_every=300)
    report = lambda step, **f: rows.append(f) if "accuracy" in f else None
    fit(Classify(NoisyClassifier(net, VP()), digits), digits, settings, report=report, device="cpu")
    (told,) = rows
    assert told["accuracy"] >= 0.95 and told["validation"] < 1.4
    assert told["accuracy_by_level"][-1] < 0.5 < 0.9 < told["accuracy_by_level"][0]


if __name__ == "__main__":
    torch.set_num_threads(1)
    alone(sys.argv[1])
