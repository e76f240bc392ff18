"""Laws of task=likelihood: figures that add up, examples that are kept, the same from any batches and processes."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from commands import DIGITS, ROOT, Quiet, command
from PIL import Image

import scoresde
from scoresde import likelihood as lik
from scoresde.data import stack
from scoresde.tasks.likelihood import densities
from scoresde.tasks.likelihood.parts import Examples, batches

SCORE = ["task=likelihood", "likelihood.n=10", "likelihood.rtol=0.01", "likelihood.atol=0.01"]
TRAIN = [word for word in DIGITS if not word.startswith("likelihood")]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a tiny model of digits."""
    folder = tmp_path_factory.mktemp("model")
    with pytest.MonkeyPatch().context() as monkeypatch:
        assert command(monkeypatch, Quiet(), folder, *TRAIN, "folder=m", "task=train")[0] == 0
    return folder


def run_in_two(folder, *overrides):
    """run.py in two processes."""
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    start = [sys.executable, *launcher, str(ROOT / "run.py"), *TRAIN, "wandb=disabled", "folder=m", *overrides]
    return subprocess.run(start, cwd=folder, env=env, capture_output=True, text=True, timeout=240)


@pytest.fixture
def cli(trained, monkeypatch, capfd):
    return lambda *overrides: command(monkeypatch, capfd, trained, *TRAIN, "folder=m", *SCORE, *overrides)


def newest(trained):
    """The latest scoring run: its summary and the figures of its examples."""
    folder = max(trained.glob("m/likelihood-*"), key=lambda p: (p / "summary.json").stat().st_mtime_ns)
    with np.load(folder / "likelihood.npz") as file:
        return folder, json.loads((folder / "summary.json").read_text()), {k: file[k] for k in file.files}


WAYS = {
    "uniform": [],
    "exact": ["likelihood.probes=null"],
    "importance": ["likelihood.dequantiser=importance", "likelihood.draws=3", "likelihood.control=average"],
    "steps": ["likelihood.steps=10", "likelihood.probes=2", "likelihood.control=gaussian"],
    "auto": ["likelihood.probes=auto", "likelihood.target_stderr=5", "likelihood.divergence=hutchpp"],
    "truncated": ["likelihood.dequantiser=truncated_normal", "likelihood.draws=2", "likelihood.bound=vlb"],
    "decoder": ["likelihood.dequantiser=decoder", "likelihood.bound=elbo", "likelihood.bound_draws=8"],
    "elbo": ["likelihood.bound=elbo", "likelihood.bound_draws=8"],
}
TERMS = ("prior", "volume", "divergence", "transform", "levels", "dequantisation", "truncation")


@pytest.mark.parametrize("way", WAYS)
def test_the_terms_add_up(cli, trained, way):
    code, out, err = cli(*WAYS[way])
    assert code == 0, err
    folder, told, columns = newest(trained)
    total = sum(told[f"bits_per_dim_{k}"] for k in TERMS)
    assert told["bits_per_dim"] == pytest.approx(total, abs=1e-9)
    nats = columns["log_prob"] + columns["dequantisation"] + columns["decoder"]
    each = np.log2(17) - (nats + told["nats"] - columns["log_prob"].mean()) / (64 * np.log(2))
    assert told["bits_per_dim"] == pytest.approx(each.mean(), abs=1e-6)
    assert told["bits_per_dim_stderr"] == pytest.approx(each.std(ddof=1) / np.sqrt(10), rel=1e-6)
    low, high = told["bits_per_dim_bootstrap"]
    assert low < told["bits_per_dim"] < high and told["n"] == 10 and "bits/dim" in out
    assert np.allclose(columns["prior"] + columns["volume"] + columns["divergence"], columns["log_prob"])
    if "bound" in " ".join(WAYS[way]):
        parts = ("prior", "diffusion", "transform", "levels", "dequantisation", "truncation")
        parts += () if way in ("truncated", "decoder") else ("reconstruction",)  # there it is the decoder, truncation
        bound = sum(told[f"bound_bits_per_dim_{k}"] for k in parts)
        assert told["bound_bits_per_dim"] == pytest.approx(bound, abs=1e-9) and told["bound_bits_per_dim_stderr"] > 0
    assert Image.open(folder / "histogram.png").width > 100 and Image.open(folder / "extremes.png").width > 100
    assert not list(folder.glob("parts*")) and not list(folder.rglob(".*.[0-9]*"))


