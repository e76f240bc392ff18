"""Laws of scoresde.likelihood: the exact log-density, for every SDE, with an error that is the one reported."""

import copy
import math

import pytest
import torch
from problems import Around, close, each_sde, each_shape, each_song_sde, mixture, refuses
from torch import nn

from scoresde.denoiser import Preconditioned
from scoresde.exact import GaussianMixture
from scoresde.likelihood import bits_per_dim, flow_velocity, log_likelihood, velocity_divergence
from scoresde.nets import MLP
from scoresde.sampling import ProbabilityFlow, sample
from scoresde.sde import VE, VP, SubVP, expand


def exact_start(model, n, seed=1):
    """n points of p_{t_min}, and the log-density of x_T for `terminal`."""
    sde = model.sde
    return model.sample(n, sde.t_min, seed=seed), lambda x: model.log_prob(x, sde.t_max)


# -- the value --------------------------------------------------------------------------------------------------------


@each_sde
def test_log_likelihood_is_the_exact_log_density(sde):
    model = mixture(sde)
    x, terminal = exact_start(model, 100)
    out = log_likelihood(model, x, terminal=terminal)
    error = (out.log_prob - model.log_prob(x, sde.t_min)).abs()
    assert float(error.mean()) < 1e-4 and float(error.max()) < 1e-3
    assert out.log_prob.shape == out.stderr.shape == out.nfe.shape == (100,) and (out.stderr == 0).all()
    if isinstance(sde, VP | SubVP | VE):
        assert float(out.nfe.double().mean()) <= 90
    fine = log_likelihood(model, x[:10], rtol=1e-9, atol=1e-9, terminal=terminal)
    close(fine.log_prob, model.log_prob(x[:10], sde.t_min), rtol=0, atol=1e-6)


@pytest.mark.slow
@each_sde
@pytest.mark.parametrize("dims", [2, 64])
def test_a_tight_tolerance_gives_a_tight_error(sde, dims):
    model = mixture(sde, (dims,))
    x, terminal = exact_start(model, 10)
    out = log_likelihood(model, x, rtol=1e-7, atol=1e-7, terminal=terminal)
    assert float((out.log_prob - model.log_prob(x, sde.t_min)).abs().mean()) < 1e-5


def test_the_relative_tolerance_is_shared_by_the_dimensions():
    """Coordinates that all go the same way take the steps of one of them, give or take one, at rtol sqrt(D)."""
    steps = {}
    for dims, rtol in ((1, 1e-4), (64, 8e-4), (64, 1e-4)):
        model = GaussianMixture(torch.ones(1), torch.zeros(1, dims).double(), 0.3, VP())
        x = torch.tensor([[0.1], [-0.4], [0.5]]).double().expand(3, dims)
        steps[dims, rtol] = log_likelihood(model, x, rtol=rtol, atol=1e-9).nfe.tolist()
    assert max(abs(a - b) for a, b in zip(steps[64, 8e-4], steps[1, 1e-4], strict=True)) <= 1
    assert min(steps[64, 1e-4]) > max(steps[1, 1e-4]) + 4


