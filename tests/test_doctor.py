"""The doctor's figures are those of exact solutions; planted faults are named, and nothing is said of what is well."""

import json
import math

import pytest
import torch
from commands import TINY, command
from doctor_cases import FAULTS, HEALTHY, changed, data_of, ring
from problems import SDES, each_sde, mixture

import scoresde
from scoresde import InputError, doctor
from scoresde.data import Data, Tensors
from scoresde.denoiser import Denoiser, Moments, Wrapped
from scoresde.doctor import derivatives, ends, fit, strength, training, values
from scoresde.doctor.finding import judged, ordered, paired
from scoresde.doctor.material import LEVELS, Gaussian, Material, Points
from scoresde.exact import GaussianMixture
from scoresde.guidance import Guided
from scoresde.spaces import Affine, Bins

EXACT = ("sigma_max too small", "t_min too large", "labels shuffled", "channels swapped", "guidance far too strong")


class Times(Wrapped):
    """A denoiser whose x_0, eps or v is k times what it should be."""

    def __init__(self, denoiser: Denoiser, k: float, of: str):
        super().__init__(denoiser)
        self.k, self.of = k, of

    def forward(self, x, t, cond=None):
        a, s = map(float, self.sde.marginal(t))
        n2 = a * a + s * s
        skip = {"x_0": 0.0, "eps": 1 / a, "v": a / n2}[self.of]
        return skip * x + self.k * (self.denoiser(x, t, cond) - skip * x)


def ill(found):
    return [str(f) for f in found if f.ill]


def named(found, check):
    return next(f for f in found if f.check == check)


@each_sde
def test_the_closed_forms_are_those_of_exact_mixtures(sde):
    x = torch.randn(40, 2, 3, dtype=torch.float64)
    blur, t = 0.05, float(sde.time(0.3))
    boxes = GaussianMixture(torch.ones(40), x, blur, sde)
    y = sde.perturb(x, t, torch.randn_like(x))
    assert (Points(x, sde, blur)(y, t) - boxes(y, t)).abs().max() < 1e-6
    assert (Points(x, sde)(y, t) - scoresde.exact.Empirical(x, sde)(y, t)).abs().max() < 1e-9
    one = GaussianMixture(torch.ones(1), x[:1], x[:1].abs() + 0.1, sde)
    assert (Gaussian(one.moments, sde)(y, t) - one(y, t)).abs().max() < 1e-6


@each_sde
def test_a_posterior_mean_is_consistent_in_all_its_derivatives(sde):
    model = mixture(sde, (2,))
    material = Material(sde, data_of(mixture(sde, (2,), dtype=torch.float32), 900, 90), n=90)
    answers = material.answers(model, material.test)
    calibrated, curl = derivatives.tweedie(material, model, material.error(answers, material.test))
    assert calibrated.state == curl.state == "well" and max(curl.figures["curl"]) < 1e-2
    assert max(derivatives.fokker_planck(material, model).figures["residual"]) < 0.02
    wide = Material(sde, data_of(mixture(sde, (1, 3, 3), dtype=torch.float32), 900, 90))
    exact = mixture(sde, (1, 3, 3))
    assert max(derivatives.fokker_planck(wide, exact).figures["residual"]) < 0.3  # by two probes


def test_a_field_that_is_no_gradient_has_curl_and_breaks_the_equation():
    class Turned(Wrapped):
        def forward(self, x, t, cond=None):
            return self.denoiser(x, t) + 2 * torch.stack([-x[:, 1], x[:, 0]], 1)

    model = ring(SDES["vp"])
    found = doctor.examine(Turned(model), data_of(model))
    assert named(found, "curl").state == "suspect" and named(found, "score").state == "wrong"