@pytest.mark.parametrize("dequantiser", ["uniform", "decoder"])
def test_the_bound_alone_is_the_bound_beside_the_flow(cli, trained, dequantiser):
    """In the flow's place, term by term, and without its evaluations."""
    words = [f"likelihood.dequantiser={dequantiser}", "likelihood.bound_draws=8"]
    code, _, err = cli(*words, "likelihood.bound=elbo")
    assert code == 0, err
    _, beside, _ = newest(trained)
    code, out, err = cli(*words, "likelihood.by=elbo")
    assert code == 0 and "8 evaluations an example, the evidence bound" in " ".join(out.split()), err
    folder, alone, columns = newest(trained)
    assert alone["by"] == "elbo" and (columns["nfe"] == 8).all() and "bound" not in columns
    for name in ("", "_stderr", "_prior", "_diffusion", "_transform", "_levels", "_dequantisation", "_truncation"):
        assert alone[f"bits_per_dim{name}"] == pytest.approx(beside[f"bound_bits_per_dim{name}"], abs=1e-9), name
    assert Image.open(folder / "extremes.png").width > 100


def by_the_library(trained, split, seed, t_min, **options):
    """The figures of the first 10 examples of a split, and a function x -> its bound, by the library alone."""
    model, data, flat = scoresde.load(trained / "m"), scoresde.data.digits(), lik.Uniform()
    raw, pilot = (stack(getattr(data, part), range(n)) for part, n in ((split, 10), ("train", 128)))
    flow = lambda x: lik.log_likelihood(model, x, t_min=t_min, seed=seed, **options)
    found = flat.log_prob(flow, raw, data, torch.arange(10), seed)
    x, seen = (flat.draw(r, data, torch.arange(len(r)), seed, 0)[0] for r in (raw, pilot))
    return found, model, x, {"seed": seed, "density": lik.fit_plan(model, seen, t_min=t_min, seed=seed)}


def test_every_setting_reaches_the_library(cli, trained):
    """Settings that are all other than the default: the figures are those of the functions called with them."""
    words = {"split": "train", "rtol": "1e-4", "atol": "1e-3", "method": "dopri5", "probes": 3, "t_min": 0.01}
    words |= {"divergence": "gaussian", "bound": "vlb", "bound_draws": 8}
    code, _, err = cli("seed=9", *(f"likelihood.{name}={value}" for name, value in words.items()))
    assert code == 0, err
    options = {"rtol": 1e-4, "atol": 1e-3, "method": "dopri5", "probes": 3, "divergence": "gaussian"}
    found, model, x, more = by_the_library(trained, "train", 9, 0.01, **options)
    _, _, columns = newest(trained)
    for name in ("stderr", "dequantisation"):
        assert np.allclose(columns[name], getattr(found, name), atol=1e-5), name
    assert np.allclose(columns["log_prob"], found.model, atol=1e-5)
    bound = lik.vlb(model, x, scoresde.grids.log_snr(model.sde, 1000, model.sde.t_max, 0.01), 8, **more)
    assert np.allclose(columns["bound"], bound.log_prob, rtol=1e-4)
    assert np.allclose(columns["bound_stderr"], bound.stderr, rtol=1e-3)


def test_a_fixed_grid_and_a_control_reach_the_library(cli, trained):
    code, _, err = cli("likelihood.steps=8", "likelihood.control=gaussian", "likelihood.bound=elbo")
    assert code == 0, err
    data = scoresde.data.digits()
    control = lik.GaussianPart.fit(data.encode(stack(data.train, range(len(data.train)))))
    start = scoresde.VP().t_min
    found, model, x, more = by_the_library(trained, "test", 0, start, probes=1, steps=8, control=control)
    _, _, columns = newest(trained)
    assert np.allclose(columns["log_prob"], found.model, atol=1e-5) and (columns["nfe"] == 9).all()
    bound = lik.elbo(model, x, 32, t_min=start, **more)
    assert np.allclose(columns["bound"], bound.log_prob, rtol=1e-4)


def test_examples_are_kept_when_scoring_is_cut_off(cli, trained, monkeypatch):
    options = ["likelihood.probes=2", "batch_size=4", "seed=3"]
    code, _, err = cli(*options)
    assert code == 0, err
    folder, told, whole = newest(trained)
    (folder / "summary.json").unlink()
    real, calls = densities.lik.log_likelihood, []

    def watched(model, x, **options):
        calls.append(len(x))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(model, x, **options)

    monkeypatch.setattr(densities.lik, "log_likelihood", watched)
    code, _, err = cli(*options)
    assert code == 130 and "stopped" in err and not (folder / "summary.json").exists()
    (folder / "parts-test" / "8.npz").write_bytes(b"cut short")
    code, out, err = cli(*options[:1], "batch_size=5", options[2])
    assert code == 0 and "4 of 10 test examples were scored before" in out, err
    assert calls == [4, 4, 5, 1]
    again, told_again, columns = newest(trained)
    assert again == folder and told_again["nats"] == pytest.approx(told["nats"], abs=1e-4)
    for name, values in whole.items():
        assert np.allclose(columns[name], values, atol=1e-3), name


