"""Laws of scoresde.denoiser and scoresde.exact: every form of the answer is exact, at any shape and time."""

import pytest
import torch
from problems import SDES, SHAPES, close, each_sde, each_shape, levels, mixture, moments, noisy, refuses
from torch import nn

from scoresde import denoiser as waist
from scoresde.conditions import Label
from scoresde.denoiser import RULES, Counted, FromScore, Preconditioned
from scoresde.exact import Empirical, GaussianMixture
from scoresde.sde import VE, VP, expand


class Recorder(nn.Module):
    """A network of type `dtype` that returns `answer` (zeros by default) and keeps what it was given."""

    def __init__(self, dtype=torch.float64, answer=None):
        super().__init__()
        self.weight, self.answer = nn.Parameter(torch.zeros(1, dtype=dtype)), answer

    def forward(self, x, c, cond=None):
        self.x, self.c, self.cond = x, c, cond
        return torch.zeros_like(x) if self.answer is None else self.answer.to(x.dtype)


# -- the exact mixture ------------------------------------------------------------------------------------------------


@each_sde
@each_shape
def test_mixture_score_is_the_gradient_of_its_log_density(sde, shape):
    model = mixture(sde, shape)
    x, t = noisy(model)
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(model.log_prob(x, t).sum(), x)
    sigma = expand(sde.marginal(t)[1], x)
    # the score is alpha D - x over sigma^2: so many digits as that difference has
    close(sigma**2 * model.score(x, t), sigma**2 * gradient, rtol=1e-8, atol=1e-13 * x.abs().max().item())


@each_sde
@each_shape
def test_every_form_agrees_with_the_denoiser(sde, shape):
    model = mixture(sde, shape)
    x, t = noisy(model)
    alpha, sigma = (expand(a, x) for a in sde.marginal(t))
    phi = expand(sde.angle(t), x)
    x0, eps = model(x, t), model.eps(x, t)
    close(alpha * x0 + sigma * eps, x)
    close(-sigma * model.score(x, t), eps, rtol=1e-8)
    close(model.velocity(x, t), phi.cos() * eps - phi.sin() * x0, rtol=1e-8)
    assert model.float()(x.float(), t).dtype == torch.float32


def test_mixture_agrees_with_torch_distributions():
    from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

    for shape in SHAPES:
        model = mixture(VP(), shape)
        parts = Independent(Normal(model.means, model.stds), len(shape))
        x = model.sample(5)
        close(model.log_prob(x), MixtureSameFamily(Categorical(logits=model.log_weights), parts).log_prob(x))


@each_sde
def test_mixture_density_integrates_to_one(sde):
    model = mixture(sde)
    for t in (None, *levels(sde, 3).tolist()):
        mean, covariance = moments(model, t)
        width = 10 * float(covariance.diagonal().max().sqrt())
        axis = torch.linspace(-width, width, 401, dtype=torch.float64)
        grid = torch.cartesian_prod(axis, axis) + mean
        total = model.log_prob(grid, t).exp().sum() * (axis[1] - axis[0]) ** 2
        assert float(total) == pytest.approx(1, abs=1e-6)


@each_sde
def test_mixture_samples_have_its_moments(sde):
    model, n = mixture(sde, (3,)), 20000
    for t in (None, float(levels(sde, 3)[1]), sde.t_max):
        x = model.sample(n, t)
        mean, covariance = moments(model, t)
        spread = covariance.diagonal().sqrt()
        assert ((x.mean(0) - mean).abs() < 5 * spread / n**0.5).all()
        assert ((x.T.cov() - covariance).abs() < 5 * (2 / n) ** 0.5 * spread * spread[:, None]).all()
    assert torch.equal(model.sample(5, seed=3), model.sample(5, seed=3))
    assert not torch.equal(model.sample(5, seed=3), model.sample(5, seed=4))


