"""Laws of dequantisation and of bits/dim: against integrals over the bins, term by term."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from problems import close, refuses
from torch import nn

from scoresde.data import Affine, Data, Tensors
from scoresde.exact import GaussianMixture
from scoresde.likelihood import (
    BinNet,
    Decoder,
    Dequantiser,
    ImportanceWeighted,
    Likelihood,
    TruncatedNormal,
    Uniform,
    Variational,
    bits_per_dim,
    discrete_bits_per_dim,
    discrete_bound,
    elbo,
    fit_variational,
    log_likelihood,
    matching_time,
)
from scoresde.sde import VE, VP
from scoresde.spaces import Bins

L, N = 8, 2000
SDE_ = VP(t_min=1e-4)
MEANS, STDS = torch.tensor([[-0.4, 0.2], [0.3, -0.3]]).double(), torch.tensor([0.12, 0.2]).double()
SMOOTH = GaussianMixture(torch.tensor([1.0, 2.0]), MEANS, STDS, SDE_)  # trained on dequantised data, as it were
CELLS = torch.cartesian_prod(torch.arange(L), torch.arange(L))
INDEX = torch.arange(N)


def dataset(shape=(2,), levels=L, space=None):
    zeros = Tensors(torch.zeros(4, *shape, dtype=torch.uint8))
    return Data("grid", zeros, zeros, space or Bins(levels), levels)


DATA = dataset()


def points(sde):
    """A model of the bins' centres: the weights of SMOOTH there, and nothing in between."""
    x = Bins.of(DATA).place(CELLS)
    return GaussianMixture(SMOOTH.log_prob(x).exp() + 1e-9, x, 1e-4, sde)


def masses(model, t, scale=1.0):
    """The mass of p_t in each of the 64 bins, scaled, by Gauss-Legendre quadrature: (64,)."""
    nodes, weights = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(24))
    u, w = torch.cartesian_prod((nodes + 1) / 2, (nodes + 1) / 2), torch.cartesian_prod(weights / 2, weights / 2)
    y = scale * Bins.of(DATA).place(CELLS[:, None], u[None])
    p = model.log_prob(y.reshape(-1, 2), t).exp().reshape(len(CELLS), -1)
    return (p * w.prod(1)).sum(1) * (scale * 2 / L) ** 2


def drawn(mass):
    """N raw items from those masses, and the exact log P(v) of each."""
    k = torch.multinomial(mass, N, True, generator=torch.Generator().manual_seed(0))
    return CELLS[k], mass[k].log()


def gap(dequantiser, model, t, raw, exact):
    """Mean and standard error of the bound less log P(v), and the standard deviation."""
    out = dequantiser.log_prob(lambda y: model.log_prob(y, t), raw, DATA, INDEX)
    e = out.log_prob - exact
    close(out.model + out.bin + out.dequantisation + out.decoder, out.log_prob)
    return float(e.mean()), float(e.std()) / math.sqrt(len(e))


# -- the bounds against the truth -------------------------------------------------------------------------------------


def test_more_importance_weights_are_a_tighter_bound():
    raw, exact = drawn(masses(SMOOTH, SDE_.t_min))
    gaps = [gap(d, SMOOTH, SDE_.t_min, raw, exact) for d in (Uniform(), *map(ImportanceWeighted, (2, 4, 8, 32)))]
    means = [g[0] for g in gaps]
    assert means == sorted(means) and means[0] < -0.15 and -0.015 < means[-1] < 4 * gaps[-1][1]
    assert means[2] > 0.4 * means[0]
    assert gap(ImportanceWeighted(1), SMOOTH, SDE_.t_min, raw, exact) == gaps[0]


