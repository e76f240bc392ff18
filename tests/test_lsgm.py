"""LSGM: with exact parts its bound is log p less the known gap; its estimators, its turns, its folders."""

import copy
import json
import math
import shutil

import numpy as np
import pytest
import torch
from commands import FEW, Quiet, command
from problems import Stop, each_sde, refuses, stop_at
from test_latent_bound import GAUSS, linear, log_density, log_posterior, nodes

import scoresde
from scoresde.data import collate, stack
from scoresde.exact import GaussianMixture
from scoresde.latent import bound
from scoresde.nets import MLP, Codebook, Codec, Gaussian, Mixed
from scoresde.objectives import LSGM
from scoresde.objectives.joint.parts import loss_of
from scoresde.sde import VP

FAR = VP(beta_max=25.0)  # whose p_T is N(0, I) to 4e-6
LINE = (
    torch.tensor([0.3, 0.7]).double(),
    torch.tensor([[1.2], [-0.5]]).double(),
    torch.tensor([[0.4], [0.8]]).double(),
)


def joint(law, latent, spread=1.0, weighting="ll"):
    """The objective of a linear autoencoder and the exact denoiser of its latents, one item, and the autoencoder."""
    codec, data = linear(latent, spread)
    return LSGM(codec.bare, GaussianMixture(*law, FAR), data, weighting), stack(data.test, range(1, 2)), codec


def quadrature(objective, raw, latent, n_z, n_eps):
    """The mean of the bound of one item over z, the noise and its level, by Gauss-Hermite and midpoints in each bin."""
    (eps_z, of_z), (eps, of_eps) = nodes(n_z, latent), nodes(n_eps, latent)
    i, j = (a.flatten() for a in torch.meshgrid(torch.arange(len(eps_z)), torch.arange(len(eps)), indexing="ij"))
    high, low = (-FAR.log_snr(torch.tensor([FAR.t_max, FAR.t_min]).double()) / 2).tolist()
    c = low + (high - low) * (torch.arange(1024).double() + 0.5) / 1024  # two in each bin of the times' density
    t = FAR.time(-2 * c)
    of_t = objective.bound.times.log_density(FAR, t, FAR.t_min).exp() * (high - low) / 1024
    total = 0.0
    with torch.no_grad():
        for k in range(len(i)):
            drawn = (eps_z[i[k]], eps[j[k]])
            at = (objective.product, *(part.double().expand(len(t), -1) for part in (raw, *drawn)), t)
            total += float(objective.terms(*at).total @ of_t * of_z[i[k]] * of_eps[j[k]])
    return total


def test_the_bound_of_exact_parts_is_log_p_less_the_known_gap():
    """Of a Gaussian the squared errors are quadratic: three nodes are exact, and the gap is in closed form."""
    for spread in (1.0, 1.3):
        objective, raw, codec = joint(GAUSS, 2, spread)
        log_p = float(log_density(codec, raw, *GAUSS))
        value = quadrature(objective, raw, 2, 3, 3)
        assert -value == pytest.approx(log_p - (spread**2 - 1 - 2 * math.log(spread)), abs=1e-4)


def test_the_bound_of_a_mixture_of_latents_is_log_p_less_the_divergence_of_the_posteriors():
    objective, raw, codec = joint(LINE, 1)
    value = quadrature(objective, raw, 1, 16, 24)
    mean, log_std = codec.posterior(codec.space(raw.double()))
    eps, weights = nodes(40, 1)
    z = mean + log_std.exp() * eps
    q = torch.distributions.Normal(mean, log_std.exp()).log_prob(z).sum(1)
    gap = float(weights @ (q - log_posterior(codec, raw, z, LINE)))
    assert gap > 0.01 and -value == pytest.approx(float(log_density(codec, raw, *LINE)) - gap, abs=1e-4)


@pytest.mark.parametrize("weighting", ["ll", "un"])
def test_a_step_is_an_unbiased_estimate_of_the_bound(weighting):
    objective, raw, _ = joint(LINE, 1, weighting=weighting)
    whole = quadrature(objective, raw, 1, 12, 16)
    torch.manual_seed(0)
    n = 20_000
    batch = scoresde.data.Batch(raw.expand(n, -1), {})
    with torch.no_grad():
        drawn = objective.draw(batch, n, slice(0, n), turn := objective.turns[0])
        values = objective(drawn, turn) * objective.numbers
    assert abs(float(values.mean()) - whole) < 4 * float(values.std()) / math.sqrt(n)


