"""Laws of the bounds: tight for exact denoisers, below for wrong ones, with an error that is the one reported."""

import math

import pytest
import torch
from problems import Around, close, each_sde, each_song_sde, mixture, refuses

from scoresde import grids
from scoresde.denoiser import Denoiser, FromScore
from scoresde.exact import GaussianMixture
from scoresde.likelihood import Plan, elbo, fit_plan, log_likelihood, vlb
from scoresde.sde import VE, VP
from scoresde.spaces import Bins


def error(bound, log_prob):
    """Mean of bound - log p over the rows, and its standard error."""
    e = bound.log_prob - log_prob
    return float(e.mean()), float(e.std()) / math.sqrt(len(e))


def fitted(model):
    return fit_plan(model, model.sample(64, seed=5))


# -- the continuous bound ---------------------------------------------------------------------------------------------


@each_sde
@pytest.mark.parametrize("dims", [2, 64])
def test_the_elbo_of_an_exact_denoiser_is_the_log_density(sde, dims):
    """Row by row: the reverse SDE is the true one, so only the decoder and p_T for q_T are left, both small here."""
    model = mixture(sde, (dims,))
    x = model.sample(100)
    out = elbo(model, x, n=64, density=fitted(model))
    mean, stderr = error(out, model.log_prob(x))
    # N(0, sigma_T^2) for p_T: E log(p_T / q_T) is exact for a Gaussian of the data's moments.
    sigma = float(sde.marginal(sde.t_max)[1])
    alpha = float(sde.marginal(sde.t_max)[0])
    slack = alpha**2 * float(x.square().sum(1).mean()) / sigma**2 + 1e-3 * dims
    assert abs(mean) < 4 * stderr + slack
    assert float(out.stderr.square().mean().sqrt()) < (0.5 if dims == 2 else 4.0)
    close(out.prior + out.diffusion + out.reconstruction, out.log_prob)


@each_song_sde
def test_the_elbo_and_the_flow_agree(sde):
    """Of an exact denoiser: both are log p, of x_0 the bound and of x_{t_min} the flow, from the same prior."""
    model = mixture(sde)
    x0, x = model.sample(1000), model.sample(1000, sde.t_min)
    mean, stderr = error(elbo(model, x0, n=32, density=fitted(model)), model.log_prob(x0))
    flow = log_likelihood(model, x[:50]).log_prob - model.log_prob(x[:50], sde.t_min)
    assert abs(mean - float(flow.mean())) < 4 * stderr + 2e-3


def test_one_gaussian_has_no_noise():
    """The control variate is the error itself: the bound is exact with one pair, and is log p less what is known."""
    for sde in (VP(), VE()):
        model = GaussianMixture(torch.ones(1), torch.tensor([[0.5, -1.0, 2.0]]).double(), 0.7, sde)
        x = model.sample(5)
        exact = Plan.uniform(sde, sde.t_min)
        plan = Plan(exact.edges, exact.mass, torch.ones(1).double(), model.means[0], 0.7)
        out = elbo(model, x, n=2, density=plan, ends=2)
        assert float(out.stderr.max()) < 1e-6
        alpha, sigma = (float(a) for a in sde.marginal(sde.t_max))
        # the mean over q(x_T | x_0) of log N(0, sigma^2) - log N(alpha m, alpha^2 s^2 + sigma^2)
        wide = (alpha * 0.7) ** 2 + sigma**2
        square = (alpha * (x - model.means[0])).square() + sigma**2
        swap = 0.5 * (square / wide + math.log(wide)) - 0.5 * ((alpha * x) ** 2 / sigma**2 + 1 + math.log(sigma**2))
        # and of log N(D, sigma^2 / alpha^2) less the posterior with rho = sigma^2 / (alpha^2 s^2), at t_min
        rho = math.exp(-float(sde.log_snr(sde.t_min))) / 0.49
        square = (rho**2 * ((x - model.means[0]) / 0.7) ** 2 + rho) / (1 + rho) ** 2  # |x_0 - D|^2 / s^2
        decoder = 0.5 * (square * (1 + rho) / rho - square / rho + math.log1p(-rho / (1 + rho)))
        close(out.log_prob, model.log_prob(x) + (swap + decoder).sum(1), rtol=0, atol=1e-6)


@pytest.mark.parametrize("density", ["uniform", "plan"])
def test_the_standard_error_is_honest(density):
    model = mixture(VP(), (6,))
    x = model.sample(1).expand(2000, 6)
    out = elbo(model, x, n=16, density=fitted(model) if density == "plan" else density)
    spread = float(out.log_prob.std())
    assert float(out.stderr.square().mean().sqrt()) == pytest.approx(spread, rel=0.15)
    chain = grids.log_snr(VP(), 40, 1.0, 1e-3)
    plan = fit_plan(model, model.sample(64, seed=5), t_min=1e-3) if density == "plan" else density
    for options in ({"n": 16}, {"draws": 3}):
        out = vlb(model, x[:800], chain, density=plan, **options)
        assert float(out.stderr.square().mean().sqrt()) == pytest.approx(float(out.log_prob.std()), rel=0.15)


