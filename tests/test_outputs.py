"""What a command leaves for other programs and for people: numbered images, tables by name, results in a line."""

import csv
import json
import math

import numpy as np
import pytest
import torch
from commands import FEW, TINY, command
from PIL import Image
from problems import mixture

import scoresde
from scoresde import likelihood as lik
from scoresde import objectives as objective
from scoresde.config import build
from scoresde.loss import DenoisingLoss
from scoresde.pictures.pixels import check_files, save_files
from scoresde.sampling import round_trip
from scoresde.sde import VE, VP
from scoresde.tracking.tables import write_csv

TOY = ["data=toy", "data.n=100", "data.test=20", "net.width=16", "train.steps=4", "train.batch_size=16", "n=30"]
SCORE = ["likelihood.n=5", "likelihood.rtol=0.1", "likelihood.atol=0.1"]


@pytest.fixture
def cli(monkeypatch, capfd, tmp_path):
    return lambda *overrides: command(monkeypatch, capfd, tmp_path, *overrides)


def rows(path):
    return list(csv.reader(path.read_text().splitlines()))


# -- samples as files -------------------------------------------------------------------------------------------------


def test_samples_as_numbered_images(cli, tmp_path):
    code, _, err = cli(*TINY, *FEW, "task=train")
    assert code == 0, err
    code, _, err = cli(*TINY, *FEW, "task=sample", "png=true")
    assert code == 0, err
    (folder,) = tmp_path.glob("runs/*/sample-*")
    samples = np.load(folder / "samples.npy")
    files = sorted((folder / "samples").iterdir())
    assert [f.name for f in files] == [f"{i:04}.png" for i in range(5)]
    for file, x in zip(files, samples, strict=True):
        with Image.open(file) as image:
            assert image.mode == "L" and np.array_equal(np.asarray(image), np.round(x[0] * (255 / 16)))


def test_without_asking_there_are_none(cli, tmp_path):
    assert cli(*TINY, *FEW, "task=train")[0] == 0 and cli(*TINY, *FEW, "task=sample")[0] == 0
    assert not [*tmp_path.glob("runs/*/sample-*/samples")]


@pytest.mark.parametrize(
    ("shape", "levels", "mode", "white"),
    [((1, 3, 5), 256, "L", 255), ((3, 3, 5), 256, "RGB", 255), ((1, 3, 5), 1024, "I;16", 65535)],
)
def test_image_files_hold_the_values(tmp_path, shape, levels, mode, white):
    x = torch.randint(levels, (2, *shape))
    save_files(tmp_path / "samples", x, levels)
    for i in range(2):
        with Image.open(tmp_path / "samples" / f"000{i}.png") as image:
            assert image.mode == mode and image.size == (5, 3)
            back = np.asarray(image).reshape(3, 5, shape[0]).transpose(2, 0, 1)
        assert np.array_equal(np.round(back * ((levels - 1) / white)), x[i].numpy())


def test_many_files_are_in_order(tmp_path):
    save_files(tmp_path, torch.zeros(10_001, 1, 1, 2, dtype=torch.uint8), 256)
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names[0] == "00000.png" and names[-1] == "10000.png" and len(names) == 10_001


@pytest.mark.parametrize(
    ("shape", "levels"),
    [((2,), None), ((2, 16), 256), ((2, 8, 8), 256), ((1, 4, 8, 8), 256), ((1, 8, 8), None), ((3, 8, 8), 300)],
)
def test_what_is_no_image_is_refused(shape, levels):
    with pytest.raises(scoresde.InputError, match=r"png=true is for images.*samples.npy"):
        check_files(shape, levels)


@pytest.mark.parametrize(
    ("override", "words"), [("png=true", "png=true is for images"), ("png=maybe", "png='maybe': give true or false")]
)
def test_a_mistake_is_told_before_any_sample_is_drawn(cli, tmp_path, override, words):
    assert cli(*TOY, "task=train")[0] == 0
    code, _, err = cli(*TOY, "task=sample", *FEW, override)
    assert code == 1 and err.count("\n") == 1 and words in err and not [*tmp_path.glob("runs/*/sample-*")], err
    code, _, err = cli(*TOY, "task=full", *FEW, override, "out=other")
    assert code == 1 and words in err and not [*(tmp_path / "other").rglob("*.*")], err  # before the training


# -- tables -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def named(monkeypatch):
    """Data that knows the names of its columns, or of its files."""
    real = build.build_data

    def data(*given, **options):
        found = real(*given, **options)
        object.__setattr__(found, "columns", ("speed", "=height"))
        found.test.names = [f"b/{i}.png" for i in range(len(found.test))]
        found.test.names[1] = "=1+1.png"
        return found

    monkeypatch.setattr(build, "build_data", data)


def test_a_table_with_names_is_written_with_them(cli, tmp_path, named):
    assert cli(*TOY, "task=train")[0] == 0
    code, _, err = cli(*TOY, "task=sample", *FEW)
    assert code == 0, err
    (folder,) = tmp_path.glob("runs/*/sample-*")
    header, *values = rows(folder / "samples.csv")
    assert header == ["speed", "'=height"]  # no spreadsheet takes it for a formula
    assert np.array_equal(np.array(values, dtype=np.float32), np.load(folder / "samples.npy"))


