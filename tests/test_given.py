"""Laws of conditions on the command line: from cond=[label] to samples that were given one, and likelihoods of each."""

import json
import re

import numpy as np
import pages
import pytest
import torch
from commands import DIGITS, TINY, command

import scoresde
from scoresde.conditions import Label


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return tmp_path_factory.mktemp("given")


@pytest.fixture
def say(trained, monkeypatch, capfd):
    """Runs a command on a tiny model with labels, which is trained first where it is not there."""

    def run(*words, code=0):
        if not (trained / "m" / "model.safetensors").exists():
            done = command(monkeypatch, capfd, trained, *DIGITS, "folder=m", "cond=[label]", "task=train")
            assert done[0] == 0, done[2]
        found = command(monkeypatch, capfd, trained, *DIGITS, "folder=m", *words)
        assert found[0] == code, found[2]
        assert code == 0 or found[2].count("\n") == 1, found[2]
        return found[1] + found[2]

    return run


def newest(folder, task):
    return max((folder / "m").glob(f"{task}-*/summary.json"), key=lambda p: p.stat().st_mtime_ns).parent


def test_a_folder_knows_its_conditions(say, trained):
    say("task=sample", "n=4")
    known = json.loads((trained / "m" / "model.json").read_text())
    assert known["cond"] == {"label": 0.1} and known["conditions"]["label"]["classes"] == 10
    model = scoresde.load(trained / "m")
    assert model.conditions == {"label": Label(10)}
    x = torch.randn(3, 1, 8, 8)
    assert not torch.equal(model(x, 0.5, {"label": torch.tensor([1, 2, 3])}), model(x, 0.5))
    words = say("task=train", "cond=[]", code=1)
    assert "cond.label is 0.1 there" in words


def test_samples_are_what_python_gives_them(say, trained):
    """One value for all, a list in order, a file of rows, all classes, none; and as the data has them."""
    model, sampler = scoresde.load(trained / "m") if (trained / "m").exists() else None, "sampler=ddim"
    np.save(trained / "rows.npy", np.array([3, 1, 4, 1]))
    for word, labels in {
        "given.label=3": [3] * 4,
        "given.label=[2,5]": [2, 2, 5, 5],
        "given.label=rows.npy": [3, 1, 4, 1],
        "given.label=null": None,
    }.items():
        say("task=sample", sampler, "sampler.steps=3", "n=4", word)
        found = newest(trained, "sample")
        model = model or scoresde.load(trained / "m")
        cond = None if labels is None else {"label": labels}
        how = scoresde.sampling.DDIM(
            steps=3, grid=json.loads((found / "summary.json").read_text())["sampler"] and "angle"
        )
        x = scoresde.sample(model, how, (4, 1, 8, 8), cond=cond, progress=False)
        assert (np.load(found / "samples.npy") == model.decode(x).numpy()).mean() > 0.99
        if labels is not None:
            assert np.load(found / "given.npz")["label"].tolist() == labels
    say("task=sample", "n=10", "given.label=all", "sampler=ddim", "sampler.steps=2")
    assert np.load(newest(trained, "sample") / "given.npz")["label"].tolist() == list(range(10))
    say("task=sample", "n=300", "sampler=ddim", "sampler.steps=1")
    own = np.load(newest(trained, "sample") / "given.npz")["label"]
    assert np.bincount(own, minlength=10).min() > 10  # as the data has them


def test_mistakes_are_one_line(say):
    for word, said in {
        "given.lable=3": "did you mean label",
        "given.label=10": "class 10",
        "given.label=no.npy": "cannot be read",
        "given.label=x": "no names",
        "guidance=apg guidance.scale=x": "scale",
        "guidance=autoguidance": "give the folder of a model",
        "guidance=classifier guidance.classifier=nowhere": "is not a model folder",
    }.items():
        assert said in say("task=sample", *word.split(), code=1), word
    assert "no posterior mean" in say("task=likelihood", "guidance=cfg", code=1)


def test_guided_samples_are_those_of_python(say, trained):
    say("task=sample", "sampler=ddim", "sampler.steps=3", "n=4", "given.label=3", "guidance=cfg", "guidance.scale=2")
    model = scoresde.load(trained / "m")
    guided, how = scoresde.guidance.Guided(model, 2.0), scoresde.sampling.DDIM(steps=3)
    x = scoresde.sample(guided, how, (4, 1, 8, 8), cond={"label": 3}, progress=False)
    assert (np.load(newest(trained, "sample") / "samples.npy") == model.decode(x).numpy()).mean() > 0.99