@pytest.mark.parametrize("of", ["x_0", "eps", "v"])
@pytest.mark.parametrize("k", [0.8, 1.25])
def test_the_factor_of_a_scaled_output_is_found(of, k):
    model = ring(SDES["ve"], (3, 4, 4), std=0.5)
    material = Material(model.sde, data_of(model))
    scaled = Times(model, k, of)
    answers = {name: material.answers(scaled, getattr(material, name)) for name in ("test", "train")}
    found = fit.scale(material, scaled, answers)
    assert found.state == "wrong" and f"the network's {of} is {k:.2f}"[:-1] in found.words, found
    assert found.figures["slope"] == pytest.approx(1 / k, rel=0.02)


@pytest.mark.parametrize("fault", EXACT)
def test_a_fault_of_an_exact_model_is_named_first(fault, tmp_path):
    plant, check, words = FAULTS[fault]
    found = plant(tmp_path)
    assert (found[0].check, found[0].state) == (check, "wrong") and words in found[0].words, ill(found)
    assert all(f.state == "suspect" for f in found[1:] if f.ill and f.check in ("score", "Tweedie's covariance"))


@pytest.mark.slow
@pytest.mark.parametrize("fault", [name for name in FAULTS if name not in EXACT])
def test_a_fault_of_a_trained_model_is_named_first(fault, tmp_path):
    plant, check, words = FAULTS[fault]
    found = plant(tmp_path)
    assert (found[0].check, found[0].state) == (check, "wrong") and words in found[0].words, ill(found)


def test_nothing_is_said_of_an_exact_model(tmp_path):
    assert not ill(HEALTHY["exact mixture, guided"](tmp_path))
    for name, shape, n, test in (("linear", (2,), 60, 12), ("edm", (5,), 900, 90), ("quadratic", (1,), 900, 90)):
        model = mixture(SDES[name], shape, components=5, dtype=torch.float32)
        assert not ill(doctor.examine(model, data_of(model, n, test)))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in HEALTHY if not name.startswith("exact")])
def test_nothing_is_said_of_a_healthy_model(name, tmp_path):
    assert not ill(HEALTHY[name](tmp_path))


def test_the_optimum_of_its_training_items_is_a_memory():
    model = ring(SDES["vp"], (16,), k=6, std=0.7)
    x = model.sample(440, seed=5)
    data = Data("few", Tensors(x[:40]), Tensors(x[40:]), Affine(1.0, 0.0))
    found = doctor.examine(scoresde.exact.Empirical(x[:40], model.sde), data)
    assert found[0].check == "memorisation" and found[0].state == "wrong", ill(found)
    assert found[0].figures["nearness"]["auc"] == 1.0


def test_the_numbers_that_are_given_are_enough():
    model = ring(scoresde.VE(sigma_max=0.5, sigma_min=0.4))
    found = doctor.before(model.sde, data_of(model))
    assert [f.check for f in found if f.state == "wrong"] == ["noise at the end", "noise at t_min"]
    typed = dict(
        word.removeprefix("sde.").split("=") for f in found[:2] for word in f.override.split() if "sde" in word
    )
    better = scoresde.VE(**{k: float(v) for k, v in typed.items()})
    assert set(typed) == {"sigma_max", "sigma_min"} and not ill(doctor.before(better, data_of(model)))
    for name, sde in (("beta_max", scoresde.VP(beta_max=1.0)), ("t_min", scoresde.VP(t_min=0.3))):
        (first, *_) = doctor.before(sde, data_of(model))
        value = float(first.override.split()[0].removeprefix(f"sde.{name}="))
        assert first.state != "well" and not ill(doctor.before(type(sde)(**{name: value}), data_of(model)))