def test_a_plan_lowers_the_variance():
    model = mixture(VP(), (16,))
    x, plan = model.sample(200), fitted(model)
    plain, planned = (elbo(model, x, density=d).stderr.square().mean() for d in ("uniform", plan))
    assert float(planned) < 0.1 * float(plain)
    u = torch.linspace(0.01, 0.99, 99).double()
    places, inverse = plan.place(u)
    close(plan.cdf(places), u)
    assert (inverse > 0).all() and float(plan.mass.sum()) == pytest.approx(1)


def test_the_known_part_is_the_mean_and_its_integral():
    model = mixture(VP(), (3,))
    x, plan = model.sample(4), fitted(model)
    log_snr = torch.tensor([-2.0, 0.5, 3.0, 6.0]).double()
    eps = torch.randn(200000, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for i in range(4):
        rows = plan.known(x[i].expand_as(eps), log_snr[i].expand(len(eps)), eps)
        mean = plan.mean_known(x[i : i + 1], log_snr[i : i + 1])
        assert float(rows.mean()) == pytest.approx(float(mean), abs=4 * float(rows.std()) / len(eps) ** 0.5)
    line = torch.linspace(float(plan.edges[0]), float(plan.edges[-1]), 240001, dtype=torch.float64)
    middle = (line[1:] + line[:-1]) / 2
    sums = [plan.mean_known(x[i].expand(len(middle), 3), middle).sum() * (line[1] - line[0]) for i in range(4)]
    close(plan.integral_known(x), torch.stack(sums), rtol=1e-6)


class Wrong(Denoiser):
    """An exact denoiser, bent."""

    def __init__(self, model, size):
        super().__init__(model.sde)
        self.model, self.size = model, size

    def forward(self, x, t):
        return self.model(x, t) + self.size * torch.sin(3 * x + 1)


@each_sde
@pytest.mark.parametrize("size", [0.03, 0.3])
def test_a_wrong_model_is_below(sde, size):
    model = mixture(sde)
    x = model.sample(500)
    wrong = Wrong(model, size)
    mean, stderr = error(elbo(wrong, x, n=32, density=fitted(model)), model.log_prob(x))
    assert mean < -4 * stderr
    zero = FromScore(lambda x, t: -x, sde)
    assert error(elbo(zero, x, n=16), model.log_prob(x))[0] < 0


# -- the chain --------------------------------------------------------------------------------------------------------


@each_song_sde
@pytest.mark.parametrize("variance", ["posterior", "beta"])
def test_the_chain_rises_to_the_elbo_as_one_over_its_steps(sde, variance):
    model = mixture(sde)
    x, plan = model.sample(100), fitted(model)
    gaps = []
    for steps in (50, 100, 200):
        out = vlb(model, x, grids.log_snr(sde, steps, sde.t_max, sde.t_min), variance=variance, density=plan)
        gaps.append(-float((out.log_prob - model.log_prob(x)).mean()))
        noise = float((out.log_prob - model.log_prob(x)).std()) / math.sqrt(len(x))
        close(out.diffusion, out.steps.sum(1))
        assert out.steps.shape == (100, steps) and (variance == "beta" or plan.beta.any())
    if variance == "posterior":
        assert gaps == sorted(gaps, reverse=True)
        assert [a / b for a, b in zip(gaps, gaps[1:], strict=False)] == pytest.approx([2, 2], abs=0.5)
    assert gaps[0] > gaps[-1] - 4 * noise and gaps[-1] > -4 * noise


def test_a_step_is_the_divergence_of_two_gaussians():
    """L_t of a constant D, against torch's KL of q(x_s | x_t, x_0) and p(x_s | x_t)."""
    for sde in (VP(), VE()):
        s, t = 0.3, 0.6
        (a, b), (c, d) = ((float(v) for v in sde.marginal(r)) for r in (s, t))
        model, x0 = Constant(sde), torch.tensor([[1.0, -2.0]]).double()
        step = d**2 - (c / a) ** 2 * b**2
        for variance, scale in (("posterior", math.sqrt(step) * b / d), ("beta", math.sqrt(step))):
            out = vlb(model, x0, [t, s], variance=variance)
            post = math.sqrt(step) * b / d
            q = torch.distributions.Normal(a * step / d**2 * x0, post)
            p = torch.distributions.Normal(a * step / d**2 * 0.5 * torch.ones_like(x0), scale)
            close(out.steps[:, 0], -torch.distributions.kl_divergence(q, p).sum(1))
            prior = torch.distributions.kl_divergence(
                torch.distributions.Normal(c * x0, d), torch.distributions.Normal(0 * x0, d)
            )
            close(out.prior, -prior.sum(1))


class Constant(Denoiser):
    def forward(self, x, t):
        return torch.full_like(x, 0.5)


def test_some_steps_stand_for_all():
    model = mixture(VP())
    x = model.sample(1).expand(3000, 2)
    chain = grids.log_snr(VP(), 30, 1.0, 1e-3)
    for variance in ("posterior", "beta"):
        options = {"variance": variance, "density": fit_plan(model, model.sample(64, seed=5), t_min=1e-3)}
        some, every = vlb(model, x, chain, n=6, **options), vlb(model, x, chain, **options)
        gap = some.diffusion - every.diffusion
        assert abs(float(gap.mean())) < 4 * float(gap.std()) / math.sqrt(len(gap))
        assert some.steps is None and some.nfe == 6 + 4 and every.nfe == 30 + 4


# -- discrete data, rows, refusals ------------------------------------------------------------------------------------


def test_the_discrete_bound_of_points_is_their_probability():
    """Data on the centres of bins: P(v) is the weight of v, and the bound with the exact decoder is its logarithm."""
    levels = Bins(5, 2.5, -1.25)
    raw = torch.arange(5)[:, None]
    weights = torch.tensor([1.0, 4, 2, 2, 1]).double()
    for sde in (VP(t_min=1e-3), VE()):
        model = GaussianMixture(weights, levels.place(raw), 1e-5, sde)
        x = levels.place(raw).repeat_interleave(400, 0)
        assert torch.equal(levels.nearest(x)[::400], raw.double())
        plan = fit_plan(model, x, control=False)
        for out in (
            elbo(model, x, n=32, density=plan, levels=levels),
            vlb(model, x, grids.log_snr(sde, 300, sde.t_max, sde.t_min), n=32, density=plan, levels=levels),
        ):
            e = (out.log_prob.reshape(5, 400) - (weights / 10).log()[:, None]).mean(1)
            stderr = out.stderr.reshape(5, 400).square().mean(1).sqrt() / 20
            assert bool((e.abs() < 4 * stderr + 0.03).all()), (e, stderr)


@pytest.mark.parametrize("call", ["elbo", "vlb", "some"])
def test_a_row_does_not_depend_on_its_batch(call):
    model = mixture(VP(), (4,))
    x, plan = model.sample(8), fitted(model)
    chain = grids.uniform(VP(), 10, 1.0, 1e-5)
    functions = {
        "elbo": lambda x, **k: elbo(model, x, n=8, density=plan, **k),
        "vlb": lambda x, **k: vlb(model, x, chain, draws=2, density=plan, **k),
        "some": lambda x, **k: vlb(model, x, chain, n=4, density=plan, **k),
    }
    whole = functions[call](x, seed=3)
    part = functions[call](x[3:7], seed=3, offset=3)
    for name in ("log_prob", "stderr", "prior", "diffusion", "reconstruction"):
        close(getattr(part, name), getattr(whole, name)[3:7], rtol=0, atol=1e-10)
    assert not torch.equal(functions[call](x, seed=4).log_prob, whole.log_prob)


def test_conditions_and_shapes():
    sde, means = VP(), torch.tensor([[0.0, 1.0], [2.0, -3.0], [9.0, 9.0], [0.0, 0.0]]).double()
    x = means + 0.3 * torch.randn(4, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    out = elbo(Around(sde), x, n=256, cond={"mean": means}, ends=64)
    for i in range(4):
        one = GaussianMixture(torch.ones(1), means[i : i + 1], 0.3, sde)
        assert float(out.log_prob[i] - one.log_prob(x[i : i + 1])[0]) == pytest.approx(0, abs=5 * float(out.stderr[i]))
    image = mixture(sde, (1, 4, 4))
    out = elbo(image, image.sample(3).float(), n=4, density="adaptive")
    assert out.log_prob.shape == (3,) and out.log_prob.dtype == torch.float64


def test_refusals():
    model = mixture(VP())
    x = model.sample(2)
    refuses("n=3", "even", call=lambda: elbo(model, x, n=3))
    refuses("ends=0", call=lambda: elbo(model, x, ends=0))
    refuses("density='best'", call=lambda: elbo(model, x, density="best"))
    refuses("plan", call=lambda: elbo(model, x, density=Plan.uniform(VP(), 1e-3)))
    refuses("t_min", call=lambda: elbo(model, x, t_min=1e-9))
    refuses("variance='mean'", call=lambda: vlb(model, x, [1.0, 0.5], variance="mean"))
    refuses("times", "decrease", call=lambda: vlb(model, x, [0.5, 1.0]))
    refuses("times", "lie in", call=lambda: vlb(model, x, [1.0, 0.0]))
    assert vlb(model, x, [1.0, 0.5]).stderr.isnan().all()