def test_likelihoods_are_of_each_item_s_own_class(say, trained):
    """log p(x | c) of an item's own class, as Python gives it; classes of all items by Bayes' rule."""
    say("task=likelihood", "likelihood.n=6")
    found = np.load(newest(trained, "likelihood") / "likelihood.npz")
    model, digits = scoresde.load(trained / "m"), scoresde.data.digits()
    batch = scoresde.data.collate(digits.test, range(6), ["label"])
    density = lambda x: scoresde.log_likelihood(model, x, probes=1, rtol=1e-2, atol=1e-2, cond=batch.cond)
    exact = scoresde.likelihood.Uniform().log_prob(density, batch.x, digits, torch.arange(6))
    assert found["log_prob"] == pytest.approx(exact.model.numpy(), rel=1e-4)
    say("task=classify", "task.n=6")
    own = np.load(newest(trained, "classify") / "classify.npz")
    total = exact.model + exact.dequantisation + exact.decoder
    assert own["log_prob"][range(6), own["label"]] == pytest.approx(total.numpy(), rel=1e-4)
    assert (
        own["posterior"].sum(1) == pytest.approx(np.ones(6)) and own["label"].tolist() == batch.cond["label"].tolist()
    )
    told = json.loads((newest(trained, "classify") / "summary.json").read_text())
    assert told["accuracy"] == (own["posterior"].argmax(1) == own["label"]).mean()


# -- the page ---------------------------------------------------------------------------------------------------------

PAGE = "docs/howto/conditions.md"


def test_the_page_s_snippet_runs():
    names = pages.run(PAGE, STEPS="2, progress=False")
    assert names["each"].shape == (10, 1, 8, 8) and names["log_p"].shape == (5,)


def test_the_page_names_what_is_there():
    for name in re.findall(r"`([A-Z]\w+)\(", pages.text(PAGE)):
        assert hasattr(scoresde.guidance, name) or hasattr(scoresde.conditions, name), name


def test_labels_that_changed_are_another_data_set(tmp_path):
    x, y = torch.randn(40, 2), torch.arange(40) % 3
    net = lambda: scoresde.Preconditioned(
        scoresde.nets.MLP((2,), width=8, conditions={"label": Label(3)}), scoresde.VP()
    )
    data = lambda y: scoresde.data.from_tensor(x, cond={"label": y})
    options = {"folder": tmp_path / "m", "steps": 2, "batch_size": 4, "progress": False, "say": lambda words: None}
    model = scoresde.train(net(), data(y), **options)
    assert scoresde.train(net(), data(y), **options).weights == model.weights
    with pytest.raises(scoresde.InputError, match="not what it was trained on"):
        scoresde.train(net(), data((y + 1) % 3), **options)


def test_a_classifier_guides_a_model_that_knows_no_labels(tmp_path, monkeypatch, capfd):
    small = ("task.channels=8", "task.mults=[1]", "task.folder=c")
    code, out, err = command(monkeypatch, capfd, tmp_path, *TINY, "task=classifier", *small)
    assert code == 0 and "guidance.classifier=c" in out, err
    assert {p.name for p in tmp_path.iterdir()} == {"c"}
    code, out, err = command(monkeypatch, capfd, tmp_path, *TINY, "task=classifier", *small)
    assert code == 0, err  # trained already
    words = ("guidance=classifier", "guidance.classifier=c", "guidance.scale=2", "given.label=[1,4]", "sampler=ddim")
    assert command(monkeypatch, capfd, tmp_path, *TINY, "task=train", "folder=m")[0] == 0
    code, _, err = command(
        monkeypatch, capfd, tmp_path, *TINY, "task=sample", "folder=m", "sampler.steps=3", "n=4", *words
    )
    assert code == 0, err
    model, classifier = (scoresde.load(tmp_path / name) for name in ("m", "c"))
    labels = torch.tensor([1, 1, 4, 4])
    guided = scoresde.guidance.ClassifierGuided(model, classifier, labels, 2.0)
    x = scoresde.sample(guided, scoresde.sampling.DDIM(steps=3), (4, 1, 8, 8), progress=False)
    assert (np.load(newest(tmp_path, "sample") / "samples.npy") == model.decode(x).numpy()).mean() > 0.99
    code, _, err = command(
        monkeypatch, capfd, tmp_path, *TINY, "task=classifier", "task.condition=kind", "task.folder=d"
    )
    assert code == 1 and "kind" in err and not (tmp_path / "d").exists()


def test_figures_of_each_class(say, trained):
    """Those of its own samples against its own items, by the class of the item whose conditions a sample has."""
    from scoresde.metrics import frechet
    from scoresde.tasks.evaluate import classes

    digits = scoresde.data.digits()
    own = torch.randn(400, 3, generator=torch.Generator().manual_seed(0))
    y, real = torch.arange(400) % 11, torch.randn(300, 3, generator=torch.Generator().manual_seed(1))
    found, rows = classes.figures("label", digits, own, y, real, ("frechet", "energy"), 8)
    test = digits.labels[1]
    for k in range(10):
        assert found[f"frechet_label_{k}"] == frechet(own[y == k], real[test == k], 8).value
    assert len(rows) == 10 and not any("kid" in name for name in found)
    assert "fewer than 35" in classes.figures("label", digits, own, y, real, ("kid",), 35)[1][-1][1]
    say(
        "task=evaluate",
        "n=200",
        "sampler=ddim",
        "sampler.steps=1",
        "task.metrics=[kid]",
        "task.by=label",
        "task.groups=8",
        "task.steps=20",
    )
    told = json.loads((newest(trained, "evaluate") / "summary.json").read_text())
    assert sum(key.startswith("kid_label_") for key in told) == 30
    assert "did you mean label" in say("task=evaluate", "n=200", "task.by=lable", code=1)