def test_a_density_integrates_to_one():
    model, t = mixture(VP()), 0.05
    axis = torch.linspace(-5, 5, 51, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    out = log_likelihood(model, grid, steps=20, t_min=t, terminal=lambda x: model.log_prob(x, 1.0))
    assert float(out.log_prob.exp().sum() * (axis[1] - axis[0]) ** 2) == pytest.approx(1, abs=1e-3)


@each_song_sde
@pytest.mark.parametrize("shape", [(1, 4, 4), (2, 2, 1, 2)], ids=str)
def test_log_likelihood_of_other_shapes(sde, shape):
    model = mixture(sde, shape)
    x, terminal = exact_start(model, shape[-1])  # as many rows as the last dimension
    out = log_likelihood(model, x, terminal=terminal)
    close(out.log_prob, model.log_prob(x, sde.t_min), rtol=0, atol=3e-3)
    assert out.latent.shape == x.shape


@each_sde
def test_the_default_terminal_is_the_prior(sde):
    """log p differs from the one with the exact p_T by the prior's log-density less that of p_T at the latent."""
    model = mixture(sde)
    x, terminal = exact_start(model, 5)
    default, exact = log_likelihood(model, x), log_likelihood(model, x, terminal=terminal)
    close(default.latent, exact.latent)
    close(default.log_prob - exact.log_prob, sde.prior_log_prob(default.latent) - terminal(exact.latent), atol=1e-8)


@each_sde
def test_the_latent_comes_back_through_the_flow(sde):
    model = mixture(sde)
    x, _ = exact_start(model, 6)
    latent = log_likelihood(model, x, rtol=1e-9, atol=1e-9).latent
    flow = ProbabilityFlow(rtol=1e-9, atol=1e-9)
    back, _ = flow.step(model, latent, sde.t_max, sde.t_min, None, None)
    close(back, x, rtol=0, atol=1e-5)
    own = sample(model, ProbabilityFlow(last="none", rtol=1e-9, atol=1e-9), (6, 2), dtype=torch.float64)
    prior = log_likelihood(model, own, rtol=1e-9, atol=1e-9).latent
    again, _ = flow.step(model, prior, sde.t_max, sde.t_min, None, None)
    close(again, own, rtol=0, atol=1e-5)


def test_t_min_is_the_time_of_the_density():
    model = mixture(VP())
    for t in (1e-4, 0.1, 0.5):
        x = model.sample(10, t)
        out = log_likelihood(model, x, terminal=lambda x: model.log_prob(x, 1.0), t_min=t)
        close(out.log_prob, model.log_prob(x, t), rtol=0, atol=1e-3)


@pytest.mark.parametrize("t_min", [1e-9, -1.0, 1.0, math.nan])
def test_a_density_is_asked_for_where_the_sde_is_defined(t_min):
    refuses("t_min", t_min, call=lambda: log_likelihood(mixture(VP()), torch.zeros(2, 2), t_min=t_min))


def test_the_density_of_a_network_integrates_to_one():
    net = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 2)).double()

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = net

        def forward(self, x, c):
            return self.layers(x) * torch.tanh(c)[:, None]

    axis = torch.linspace(-6, 6, 41, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    out = log_likelihood(Preconditioned(Net(), VP(t_min=0.05), "v"), grid, rtol=1e-4, atol=1e-4)
    assert float(out.log_prob.exp().sum() * (axis[1] - axis[0]) ** 2) == pytest.approx(1, abs=2e-3)


@each_sde
@each_shape
def test_velocity_and_divergence(sde, shape):
    """v by the denoiser at the time of the angle, its divergence by the Jacobian's trace and by all sign vectors."""
    model = mixture(sde, shape)
    t = sde.time(torch.tensor([2.0, -1.0]))
    x = model.sample(2)
    phi, z = sde.angle(t), x / expand(torch.hypot(*sde.marginal(t)), x)
    v, divergence = velocity_divergence(model, z, phi, None)
    close(v, model.velocity(x, t), rtol=1e-7)
    for i in range(2):
        jacobian = torch.autograd.functional.jacobian(
            lambda y, i=i: flow_velocity(model, y[None], phi[i : i + 1])[0], z[i]
        )
        close(divergence[i, 0], jacobian.reshape(x[0].numel(), -1).trace(), rtol=1e-8)
    if shape == (2,):
        signs = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]]).double().expand(2, 4, 2)
        each = velocity_divergence(model, z, phi, signs)[1]
        close(each.mean(1, keepdim=True), divergence)


# -- probes -----------------------------------------------------------------------------------------------------------


@each_song_sde
@pytest.mark.parametrize("probes", [1, 4, 16])
def test_probes_are_unbiased_and_know_their_error(sde, probes):
    """One point, many rows of probes: their mean is the exact log-density, their spread the reported error."""
    n = 400
    model = mixture(sde, (4,))
    x, terminal = exact_start(model, 1, seed=4)
    options = {"terminal": terminal, "rtol": 1e-4, "atol": 1e-4}
    exact = log_likelihood(model, x, **options).log_prob
    out = log_likelihood(model, x.expand(n, 4), probes=probes, **options)
    spread = float(out.log_prob.std())
    assert spread > 1e-2
    assert abs(float((out.log_prob - exact).mean())) < 4 * spread / math.sqrt(n) + 3e-4
    if probes > 1:
        assert float(out.stderr.square().mean().sqrt()) == pytest.approx(spread, rel=0.15)
        other = log_likelihood(model, x.expand(n, 4), probes=probes, seed=1, **options)
        assert not torch.equal(out.log_prob, other.log_prob)