def test_wrong_mixtures_are_refused():
    means = torch.zeros(2, 3)
    refuses("(3,)", "(2, 3)", call=lambda: GaussianMixture(torch.ones(3), means, 1.0, VP()))
    refuses("positive", call=lambda: GaussianMixture(torch.tensor([1.0, 0.0]), means, 1.0, VP()))
    refuses("stds (2, 3, 1)", call=lambda: GaussianMixture(torch.ones(2), means, torch.ones(2, 3, 1), VP()))
    refuses("data (0, 2)", call=lambda: Empirical(torch.zeros(0, 2), VP()))


# -- times and types --------------------------------------------------------------------------------------------------


@each_sde
@pytest.mark.parametrize("kind", ["mixture", "empirical", "score", *RULES])
def test_a_time_is_a_number_a_scalar_or_one_for_each_row(sde, kind):
    exact = mixture(sde, (1, 4, 4))
    x, t = noisy(exact)
    if kind in RULES:
        torch.manual_seed(1)
        model = Preconditioned(Affine(), sde, kind)
    else:
        known = {"mixture": exact, "empirical": Empirical(exact.sample(9), sde), "score": FromScore(exact.score, sde)}
        model = known[kind]
    for i in (0, 2):
        expected = model(x, t)[i : i + 1]
        for time in (float(t[i]), t[i], t[i : i + 1].expand(len(x))):
            close(model(x, time)[i : i + 1], expected, rtol=1e-9)
            close(model.score(x, time)[i : i + 1], model.score(x, t)[i : i + 1], rtol=1e-7, atol=1e-7)