def test_the_mismatch_of_the_prior_is_that_of_gaussians():
    covariance = torch.tensor([[2.0, 0.4], [0.4, 0.5]], dtype=torch.float64)
    mean = torch.tensor([0.3, -1.0], dtype=torch.float64)
    law = torch.distributions.MultivariateNormal(mean, covariance)
    data = Data("gauss", Tensors(law.sample((4000,)).float()), Tensors(law.sample((50,)).float()), Affine(1.0, 0.0))
    material, r = Material(scoresde.VE(), data), 1.7
    material.moments = Moments.of_covariance(mean, covariance)
    wide = torch.distributions.MultivariateNormal(torch.zeros(2, dtype=torch.float64), r**2 * torch.eye(2).double())
    noisy = torch.distributions.MultivariateNormal(mean, covariance + r**2 * torch.eye(2).double())
    exact = float(torch.distributions.kl_divergence(noisy, wide))
    assert ends._mismatch(material, r) == pytest.approx(exact, rel=1e-6)


def test_labels_that_are_renumbered_are_named_with_their_numbers():
    model = ring(SDES["vp"], labels=True)
    order = torch.tensor([2, 0, 1, 4, 3, 5, 6, 7])
    found = doctor.examine(model, changed(data_of(model), label=lambda y: order.argsort()[y]))
    assert found[0].check == "condition label" and found[0].figures["order"] == order.tolist(), ill(found)
    assert "the data's class 0 is its 2, 1 is its 0, 2 is its 1, 3 is its 4, 4 is its 3" in found[0].words


def test_a_model_that_ignores_its_label_and_labels_that_say_nothing():
    class Deaf(Wrapped):
        def forward(self, x, t, cond=None):
            return self.denoiser(x, t)

    model = ring(SDES["vp"], labels=True)
    data = data_of(model)
    (first, *_) = doctor.examine(Deaf(model), data)
    assert first.state == "wrong" and "the model ignores label" in first.words
    mixed = changed(data, label=lambda y: y[torch.randperm(len(y))])
    found = named(doctor.examine(Deaf(model), mixed), "condition label")
    assert found.state == "suspect" and "are they shuffled" in found.words
    assert "are they shuffled" in named(doctor.before(model.sde, mixed), "condition label").words
    assert not ill(doctor.before(model.sde, data))


@pytest.mark.parametrize(("scale", "shift"), [(127.5, 127.5), (0.5, 0.5), (1.0, 0.8), (3.0, 0.0)])
def test_another_range_is_told_with_the_map_back(scale, shift):
    model = ring(SDES["vp"], (1, 4, 4), std=0.5)
    data = data_of(model, 900, 90)
    other = Data("other", data.train, data.test, Affine(scale, shift))
    found = named(doctor.examine(model, other), "range of the data")
    assert found.state == "wrong" and found.figures["a"] == pytest.approx(1 / scale, rel=0.02)
    assert found.figures["b"] == pytest.approx(-shift / scale, abs=0.03)


def test_levels_that_do_not_occur_are_told():
    data = Data(
        "levels", *(Tensors(torch.randint(0, 17, (n, 1, 4, 4), dtype=torch.uint8)) for n in (90, 30)), Bins(256)
    )
    found = values.values(Material(scoresde.VP(), data))
    assert found.state == "suspect" and "0 to 16, of 256 levels" in found.words and found.override == "data.levels=17"


def test_guidance_is_measured_by_its_scale():
    model = ring(SDES["vp"], labels=True, std=0.4)
    material = Material(model.sde, data_of(model), ["label"])
    strong = strength.strength(material, Guided(model, 40.0))
    lower = float(strong.override.removeprefix("guidance.scale="))
    assert strong.state == "wrong" and lower < 20
    assert strength.strength(material, Guided(model, lower)).state == "well"
    assert strength.strength(material, Guided(model, lambda t: 9.0)).state == "not looked at"


