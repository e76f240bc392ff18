"""Bounds of models of latents: with the linear autoencoder the density and every gap are known."""

import math
import sys

import numpy as np
import pytest
import torch
from commands import command
from problems import refuses
from test_autoencoder import made

import scoresde
from scoresde.data import from_tensor, stack
from scoresde.exact import GaussianMixture
from scoresde.latent import bound, latents, pca
from scoresde.model import Model, TrainedAutoencoder
from scoresde.model.trained.known import facts
from scoresde.nets import Codebook, Gaussian
from scoresde.spaces import Affine

FINE = {"rtol": 1e-7, "atol": 1e-7, "probes": None}


def linear(latent=2, spread=1.0, size=4, seed=0):
    """A linear autoencoder of Gaussian items (size,), in float64, and the items' data."""
    generator = torch.Generator().manual_seed(seed)
    turn = torch.randn(size, size, generator=generator).double()
    x = torch.randn(500, size, generator=generator).double() @ turn + 3.0
    data = from_tensor(x, standardize="feature")
    codec = pca(data, latent, spread)
    return codec.double(), data


def around(codec, exact, space):
    """The model of latents by an exact denoiser of the space's values."""
    known = {"name": "latents", "shape": list(codec.latent_shape), "levels": None, "columns": None}
    model = Model(exact, known | {"scale": space.scale, "shift": space.shift}, 0)
    model.carry(codec)
    return model


def mixture_of(space, weights, means, stds, sde):
    """The exact denoiser, in the space's values, of a mixture of z."""
    return GaussianMixture(weights, space.scale * means + space.shift, space.scale.abs() * stds, sde)


def log_density(codec, raw, weights, means, stds):
    """log p(x) of items whose latents are a mixture: N(W m + mu, W diag(s^2) W^T + sigma^2 I), in the items' units."""
    net, sigma = codec.bare.net, codec.bare.log_std.exp()
    x = codec.space(raw.double())
    each = []
    for m, s in zip(means, stds, strict=True):
        cov = net.back @ torch.diag(s**2) @ net.back.T + sigma**2 * torch.eye(len(net.mean))
        each.append(torch.distributions.MultivariateNormal(net.back @ m + net.mean, cov).log_prob(x))
    return torch.logsumexp(weights.log() + torch.stack(each, 1), 1) + codec.space.log_det(codec.shape)


SPACE = Affine(torch.tensor([0.5, 3.0]).double(), torch.tensor([1.0, -3.0]).double())
GAUSS = torch.ones(1).double(), torch.zeros(1, 2).double(), torch.ones(1, 2).double()
MIXED = (
    torch.tensor([0.3, 0.7]).double(),
    torch.tensor([[1.0, -1.0], [-0.5, 0.4]]).double(),
    torch.tensor([[0.4, 0.9], [0.8, 0.6]]).double(),
)


def test_the_linear_autoencoder_is_the_gaussian_of_greatest_likelihood():
    """Its covariance has the data's variance in all directions, and in the K greatest it is the data's own."""
    codec, data = linear(2)
    net, sigma = codec.bare.net, codec.bare.log_std.exp()
    x = data.encode(stack(data.train, range(len(data.train)))).double()
    theirs, ours = torch.cov(x.T, correction=0), net.back @ net.back.T + sigma**2 * torch.eye(4)
    values, turn = torch.linalg.eigh(theirs)
    near = lambda a, b: torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
    near(turn.T @ ours @ turn, torch.diag(torch.cat([values[:2].mean().expand(2), values[2:]])))
    z = codec.compress(x)
    near(torch.cov(z.T, correction=0) + torch.diag(net.log_std.exp() ** 2), torch.eye(2).double())
    mean, log_std = codec.posterior(x)
    exact = torch.linalg.inv(net.back.T @ net.back / sigma**2 + torch.eye(2))
    near(torch.diag(exact), log_std[0].exp() ** 2)
    near(mean, (x - net.mean) @ net.back @ exact / sigma**2)
    refuses("latent=4: give fewer than the 4", call=lambda: pca(data, 4))
    flat = from_tensor(torch.randn(50, 1) @ torch.randn(1, 4))
    refuses("no more than 1 directions", call=lambda: pca(flat, 2))


def tight(exact):
    """How the flow of an exact denoiser is log p to 1e-6: with its own p_T for N(0, sigma_T^2 I)."""
    return FINE | {"terminal": lambda x: exact.log_prob(x, exact.sde.t_max)}