def test_likelihoods_by_file_name(cli, tmp_path, named):
    code, _, err = cli(*TINY, *FEW, "task=full", *SCORE, "likelihood.probes=2")
    assert code == 0, err
    (folder,) = tmp_path.glob("runs/*/likelihood-*")
    header, *values = rows(folder / "likelihood.csv")
    assert header == ["name", "bits_per_dim", "stderr"]
    assert [row[0] for row in values] == ["b/0.png", "'=1+1.png", "b/2.png", "b/3.png", "b/4.png"]
    told = json.loads((folder / "summary.json").read_text())
    assert np.mean([float(row[1]) for row in values]) == pytest.approx(told["bits_per_dim"], abs=1e-9)
    with np.load(folder / "likelihood.npz") as file:
        assert [float(row[2]) for row in values] == pytest.approx(file["stderr"] / (64 * math.log(2)))


def test_likelihoods_in_nats_by_name(cli, tmp_path, named):
    code, _, err = cli(*TOY, *FEW, "task=full", *SCORE)
    assert code == 0, err
    (folder,) = tmp_path.glob("runs/*/likelihood-*")
    header, *values = rows(folder / "likelihood.csv")
    assert header == ["name", "nats", "stderr"] and [row[2] for row in values] == [""] * 5  # one probe knows no error
    told = json.loads((folder / "summary.json").read_text())
    assert np.mean([float(row[1]) for row in values]) == pytest.approx(told["nats"], abs=1e-6)


def test_data_without_names_has_no_tables(cli, tmp_path):
    assert cli(*TOY, *FEW, "task=full", *SCORE)[0] == 0
    assert not [*tmp_path.rglob("*.csv")]


def test_cells_are_what_they_were(tmp_path):
    write_csv(tmp_path / "x.csv", ["a,b", "@c"], [[1.5, None], ["-3", '-2+3"'], ["\tx", np.float32(0.1)]])
    assert rows(tmp_path / "x.csv") == [["a,b", "'@c"], ["1.5", ""], ["-3", "'-2+3\""], ["x", "0.1"]]


def test_samples_are_drawn_without_the_data(cli, tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32))
    array = ["data=array", "data.root=x.npy", "net=mlp", *TOY[3:]]
    assert cli(*array, "task=train")[0] == 0
    (tmp_path / "x.npy").unlink()
    code, out, err = cli(*array, "task=sample", *FEW)
    assert code == 0 and "the pictures are without the data: data.root=x.npy" in out, err
    (folder,) = tmp_path.glob("runs/*/sample-*")
    assert (folder / "summary.json").exists() and (folder / "samples.png").exists()


# -- results and levels -----------------------------------------------------------------------------------------------


def test_a_result_is_a_line():
    model = mixture(VP())
    x = model.sample(20, seed=1)
    found = scoresde.log_likelihood(model, x, rtol=1e-3, atol=1e-3)
    mean, stderr = float(found.log_prob.mean()), float(found.log_prob.std()) / math.sqrt(20)
    cost = f"{float(found.nfe.double().mean()):.0f} evaluations a row"
    said = f"Likelihood(20 rows, mean log_prob {mean:.4g} +- {stderr:.2g}, {cost})"
    assert repr(found) == str(found) == said
    one = scoresde.log_likelihood(model, x[:1], rtol=1e-3, atol=1e-3)
    assert repr(one).startswith(f"Likelihood(1 row, mean log_prob {float(one.log_prob):.4g}, ")
    bound, trip = lik.elbo(model, x, 4), round_trip(model, x, 1e-3, 1e-3)
    data = scoresde.data.digits()
    raw = scoresde.data.stack(data.test, range(3))
    discrete = lik.Uniform().log_prob(lambda y: -y.flatten(1).square().sum(1), raw, data, torch.arange(3))
    for result, start in (
        (bound, "Bound(20 rows, mean log_prob "),
        (trip, "RoundTrip(20 rows, mean error "),
        (discrete, "Discrete(3 rows, mean log_prob "),
    ):
        assert repr(result).startswith(start) and "tensor" not in repr(result) and len(repr(result)) < 100
    assert repr(bound).endswith(" 8 evaluations a row)")


def test_a_plan_says_shapes():
    model = mixture(VP())
    x = model.sample(64, seed=1)
    assert repr(lik.GaussianPart.fit(x)) == "GaussianPart(cov=(2, 2), strength=1.0)"
    for held in (lik.average_jacobian(model, x[:4]), lik.fit_plan(model, x)):
        assert "tensor" not in repr(held) and len(repr(held)) < 100


@pytest.mark.parametrize("sde", [VP(), VE(sigma_max=20.0)], ids=["VP", "VE"])
@pytest.mark.parametrize("items", [3, 100])
def test_noise_levels_are_those_of_the_bins(sde, items):
    """Each validation time lies in its bin's range; of few items there are as many bins."""
    data = scoresde.data.from_tensor(torch.randn(items + 50, 2), test=items)
    loss = DenoisingLoss()
    watch = objective.Validation(data, loss, mixture(sde), torch.device("cpu"))
    figures = watch(mixture(sde))[1]
    levels = objective.noise_levels(loss, sde, len(figures))
    assert len(figures) == min(8, items) and levels == sorted(levels)
    assert levels[0] == pytest.approx(float(torch.exp(-sde.log_snr(sde.t_min) / 2)), rel=1e-6)
    ratio = torch.exp(-sde.log_snr(watch.t) / 2)
    for b in range(len(figures)):
        own = ratio[watch.bins == b]
        assert len(own) and (own >= levels[b]).all() and (own <= levels[b + 1]).all()