@pytest.mark.parametrize(("weighting", "weight"), [("ll", "g2/s2"), ("un", "1"), ("re", "g2")])
def test_each_weighting_is_its_own_and_its_times_cost_nothing_where_latents_are_normal(weighting, weight):
    """Of N(0, I) the error of eps is alpha^2: the mean is the integral, and what varies is by the tenth of the times
    that are drawn evenly."""
    sde, model = VP(), GaussianMixture(torch.ones(1), torch.zeros(1, 400), 1.0, VP())
    loss = loss_of(weighting)
    t = sde.t_min + (1 - sde.t_min) * (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    (alpha, sigma), g2 = sde.marginal(t), sde.drift_diffusion(t)[1]
    want = float((alpha**2 * {"g2/s2": g2 / sigma**2, "1": torch.ones_like(t), "g2": g2}[weight]).mean())
    torch.manual_seed(0)
    n = 4000
    z, at = model.sample(n), loss.sample_times(sde, n)
    values = loss.at(model, z, at, torch.randn(n, 400))
    assert float(values.mean()) == pytest.approx(want, rel=0.02) and float(values.std()) < 0.4 * want


@each_sde
def test_a_mixed_network_that_says_nothing_is_the_noise_of_a_normal_distribution(sde):
    net = Mixed((2, 3, 3), MLP((2, 3, 3), width=8), start=1e-9)
    model = scoresde.Preconditioned(net, sde, "eps").double()
    exact = GaussianMixture(torch.ones(1), torch.zeros(1, 2, 3, 3).double(), 1.0, sde)
    t = torch.linspace(max(sde.t_min, 1e-3), 0.9 * sde.t_max, 6).double()
    x = exact.sample(6) * 2
    torch.testing.assert_close(model.eps(x, t), exact.eps(x, t), atol=1e-4, rtol=1e-4)
    with torch.no_grad():
        net.mixing.fill_(30.0)
        c = torch.zeros(6).double()
        torch.testing.assert_close(net(x, c), net.net(x, c))
    refuses("start=0.0: give a share", call=lambda: Mixed((2,), MLP((2,)), start=0.0))


def parts(seed=1, **settings):
    torch.manual_seed(seed)
    net = Codec((1, 8, 8), 2, 4, channels=8, mults=(1, 2))
    coder = scoresde.Autoencoder(net, Gaussian(2), likelihood=True)
    shape = coder.latent_shape
    return coder, scoresde.Preconditioned(Mixed(shape, MLP(shape, width=16, blocks=1)), VP(), "eps")


@pytest.mark.parametrize("weighting", ["ll", "un"])
def test_a_training_that_was_stopped_goes_on_to_the_bit_and_its_folder_is_a_model_of_latents(weighting, tmp_path):
    data = scoresde.data.digits()
    settings = {"steps": 4, "batch_size": 8, "validate_every": 2, "checkpoint_every": 2, "log_every": 1}

    def trained(folder, report=None):
        objective = LSGM(*parts(), data, weighting)
        return scoresde.fit(objective, data, scoresde.Training(**settings), folder, report=report)

    whole = trained(tmp_path / "whole")
    with pytest.raises(Stop):
        trained(tmp_path / "parts", stop_at(3))
    refuses("still trained together", call=lambda: scoresde.load(tmp_path / "parts"))
    found = trained(tmp_path / "parts")
    assert found.weights == whole.weights and found.codec.weights == whole.codec.weights
    again = trained(tmp_path / "parts")  # finished: it is loaded
    moved = shutil.copytree(tmp_path / "parts", tmp_path / "moved")
    for model in (again, scoresde.load(moved)):
        assert (model.weights, model.codec.weights) == (whole.weights, whole.codec.weights)
        assert torch.equal(model.generate(2), whole.generate(2)) and model.outer.levels == 17
    last = json.loads((tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()[-1])
    total = last["reconstruction"] + last["cross_entropy"] - last["entropy"]
    assert last["bits_per_dim"] == pytest.approx(total / 64 / math.log(2))
    raw = stack(data.test, range(300))  # what a training says of held-out items is what the model says of them
    told = bound(whole, raw, "elbo", n=8)
    error = float(told.log_prob.std()) / math.sqrt(300)
    assert abs(float(-told.log_prob.mean()) - total) < 3 * error
    shutil.rmtree(moved / "codec")
    refuses("has no codec/", call=lambda: scoresde.load(moved))


def test_who_moves_by_what():
    data = scoresde.data.digits()
    coder, denoiser = parts()
    objective = LSGM(coder, denoiser, data, "re")
    assert objective.turns == ("codec", "score") and LSGM(*parts(), data).turns == ("",)
    batch, own = collate(data.train, range(6), []), {id(p) for p in coder.parameters()}
    assert {id(p) for p in objective.trained("codec")} == own
    assert {id(p) for p in objective.trained("score")} == {id(p) for p in denoiser.parameters()}
    objective(objective.draw(batch, 6, slice(0, 6), "score"), "score").sum().backward()
    assert all(p.grad is None for p in coder.parameters())
    assert any(float(p.grad.abs().sum()) > 0 for p in denoiser.parameters())
    objective.zero_grad()
    objective(objective.draw(batch, 6, slice(0, 6), "codec"), "codec").sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in coder.parameters())
    torch.manual_seed(5)
    whole = objective.draw(collate(data.train, range(6), []), 6, slice(0, 6), "codec")
    torch.manual_seed(5)
    some = objective.draw(collate(data.train, [1, 3, 5], []), 6, slice(1, None, 2), "codec")
    for a, b in zip(whole, some, strict=True):
        assert torch.equal(a[1::2], b)


def test_what_cannot_be_trained_together_is_one_line():
    data = scoresde.data.digits()
    coder, denoiser = parts()
    refuses("is of items (1, 8, 8)", call=lambda: LSGM(coder, denoiser, scoresde.data.from_tensor(torch.randn(9, 2))))
    plain = scoresde.Autoencoder(copy.deepcopy(coder.net), Gaussian(2))
    refuses("has no likelihood: give one", call=lambda: LSGM(plain, denoiser, data))
    book = scoresde.Autoencoder(Codec((1, 8, 8), 2, 2, channels=8, mults=(1, 2)), Codebook(2, 8), likelihood=True)
    refuses("is of codes: give one", call=lambda: LSGM(book, denoiser, data))
    other = scoresde.Preconditioned(denoiser.net, VP(), "v")
    refuses('give the denoiser rule="eps"', call=lambda: LSGM(coder, other, data))


TINY = [
    *("net.net.channels=8", "net.net.attention=0", "net.net.mults=[1]", "task.channels=8", "train.steps=2", "n=3"),
    *("train.batch_size=8", "train.warmup=1"),
]


def test_the_commands_train_sample_and_score(tmp_path, monkeypatch, capfd):
    said = ["experiment=lsgm_digits", "task.folder=F", *TINY]
    assert command(monkeypatch, Quiet(), tmp_path, *said)[0] == 0
    assert (tmp_path / "F" / "reconstructions.png").exists()
    code, out, _ = command(monkeypatch, capfd, tmp_path, *said)
    assert code == 0 and "trained already" in out
    code, _, err = command(monkeypatch, capfd, tmp_path, *said, "task.weighting=un")
    assert code and "lsgm is 'll' there and 'un' here" in err
    (tmp_path / "F").rename(tmp_path / "G")  # its autoencoder is within
    assert command(monkeypatch, capfd, tmp_path, "folder=G", "n=3", "task=sample", *FEW, "sampler=ddim")[0] == 0
    (place,) = tmp_path.glob("G/sample-*")
    assert np.load(place / "samples.npy").shape == (3, 1, 8, 8)
    few = ["likelihood.n=4", "likelihood.bound_draws=2", "likelihood.by=elbo"]
    code, out, err = command(monkeypatch, capfd, tmp_path, "folder=G", "task=likelihood", *few)
    assert code == 0 and "at most" in out, err
    (found,) = tmp_path.glob("G/likelihood-*/summary.json")
    known = json.loads(found.read_text())
    terms = [known[f"bits_per_dim_{name}"] for name in ("reconstruction", "latents", "entropy")]
    assert sum(terms) == pytest.approx(known["bits_per_dim"]) and known["bound_of"] == "latents"
    assert known["nats"] == pytest.approx(-64 * math.log(2) * known["bits_per_dim"])
    assert all(known[f"bits_per_dim_{name}_stderr"] > 0 for name in ("reconstruction", "latents", "entropy"))
    for words, line in (
        (["likelihood.bound=elbo"], "is a bound by itself"),
        (["likelihood.dequantiser=decoder"], "a probability needs declared levels"),
        (["guidance=cfg"], "of the model alone"),
    ):
        code, _, err = command(monkeypatch, capfd, tmp_path, "folder=G", "task=likelihood", "likelihood.n=4", *words)
        assert code and line in err, err
    code, _, err = command(monkeypatch, capfd, tmp_path, *said, "cond=[label]", "task.folder=H")
    assert code and "takes no conditions" in err and not (tmp_path / "H").exists()