class Affine(nn.Module):
    """A network that depends on x and on c."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(2, dtype=torch.float64))

    def forward(self, x, c):
        return self.weight[0] * x + self.weight[1] * c.reshape(-1, *[1] * (x.ndim - 1))


# -- preconditioning --------------------------------------------------------------------------------------------------


@each_sde
@each_shape
@pytest.mark.parametrize("rule", [*RULES, waist.edm(2.0)], ids=str)
def test_a_rule_returns_x0_for_the_ideal_answer_of_the_network(sde, shape, rule):
    x0 = torch.randn(shape[-1], *shape, dtype=torch.float64)
    t, eps = levels(sde, len(x0)), torch.randn_like(x0)
    x = sde.perturb(x0, t, eps)
    alpha, sigma = (expand(a, x) for a in sde.marginal(t))
    n = (alpha**2 + sigma**2).sqrt()
    if isinstance(rule, str) and rule != "edm":
        answer = {"eps": eps, "x0": x0, "v": (alpha * eps - sigma * x0) / n}[rule]
    else:
        sd = 0.5 if rule == "edm" else 2.0
        scale = (alpha**2 * sd**2 + sigma**2).sqrt()
        answer = (sigma**2 * x0 - alpha * sd**2 * sigma * eps) / (sigma * sd * scale)
    close(Preconditioned(Recorder(answer=answer), sde, rule)(x, t), x0, rtol=1e-8)


@each_sde
def test_edm_rule_has_unit_variance(sde):
    """c_in x and the ideal answer have variance 1 for data of standard deviation sd (Karras et al., 2022, B.6)."""
    alpha, sigma = sde.marginal(levels(sde, 20))
    for sd in (0.5, 2.0):
        c_skip, c_out, c_in = waist.edm(sd)(alpha, sigma)
        close(c_in**2 * (alpha**2 * sd**2 + sigma**2), torch.ones(20))
        close(((1 - c_skip * alpha) ** 2 * sd**2 + c_skip**2 * sigma**2) / c_out**2, torch.ones(20), rtol=1e-7)


@each_sde
@pytest.mark.parametrize("rule", RULES)
def test_a_float32_network_keeps_the_float64_of_x(sde, rule):
    x = torch.randn(3, 4, 3, dtype=torch.float64)
    t, answer = levels(sde, 3), torch.randn(3, 4, 3)
    net = Recorder(torch.float32, answer)
    out = Preconditioned(net, sde, rule)(x, t)
    c_skip, c_out, c_in = (expand(c, x) for c in RULES[rule](*sde.marginal(t)))
    close(out, c_skip * x + c_out * answer.double(), rtol=1e-13, atol=1e-13)
    assert out.dtype == torch.float64 and net.x.dtype == net.c.dtype == torch.float32


@pytest.mark.parametrize("rule", [r for r in RULES if r != "edm"])
def test_the_network_sees_only_the_normalised_input_and_the_noise_level(rule):
    seen = []
    z = torch.randn(4, 2, dtype=torch.float64)
    for sde in (*SDES.values(), VE(0.002, 300.0)):
        t = sde.time(torch.tensor([3.0, 1.0, 0.0, -4.0]))  # the same sigma / alpha for every SDE
        net = Recorder()
        n = expand(torch.hypot(*sde.marginal(t)), z)
        net.conditions = {"label": Label(3)}
        cond = {"label": torch.arange(4) - 1}
        Preconditioned(net, sde, rule)(n * z, t, cond)
        assert net.cond is cond and net.c.shape == (4,)
        seen.append(net)
    for net in seen:
        close(net.x, z, rtol=1e-8)
        close(net.c, torch.tensor([-1.5, -0.5, 0.0, 2.0]), atol=1e-8)


def test_a_rule_may_be_a_function_and_unknown_ones_are_refused():
    x = torch.randn(2, 3, dtype=torch.float64)
    double = Preconditioned(Recorder(), VP(), lambda alpha, sigma: (2 + 0 * alpha, sigma, alpha))
    close(double(x, 0.5), 2 * x)
    refuses("rule='epsilon'", "eps, v, x0, edm", call=lambda: Preconditioned(Recorder(), VP(), "epsilon"))


# -- from a score, counted, empirical ---------------------------------------------------------------------------------


@each_sde
@each_shape
def test_from_score_is_the_denoiser_of_the_score(sde, shape):
    exact = mixture(sde, shape)
    model = FromScore(exact.score, sde)
    x, t = noisy(exact)
    alpha, sigma = sde.marginal(t)
    close(model(x, t), exact(x, t), rtol=1e-7, atol=1e-8 + 1e-14 * float((sigma / alpha).max()))
    close(model.score(x, t), exact.score(x, t), rtol=1e-12)


def test_counted_counts():
    exact = mixture(VP())
    seen = []
    counted = Counted(exact, lambda c: seen.append(c.calls))
    x, t = noisy(exact, 5)
    close(counted(x, t), exact(x, t))
    close(counted.score(x[:2], t[:2]), exact.score(x[:2], t[:2]))
    assert (counted.calls, counted.rows, seen) == (2, 7, [1, 2])
    close(counted.x0, exact(x[:2], t[:2]))


@each_sde
@each_shape
def test_empirical_is_the_softmax_over_the_points(sde, shape):
    data = torch.randn(shape[-1], *shape, dtype=torch.float64)
    x, t = noisy(mixture(sde, shape), 5)
    alpha, sigma = (expand(a, x) for a in sde.marginal(t))
    square = (x[:, None] - alpha[:, None] * data).square().flatten(2).sum(2)
    weights = (-square / (2 * sigma.flatten(1) ** 2)).softmax(1)
    expected = torch.einsum("bn,n...->b...", weights, data)
    for chunk in (1, 2, 1000):
        close(Empirical(data, sde, chunk)(x, t), expected, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_empirical_is_a_mean_of_the_points_at_any_noise(dtype):
    sde = VE(1e-5, 1e5)
    data = torch.randn(30, 2, dtype=dtype) * 5
    model = Empirical(data, sde, chunk=7)
    x = torch.cat([data[:3] + 1e-7, torch.randn(3, 2, dtype=dtype), torch.full((2, 2), 1e6, dtype=dtype)])
    for t in (0.0, 0.5, 1.0):
        out = model(x, t)
        assert out.dtype == dtype and out.isfinite().all()
        assert (out >= data.amin(0) - 1e-5).all() and (out <= data.amax(0) + 1e-5).all()
    close(model(x[:3], 0.0), data[:3], atol=1e-6)
    close(model(x[:6], 1.0), data.mean(0).expand(6, 2), atol=1e-3)