@pytest.mark.parametrize("sde", [VP(), VE(sigma_min=0.002)], ids=["vp", "ve"])
def test_a_model_of_points_is_met_by_its_own_noise(sde):
    """Truncated normal and decoder are the model's own law at t_min: the bound is the truth, far above uniform's."""
    t = matching_time(sde, DATA, 3.0)
    alpha, sigma = (float(a) for a in sde.marginal(t))
    assert alpha * (2 / L) / (2 * sigma) == pytest.approx(3)
    model = points(sde)
    raw, exact = drawn(masses(model, t, alpha))
    assert gap(Uniform(), model, t, raw, exact)[0] < -1
    for k in (1, 8):
        mean, stderr = gap(TruncatedNormal(sde, t, k), model, t, raw, exact)
        assert abs(mean) < 4 * stderr + 1e-3
        mean, stderr = gap(Decoder(sde, t, k), model, t, raw, exact)
        assert -0.02 < mean < 4 * stderr + 1e-3


def test_wide_noise_fills_the_bin():
    """tau -> 0 makes the truncated normal uniform, and a smooth model's bound that of uniform noise; it is below P."""
    t = matching_time(SDE_, DATA, 0.7)
    alpha = float(SDE_.marginal(t)[0])
    raw, exact = drawn(masses(SMOOTH, t, alpha))
    assert gap(TruncatedNormal(SDE_, t), SMOOTH, t, raw, exact)[0] < 0
    tight, stderr = gap(TruncatedNormal(SDE_, t, 64), SMOOTH, t, raw, exact)
    assert abs(tight) < 4 * stderr + 0.01


def test_entropies_are_the_mean_of_minus_log_q():
    for tau in (0.5, 3.0):
        t = matching_time(SDE_, DATA, tau)
        alpha, sigma = (float(a) for a in SDE_.marginal(t))
        raw = CELLS[:1].expand(20000, 2)
        for q in (TruncatedNormal(SDE_, t), Decoder(SDE_, t)):
            y, log_q, log_p = q.draw(raw, DATA, torch.arange(20000), 0, 0)
            entropy = float(q.entropy(raw, DATA)[0] if isinstance(q, TruncatedNormal) else q.entropy(raw))
            assert float(-log_q.mean()) == pytest.approx(entropy, abs=4 * float(log_q.std()) / 20000**0.5 + 1e-9)
            away = (y / alpha - Bins.of(DATA).place(raw)).abs()
            if isinstance(q, TruncatedNormal):
                assert float(away.max()) <= 1 / L and (log_p == 0).all()
            else:
                assert float((y - alpha * Bins.of(DATA).place(raw)).std()) == pytest.approx(sigma, rel=0.03)


def test_a_learned_q_is_better_than_uniform():
    raw, exact = drawn(masses(SMOOTH, SDE_.t_min))
    fresh = gap(Variational(BinNet((2,))), SMOOTH, SDE_.t_min, raw, exact)
    uniform = gap(Uniform(), SMOOTH, SDE_.t_min, raw, exact)
    assert abs(fresh[0] - uniform[0]) < 0.1  # untrained it is about uniform
    q = fit_variational(SMOOTH, raw, DATA, steps=150)
    mean, stderr = gap(q, SMOOTH, SDE_.t_min, raw, exact)
    assert 0.75 * uniform[0] < mean < 0
    more, _ = gap(Variational(q.net, 8), SMOOTH, SDE_.t_min, raw, exact)
    assert mean < more < 4 * stderr and more > gap(ImportanceWeighted(8), SMOOTH, SDE_.t_min, raw, exact)[0] - 0.01