def test_with_the_exact_posterior_each_draw_of_the_bound_is_log_p():
    codec, data = linear()
    exact = mixture_of(SPACE, *GAUSS, scoresde.VP())
    model, raw = around(codec, exact, SPACE), stack(data.test, range(6))
    log_p = log_density(codec, raw, *GAUSS)
    for seed in (0, 1):
        found = bound(model, raw, seed=seed, **tight(exact))
        torch.testing.assert_close(found.log_prob, log_p, atol=1e-4, rtol=0)
        torch.testing.assert_close(found.log_prob, found.reconstruction + found.prior + found.entropy)
    low = bound(model, raw, "elbo", n=64, ends=64, density="adaptive")
    error = float(low.stderr.square().mean().sqrt()) / math.sqrt(6)
    assert abs(float((low.log_prob - log_p).mean())) < 4 * error + 2e-3


def nodes(n=24, dims=2):
    """Gauss-Hermite nodes (n^dims, dims) of N(0, I), and their weights."""
    x, w = (torch.from_numpy(a) for a in np.polynomial.hermite_e.hermegauss(n))
    together = lambda a: torch.cartesian_prod(*[a] * dims).reshape(-1, dims)
    return together(x), together(w / w.sum()).prod(1)


def log_posterior(codec, raw, z, law):
    """log p(z | x) (n,) of z (n, K): a mixture too, of each component its posterior, by its share of p(x)."""
    net, var, x = codec.bare.net, codec.bare.log_std.exp() ** 2, codec.space(raw.double())[0]
    parts, shares = [], []
    for w, m, s in zip(*law, strict=True):
        cov = torch.linalg.inv(net.back.T @ net.back / var + torch.diag(s**-2))
        at = cov @ (net.back.T @ (x - net.mean) / var + m / s**2)
        parts.append(torch.distributions.MultivariateNormal(at, cov).log_prob(z))
        shares.append(w.log() + log_density(codec, raw, torch.ones(1).double(), m[None], s[None])[0])
    return torch.logsumexp(torch.stack(parts, 1) + torch.stack(shares).log_softmax(0), 1)


@pytest.mark.parametrize("law", [GAUSS, MIXED], ids=["gaussian", "mixture"])
def test_the_bound_is_log_p_less_the_divergence_of_the_posteriors(law, monkeypatch):
    """By quadrature over z, against KL(q, p(z | x)) in closed form, or of a mixture by Bayes."""
    codec, data = linear(spread=1.5)
    exact = mixture_of(SPACE, *law, scoresde.VP())
    model, raw = around(codec, exact, SPACE), stack(data.test, range(1, 2))
    eps, weights = nodes()
    monkeypatch.setattr(sys.modules["scoresde.latent.bound"], "normal", lambda mean, *words: eps)
    found = bound(model, raw.expand(len(eps), -1), **tight(exact))
    value, log_p = float(weights @ found.log_prob), float(log_density(codec, raw, *law))
    mean, log_std = codec.posterior(codec.space(raw.double()))
    q = torch.distributions.Normal(mean, log_std.exp())
    if law is GAUSS:
        gap = 2 * (1.5**2 - 1 - 2 * math.log(1.5)) / 2
    else:
        z = mean + log_std.exp() * eps
        gap = float(weights @ (q.log_prob(z).sum(1) - log_posterior(codec, raw, z, law)))
        assert gap > 0.1
    assert value == pytest.approx(log_p - gap, abs=1e-4)


def test_draws_are_independent_and_their_error_is_the_one_reported():
    codec, data = linear(spread=1.4)
    exact = mixture_of(SPACE, *GAUSS, scoresde.VP())
    model, raw = around(codec, exact, SPACE), stack(data.test, range(40))
    found = bound(model, raw, draws=16, seed=3, **(tight(exact) | {"rtol": 1e-4, "atol": 1e-4}))
    gap = found.log_prob - log_density(codec, raw, *GAUSS) + (1.4**2 - 1 - 2 * math.log(1.4))
    assert abs(float((gap / found.stderr).square().mean()) - 1) < 0.7 and abs(float((gap / found.stderr).mean())) < 0.7
    part = bound(model, raw[7:9], draws=16, seed=3, offset=7, **(tight(exact) | {"rtol": 1e-4, "atol": 1e-4}))
    torch.testing.assert_close(part.log_prob, found.log_prob[7:9], atol=1e-3, rtol=0)


def test_samples_of_the_latents_have_the_items_moments():
    """Decoded means have W W^T, and sigma^2 more where p(x | z) is drawn: within four standard errors."""
    codec, data = linear()
    model = around(codec, mixture_of(SPACE, *MIXED, scoresde.VP()), SPACE)
    x = codec.space(model.generate(4000, seed=2).double())
    weights, means, stds = MIXED
    mean = weights @ means
    cov = torch.diag(weights @ stds**2) + (weights[:, None] * (means - mean)).T @ (means - mean)
    net = codec.bare.net
    far = (x.mean(0) - (net.back @ mean + net.mean)) / (x.std(0) / math.sqrt(len(x)))
    assert float(far.abs().max()) < 4
    want, away = net.back @ cov @ net.back.T, x - x.mean(0)
    products = away[:, :, None] * away[:, None]
    error = products.std(0) / math.sqrt(len(x))
    assert float(((products.mean(0) - want) / error).abs().max()) < 4