def test_a_curve_that_still_falls_is_a_training_cut_short_and_a_flat_or_noisy_one_is_not():
    steps = range(10, 1001, 10)
    noise = torch.randn(100, generator=torch.Generator().manual_seed(0)).tolist()
    curve = lambda name, power, spread: [
        {"step": s, name: s**-power * (1 + spread * e)} for s, e in zip(steps, noise, strict=True)
    ]
    for name, power, spread, state in (
        ("validation", 0.5, 0.01, "wrong"),
        ("validation", 0.15, 0.002, "suspect"),
        ("validation", 0.02, 0.002, "well"),
        ("loss", 0.5, 0.01, "suspect"),
        ("loss", 0.1, 0.1, "well"),
    ):
        found = training.ended(doctor.Course(1000, 1000, curve(name, power, spread)))
        assert found.state == state and found.figures["fall"] == pytest.approx(1 - 1.5**-power, abs=0.1), found
    few = [
        {"step": s, "validation": v} for s, v in ((200, 0.36), (400, 0.343), (600, 0.334), (800, 0.33), (1000, 0.3285))
    ]
    assert training.ended(doctor.Course(1000, 1000, few)).state == "well"
    assert training.ended(doctor.Course(1000, 1000)).state == "well" and training.ended(None).state == "not looked at"


def test_findings_are_ordered_by_what_explains_what():
    made = lambda check, state: doctor.Finding(check, state, "")
    found = ordered([made("curl", "well"), made("score", "wrong"), made("data", "wrong")], ["data"], ["score"])
    assert [(f.check, f.state) for f in found] == [("data", "wrong"), ("score", "suspect"), ("curl", "well")]
    assert "data" in found[1].change
    assert judged(0.2, 0.1, 0.3, 9) == "suspect" and judged(0.5, 0.1, 0.3, 4) == "well"
    mean, z = paired(torch.tensor([1.0, 1.0]))
    assert (mean, z) == (1.0, math.inf) and paired(torch.zeros(3))[1] == 0


def test_what_cannot_be_examined_is_refused_in_a_line():
    model = ring(SDES["vp"])
    with pytest.raises(InputError, match="an examination takes 8"):
        doctor.examine(model, torch.randn(6, 2))
    assert len(named(doctor.examine(model, data_of(model, 100, 3)), "score").figures["levels"]) == LEVELS


@pytest.fixture
def cli(monkeypatch, capfd, tmp_path):
    return lambda *overrides: command(monkeypatch, capfd, tmp_path, *overrides)


def test_the_task(cli, tmp_path):
    """Before a training, of a training that is cut short, and of data that is none of the model's."""
    code, out, err = cli("data=digits", "sde=ve", "sde.sigma_max=1", "task=doctor", "folder=f")
    assert code == 0 and "sigma_max is too small" in out and "type: sde.sigma_max=" in out, err
    assert cli(*TINY, "task=train", "folder=f")[0] == 0
    code, out, err = cli("task=doctor", "folder=f", "train.steps=50", "task.n=64")
    assert code == 0 and "the weights have seen 4 of 50 steps" in out, err
    (folder,) = (tmp_path / "f").glob("doctor-model-*")
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["wrong"] >= 1 and summary["findings"][0]["check"] == "end of the training"
    assert {f["state"] for f in summary["findings"]} <= {"wrong", "suspect", "well", "not looked at"}
    assert (folder / "doctor.png").exists()
    x = torch.rand(64, 1, 8, 8)
    torch.save(x, tmp_path / "x.pt")
    code, out, err = cli(
        "task=doctor", "task.n=32", "folder=f", "data=array", "data.root=x.pt", "data.standardize=null"
    )
    assert code == 0 and "another range than the model was trained with" in out, err
    torch.save(torch.rand(64, 1, 6, 6), tmp_path / "y.pt")
    code, _, err = cli("task=doctor", "task.n=32", "folder=f", "data=array", "data.root=y.pt")
    assert code == 1 and err.count("\n") == 1 and "(1, 6, 6)" in err and "(1, 8, 8)" in err
    code, _, err = cli("task=doctor", "folder=f", "task.n=0")
    assert code == 1 and "task.n=0" in err and err.count("\n") == 1