def test_one_probe_has_no_error_and_none_is_refused():
    model = mixture(VP())
    x, _ = exact_start(model, 3)
    assert log_likelihood(model, x, probes=1).stderr.isnan().all()
    for probes in (0, -1, 2.5):
        refuses(f"probes={probes}", call=lambda probes=probes: log_likelihood(model, x, probes=probes))


@each_song_sde
@pytest.mark.parametrize("probes", [None, 2])
def test_a_row_does_not_depend_on_its_batch(sde, probes):
    model = mixture(sde, (4,))
    x, _ = exact_start(model, 8)
    whole = log_likelihood(model, x, probes=probes, seed=3)
    for start, stop in ((0, 1), (3, 7)):
        part = log_likelihood(model, x[start:stop], probes=probes, seed=3, offset=start)
        for name in ("log_prob", "stderr", "latent"):
            close(getattr(part, name), getattr(whole, name)[start:stop], rtol=0, atol=1e-10)
        assert torch.equal(part.nfe, whole.nfe[start:stop])


@pytest.mark.parametrize("probes", [None, 3])
def test_conditions_go_with_their_rows(probes):
    for sde in (VP(), VE()):
        model, means = Around(sde), torch.tensor([[0.0, 1.0], [2.0, -3.0], [9.0, 9.0], [0.0, 0.0]]).double()
        x = means + 0.3 * torch.randn(4, 2, dtype=torch.float64)
        out = log_likelihood(
            model, x, probes=probes, cond={"mean": means}, terminal=lambda x: torch.zeros(len(x)).double()
        )
        for i in range(4):
            one = GaussianMixture(torch.ones(1), means[i : i + 1], 0.3, sde)
            exact = one.log_prob(x[i : i + 1], sde.t_min) - one.log_prob(out.latent[i : i + 1], sde.t_max)
            close(out.log_prob[i : i + 1], exact, rtol=0, atol=2e-3)


# -- networks ---------------------------------------------------------------------------------------------------------


@each_song_sde
def test_a_float32_network_is_near_its_float64_twin(sde):
    net = MLP((2,), width=16, blocks=1, fourier=4)
    nn.init.normal_(net.leave[-1].weight, std=0.1)
    single, double = Preconditioned(net, sde), Preconditioned(copy.deepcopy(net).double(), sde)
    x = torch.randn(10, 2)
    a, b = (log_likelihood(model, x) for model in (single, double))
    assert a.log_prob.dtype == torch.float64 and float((a.log_prob - b.log_prob).abs().mean()) < 1e-3
    assert float(a.nfe.double().mean()) < 1.1 * float(b.nfe.double().mean())  # rounding costs the solver nothing
    assert not any(p.grad is not None for p in net.parameters())


# -- bits per dimension -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [2, 17, 256, 65536])
@pytest.mark.parametrize("scale", [1.0, 2.0, 7.5])
def test_a_uniform_source_has_log2_of_its_levels(levels, scale):
    """x = scale (v + u) / levels is uniform on a cube of side `scale`: log p(x) = -D log scale."""
    dims = 12
    log_prob = torch.full((5,), -dims * math.log(scale))
    bits = bits_per_dim(log_prob, dims, levels, dims * math.log(scale))
    assert bits.total == pytest.approx(math.log2(levels), abs=1e-6) and bits.stderr == pytest.approx(0, abs=1e-6)


def test_bits_add_up():
    log_prob = torch.randn(50) - 3
    bits = bits_per_dim(log_prob, 4, 256, 2.5)
    assert bits.total == pytest.approx(bits.model + bits.transform + bits.levels)
    assert bits.model == pytest.approx(-float(log_prob.mean()) / 4 / math.log(2), rel=1e-5)
    assert bits.transform == pytest.approx(-2.5 / 4 / math.log(2)) and bits.levels == 8
    assert bits.stderr == pytest.approx(float(log_prob.std()) / 4 / math.log(2) / 50**0.5, rel=1e-5)
    assert math.isnan(bits_per_dim(log_prob[:1], 4, 256, 2.5).stderr)


@pytest.mark.parametrize("levels", [None, 0, 1])
def test_bits_need_levels(levels):
    refuses(f"levels={levels}", "nats", call=lambda: bits_per_dim(torch.zeros(3), 4, levels, 0.0))