def test_two_processes_score_as_one(cli, trained):
    pytest.importorskip("torch.distributed")
    options = ["likelihood.probes=2", "batch_size=3", "seed=4", "data.other=shuffled"]
    assert cli(*options)[0] == 0
    _, told, whole = newest(trained)
    folder = newest(trained)[0]
    (folder / "summary.json").unlink()
    done = run_in_two(trained, *options, *SCORE)
    assert done.returncode == 0, done.stderr
    _, told_again, columns = newest(trained)
    assert told_again["other"] == "shuffled" and told_again["auroc"] == told["auroc"]
    for name, values in whole.items():
        assert np.allclose(columns[name], values, rtol=0, atol=1e-6), name
    assert done.stdout.count("bits/dim") == 2  # one process speaks: of the test data and of the other


@pytest.mark.parametrize("kind", ["shuffled", "uniform", "file"])
def test_other_data_beside_it(cli, trained, kind):
    if kind == "file":
        np.save(trained / "other.npy", np.full((12, 1, 8, 8), 16, dtype=np.uint8))
    code, out, err = cli(f"data.other={'other.npy' if kind == 'file' else kind}")
    assert code == 0, err
    folder, told, columns = newest(trained)
    other = np.load(folder / "likelihood_other.npz")["log_prob"]
    assert len(other) == told["other_n"] == 10 and "AUROC" in out
    assert told["auroc"] == pytest.approx((columns["log_prob"][:, None] > other).mean())
    bits = told["other_mean"] - told["bits_per_dim"]
    assert bits == pytest.approx((columns["log_prob"].mean() - other.mean()) / (64 * np.log(2)))


MISTAKES = [
    ("likelihood.dequantiser=foo", "importance"),
    ("likelihood.bound=elb", "elbo"),
    ("likelihood.draws=2", "give dequantiser=importance"),
    ("likelihood.draws=0", "from 1"),
    ("likelihood.split=val", "train, test"),
    (["likelihood.by=elbo", "likelihood.bound=elbo"], "give bound=null"),
    (["likelihood.by=elbo", "likelihood.dequantiser=variational"], "uniform, or decoder"),
    (["likelihood.by=elbo", "likelihood.bound_draws=3"], "an even number"),
    ("likelihood.target_stderr=0", "above 0"),
    ("likelihood.t_min=2", "t_min=2"),
    ("data.other=moon", "data.other='moon'"),
    ("data.other=wrong.npy", "(1, 4, 4)"),
    ("data.other=nowhere.npy", "nowhere.npy"),
]


@pytest.mark.parametrize(("override", "words"), MISTAKES, ids=[str(m[0]) for m in MISTAKES])
def test_a_mistake_is_one_line(cli, trained, override, words):
    np.save(trained / "wrong.npy", np.zeros((12, 1, 4, 4), dtype=np.uint8))
    before = {p.name for p in trained.glob("m/*")}
    code, _, err = cli(*([override] if isinstance(override, str) else override))
    assert code == 1 and err.startswith("error: ") and err.count("\n") == 1 and words in err, err
    assert {p.name for p in trained.glob("m/*")} == before


def test_parts_of_examples(tmp_path):
    store = Examples(tmp_path, 7)
    assert store.missing() == list(range(7))
    store.put(2, {"a": torch.tensor([2.0, 3.0])})
    store.put(5, {"a": torch.tensor([5.0, 6.0])})
    (tmp_path / "4.npz").write_bytes(b"PK")
    store.put(6, {"a": torch.tensor([0.0, 0.0])})  # beyond the end: of another n
    assert store.missing() == [0, 1, 4]
    with pytest.raises(RuntimeError, match="3 of 7"):
        store.all()
    for start, values in ((0, [0.0, 1.0]), (4, [4.0])):
        store.put(start, {"a": torch.tensor(values)})
    assert store.all()["a"].tolist() == [0, 1, 2, 3, 4, 5, 6]
    store.remove()
    assert not tmp_path.exists()
    assert batches([0, 1, 2, 3, 7, 8, 11], 3) == [range(3), range(3, 4), range(7, 9), range(11, 12)]