@pytest.mark.parametrize("shape", [(5,), (1, 6), (1, 4, 4), (2, 3, 3, 3), (1, 2, 2, 2, 2)], ids=str)
def test_dequantisers_of_any_shape(shape):
    data = dataset(shape)
    raw = torch.randint(0, L, (6, *shape), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    model = GaussianMixture(torch.ones(1), torch.zeros(1, *shape).double(), 0.5, SDE_)
    net = BinNet(shape, width=4).double()
    nn.init.normal_(net.layers[-1].weight, std=0.1)
    each = (Uniform(), ImportanceWeighted(3), TruncatedNormal(SDE_), Decoder(SDE_, draws=2), Variational(net, 2))
    for q in each:
        whole = q.log_prob(model.log_prob, raw, data, torch.arange(6), seed=3)
        part = q.log_prob(model.log_prob, raw[2:4], data, torch.arange(2, 4), seed=3)
        close(part.log_prob, whole.log_prob[2:4], rtol=0, atol=1e-9)
        assert whole.log_prob.shape == (6,)
        if not isinstance(q, Decoder):
            y, _, _ = q.draw(raw, data, torch.arange(6), 3, 0)
            assert torch.equal(data.decode((y / float(SDE_.marginal(SDE_.t_min)[0])).float()), raw)


def test_the_posterior_of_the_levels_is_normalised():
    levels = Bins(70, -3.5, 0.325)  # more than one block of levels, and decreasing
    y = torch.randn(4, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    alpha, sigma = torch.tensor([0.8, 0.1], dtype=torch.float64)
    every = torch.stack([levels.log_prob(torch.full((4, 1), v), y, alpha, sigma) for v in range(70)])
    close(every.exp().sum(0), torch.ones(4).double())
    direct = -0.5 * ((y[:, 0] - 0.8 * (0.3 - 0.05 * torch.arange(70, dtype=torch.float64)[:, None])) / 0.1) ** 2
    close(every, direct.log_softmax(0))


def test_the_sum_over_all_levels_is_one():
    """With the decoder P is a probability: a tight bound sums to about 1 over all 64 values, and never to more."""
    sde, many = VP(), 150
    t = matching_time(sde, DATA, 1.5)
    raw = CELLS.repeat_interleave(many, 0)
    out = Decoder(sde, t, 16).log_prob(lambda y: points(sde).log_prob(y, t), raw, DATA, torch.arange(len(raw)))
    total = float(out.log_prob.reshape(64, many).mean(1).exp().sum())
    assert 0.97 < total < 1.005


def test_the_parts_go_with_the_draws():
    """An object's terms and standard error are those of its draws; the bound and the flow come through alike."""
    raw = CELLS[:6]
    plain = ImportanceWeighted(3).log_prob(lambda y: SMOOTH.log_prob(y, 0.01), raw, DATA, torch.arange(6))
    assert plain.stderr is None and plain.parts == {}
    flow = Uniform().log_prob(lambda y: log_likelihood(SMOOTH, y, probes=2), raw, DATA, torch.arange(6))
    assert flow.stderr.shape == (6,)
    out = ImportanceWeighted(2).log_prob(lambda y: elbo(SMOOTH, y, n=4), raw, DATA, torch.arange(6))
    assert set(out.parts) == {"prior", "diffusion", "reconstruction"}
    close(sum(out.parts.values()), out.model)


def test_refusals():
    raw = CELLS[:2]
    bare = Data("bare", DATA.train, DATA.test, Affine(), None)
    refuses("levels", "nats", call=lambda: Uniform().log_prob(SMOOTH.log_prob, raw, bare, torch.arange(2)))
    for make in (ImportanceWeighted, lambda k: Decoder(SDE_, draws=k), lambda k: Variational(BinNet((2,)), k)):
        refuses("draws=0", call=lambda make=make: make(0))
    refuses("steps=0", call=lambda: fit_variational(SMOOTH, raw, DATA, steps=0))
    refuses("t_min", call=lambda: TruncatedNormal(SDE_, 1e-9).entropy(raw, DATA))
    assert issubclass(Uniform, Dequantiser) and {f.name for f in dataclasses.fields(Likelihood)} >= {"log_prob"}


# -- bits per dimension -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [2, 17, 256, 65536])
def test_a_uniform_source_has_log2_of_its_levels(levels):
    data = dataset((3,), levels, Affine(3.0, 0.5))
    raw = torch.randint(0, levels, (9, 3), generator=torch.Generator().manual_seed(0))
    flat = lambda y: torch.full((len(y),), -3 * math.log(3.0)).double()
    for q in (Uniform(), ImportanceWeighted(4)):
        bits = discrete_bits_per_dim(q.log_prob(flat, raw, data, torch.arange(9)), data)
        assert bits.total == pytest.approx(math.log2(levels), abs=1e-6)
        assert bits.dequantisation == pytest.approx(0, abs=1e-6) and bits.truncation == 0


def test_all_terms_add_up():
    raw, _ = drawn(masses(SMOOTH, SDE_.t_min))
    raw, index = raw[:50], torch.arange(50)
    for q in (Uniform(), ImportanceWeighted(3), TruncatedNormal(SDE_), Decoder(SDE_, 0.01)):
        out = q.log_prob(lambda y: elbo(SMOOTH, y, n=4), raw, DATA, index)
        bits = discrete_bits_per_dim(out, DATA)
        assert list(bits.terms) == [
            *("prior", "diffusion", "reconstruction", "transform", "levels", "dequantisation", "truncation")
        ]
        assert math.fsum(t.mean for t in bits.terms.values()) == bits.total
        five = (bits.model, bits.transform, bits.levels, bits.dequantisation, bits.truncation)
        assert math.fsum(five) == pytest.approx(bits.total, abs=1e-12)
        each = -out.log_prob / 2 / math.log(2)
        assert bits.total == pytest.approx(float(each.mean()), abs=1e-5)
        assert bits.stderr == pytest.approx(float(each.std()) / 50**0.5)
        assert bits.terms["levels"].stderr == 0 and bits.terms["diffusion"].stderr > 0


def test_a_discrete_bound_has_the_bits_of_its_nats():
    sde = VP(t_min=1e-3)
    levels, raw = Bins.of(DATA), CELLS[::7]
    bound = elbo(points(sde), levels.place(raw), n=4, levels=levels)
    bits = discrete_bits_per_dim(discrete_bound(bound, DATA), DATA)
    assert bits.total == pytest.approx(-float(bound.log_prob.mean()) / 2 / math.log(2), abs=1e-6)
    assert bits.truncation == pytest.approx(-float(bound.reconstruction.mean()) / 2 / math.log(2))


def test_parts_must_add_up():
    log_prob = torch.tensor([1.0, 2.0, 4.0])
    refuses("prior", "add up", call=lambda: bits_per_dim(log_prob, 2, 8, 0.0, parts={"prior": log_prob + 1}))
    bits = bits_per_dim(log_prob, 2, 8, 0.0, parts={"prior": log_prob - 1, "volume": torch.ones(3), "divergence": None})
    assert set(bits.terms) >= {"prior", "volume"} and "divergence" not in bits.terms
    assert bits_per_dim(log_prob, 2, 8, 0.0).terms["model"].mean == bits.model


def test_intervals_cover_the_mean():
    generator = torch.Generator().manual_seed(0)
    hits = np.zeros(2)
    for trial in range(100):
        sample = torch.randn(60, generator=generator).double().exp()
        bits = bits_per_dim(sample, 1, 2, 0.0, seed=trial)
        mean = 1 - math.exp(0.5) / math.log(2)
        hits += [low < mean < high for low, high in (bits.normal, bits.bootstrap)]
        assert bits.normal[0] < bits.total < bits.normal[1] and bits.bootstrap[0] < bits.total < bits.bootstrap[1]
    assert (hits >= 80).all()
    again = bits_per_dim(sample, 1, 2, 0.0, seed=99)
    assert again.bootstrap == bits.bootstrap
    one = bits_per_dim(torch.ones(1), 1, 2, 0.0)
    assert math.isnan(one.bootstrap[0]) and math.isnan(one.normal[1])
