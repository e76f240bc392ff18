"""task=tune, sampler=tuned and sampler.grid=fitted, as a person uses them."""

import json

import pytest
import torch
from commands import POINTS, command, short_search
from matplotlib.figure import Figure

import scoresde
from scoresde.tasks.tune import tuned


@pytest.fixture
def folder(tmp_path):
    return tmp_path


def say(monkeypatch, capfd, folder, *words):
    short_search(monkeypatch)
    return command(monkeypatch, capfd, folder, *POINTS, "folder=model", *words)


def distance_from_the_flow(folder, budget, n=8):
    """The rms and the median over n samples of the tuned sampler's distance from the flow's ends, a coordinate."""
    model, shape = scoresde.load(folder), (n, 2)
    flow = scoresde.sampling.ProbabilityFlow(rtol=1e-5, atol=1e-5)
    samplers = (tuned(budget, folder), flow)
    x, end = (scoresde.sample(model, sampler, shape, dtype=torch.float64) for sampler in samplers)
    error = (x - end).flatten(1).square().mean(1).sqrt()
    return float(error.square().mean().sqrt()), float(error.median())


def test_tune_then_sample(monkeypatch, capfd, folder):
    pictures, save = [], Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (pictures.append(self), save(self, *a, **k))[1])
    code, _, err = say(monkeypatch, capfd, folder, "sampler=tuned", "sampler.budget=3")
    assert code == 1 and "task=tune task.budgets=[3]" in err and not (folder / "model").exists()
    code, _, err = say(monkeypatch, capfd, folder, "task=train")
    assert code == 0, err
    pictures.clear()
    code, out, err = say(monkeypatch, capfd, folder, "task=tune", "task.budgets=[3]", "task.n=8")
    assert code == 0, err
    assert (
        "sampler=tuned sampler.budget=3" in out
        and "3" in json.loads((folder / "model" / "tuned.json").read_text())["samplers"]
    )
    (run,) = (folder / "model").glob("tune-*")
    trials = json.loads((run / "trials.json").read_text())["3"]
    assert len(trials) > 20 and [t["error"] for t in trials] == sorted(t["error"] for t in trials)
    assert json.loads((run / "summary.json").read_text())["best"] == {"3": trials[0]}
    rms, median = distance_from_the_flow(folder / "model", 3)
    assert (trials[0]["rms"], trials[0]["median"]) == pytest.approx((rms, median), rel=1e-3)
    assert trials[0]["error"] == pytest.approx((rms * median) ** 0.5, rel=1e-3)
    (picture,) = pictures  # each sampler at its best grid, and the best of all
    best = {name: min(t["error"] for t in trials if t["sampler"] == name) for name in {t["sampler"] for t in trials}}
    drawn = {line.get_label(): line.get_xydata()[0].tolist() for line in picture.axes[0].lines}
    assert drawn == {name: [3, error] for name, error in best.items()} | {"tuned": [3, trials[0]["error"]]}
    code, out, err = say(monkeypatch, capfd, folder, "task=sample", "sampler=tuned", "sampler.budget=3")
    assert code == 0, err
    assert "3 evaluations" in out
    code, _, err = say(monkeypatch, capfd, folder, "task=sample", "sampler=tuned", "sampler.budget=4")
    assert code == 1 and "it has them for 3 evaluations" in err


def test_a_fitted_grid_is_kept_beside_the_model(monkeypatch, capfd, folder):
    assert say(monkeypatch, capfd, folder, "task=train")[0] == 0
    words = ("task=sample", "sampler=adams", "sampler.steps=4", "sampler.grid=fitted")
    code, out, err = say(monkeypatch, capfd, folder, *words)
    assert code == 0, err
    assert "fitted a time grid" in out
    grid = json.loads((folder / "model" / "grid.json").read_text())
    assert (
        grid["weights"] == scoresde.load(folder / "model").weights
        and grid["share"][0] == 0
        and abs(grid["share"][-1] - 1) < 1e-12
    )
    before = (folder / "model" / "grid.json").stat().st_mtime_ns
    code, out, err = say(monkeypatch, capfd, folder, *words, "n=3")
    assert code == 0 and "fitted" not in out and (folder / "model" / "grid.json").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("word", "part"),
    [("task.budgets=[1]", "task.budgets=[1]"), ("task.n=2", "task.n=2"), ("task.bugets=[5]", "budgets")],
)
def test_wrong_settings(monkeypatch, capfd, folder, word, part):
    code, _, err = say(monkeypatch, capfd, folder, "task=tune", word)
    assert code == 1 and part in err and len(err.strip().splitlines()) == 1