def test_levels_have_a_probability_and_what_has_no_density_is_refused():
    digits = scoresde.data.digits()
    codec = pca(digits, 12)
    data = latents(digits, codec)
    known = GaussianMixture(torch.ones(1), torch.zeros(1, 12), 1.0, scoresde.VP())
    model = around(codec, known, data.space)
    raw = stack(digits.test, range(8))
    found = bound(model, raw, rtol=1e-3, atol=1e-3, probes=None)
    z = codec.coded(digits.encode(raw), None).z
    near = codec.log_likelihood(raw, z, digits.space)  # at the posterior's mean
    assert bool((found.reconstruction < 0).all()) and abs(float((found.reconstruction - near).mean())) < 30
    s = float(codec.bare.log_std.exp())
    edges = digits.space.place(torch.arange(18).double(), 0.0)
    cdf = torch.distributions.Normal(codec.expand(z).double(), s).cdf
    low, high = (cdf(edges[raw.long() + k]) for k in (0, 1))
    low, high = torch.where(raw == 0, 0.0, low), torch.where(raw == 16, 1.0, high)
    mass = (high - low).clamp_min(1e-30).log().flatten(1).sum(1)
    torch.testing.assert_close(near.double(), mass, rtol=1e-3, atol=1e-2)
    plain = TrainedAutoencoder(made(Gaussian(2)), facts(digits), 0)
    model.carry(plain)
    refuses("trained without a likelihood", call=lambda: bound(model, raw))
    model.carry(TrainedAutoencoder(made(Codebook(2, 8)), facts(digits), 0))
    refuses("its latents are codes", call=lambda: bound(model, raw))
    model.carry(None)
    refuses("the model has no codec", call=lambda: bound(model, raw))


def test_the_linear_autoencoder_has_a_folder_and_a_command(tmp_path, monkeypatch, capfd):
    digits = scoresde.data.digits()
    model = pca(digits, 5, folder=tmp_path / "P")
    assert pca(digits, 5, folder=tmp_path / "P").weights == model.weights == scoresde.load(tmp_path / "P").weights
    raw = stack(digits.test, range(3))
    assert torch.equal(scoresde.load(tmp_path / "P").reconstruct(raw), model.reconstruct(raw))
    refuses("holds another model", call=lambda: pca(digits, 6, folder=tmp_path / "P"))
    refuses("pca takes up to 4096", call=lambda: pca(from_tensor(torch.randn(3, 4097)), 5))
    said = ["task=autoencoder", "task.pca=6", "task.folder=P"]
    code, _, err = command(monkeypatch, capfd, tmp_path, *said)
    assert code and "holds another model" in err
    code, out, _ = command(monkeypatch, capfd, tmp_path, *said, "fresh=true")
    assert code == 0 and "in closed form" in out and scoresde.load(tmp_path / "P").latent_shape == (6,)


def test_a_mixture_for_each_number_is_a_distribution_and_of_one_component_the_normal_one():
    digits = scoresde.data.digits()
    several, z = made(Gaussian(2), likelihood=True, components=3, patch=2, mults=(1,)), torch.randn(2, 2, 4, 4)
    log_weight, mean, _ = several.net.mixture(z)
    assert log_weight.shape == mean.shape == (3, 2, 1, 8, 8)
    torch.testing.assert_close(several.expand(z), (log_weight.exp() * mean).sum(0))
    v = torch.randint(0, 17, (2, 1, 8, 8))
    levels = torch.arange(17).reshape(-1, 1, 1, 1).expand(-1, 1, 8, 8)  # all numbers are of one level each time
    _, mean, own = several.net.mixture(z[:1])
    std = (several.log_std + own).exp().expand(-1, 17, -1, -1, -1)
    masses = digits.space.log_masses(levels, mean.expand_as(std), std).exp().sum(1)
    torch.testing.assert_close(masses, torch.ones_like(masses))
    each = torch.stack([several.log_likelihood(levels[k : k + 1], z[:1], digits.space) for k in range(17)])
    by_hand = digits.space.log_masses(levels, mean.expand_as(std), std) + log_weight[:, :1]
    torch.testing.assert_close(each[:, 0], by_hand.logsumexp(0).flatten(1).sum(1))
    one = made(Gaussian(2), likelihood=True, components=1)
    with torch.no_grad():  # its own deviation is the autoencoder's
        for p in one.net.decoder[-1].parameters():
            p[2:] = 0
    want = digits.space.log_mass(v, one.expand(z), one.log_std.exp().expand_as(v))
    torch.testing.assert_close(one.log_likelihood(v, z, digits.space), want)
