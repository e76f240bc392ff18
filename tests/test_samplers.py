"""Laws of each sampler: its order of convergence and the limit, or the moments of the exact distribution."""

import math

import pytest
import torch
from problems import SDES, SONG, close, each_sde, each_song_sde, mixture, moments
from scipy import stats
from scipy.integrate import solve_ivp

from scoresde.denoiser import Denoiser
from scoresde.noise import Draws
from scoresde.sampling import (
    ALD,
    DDIM,
    PC,
    DPMpp2MSDE,
    EDMHeun,
    EulerMaruyama,
    ExponentialEuler,
    Gibbs,
    Langevin,
    ProbabilityFlow,
    ReverseDiffusion,
    SASolver,
    Within,
    sample,
)
from scoresde.sde import expand

PREDICTORS = {"reverse_diffusion": ReverseDiffusion(), "ancestral": DDIM(eta=1.0), "euler_maruyama": EulerMaruyama()}


def step(sampler, model, x, t, s, noise):
    """One step without a past."""
    return sampler.step(model, x, t, s, None, noise)[0]


def run(model, sampler, n=32, **kwargs):
    return sample(model, sampler, (n, *model.means.shape[1:]), dtype=torch.float64, **kwargs)


# -- deterministic ----------------------------------------------------------------------------------------------------


@each_song_sde
def test_the_flow_ends_where_the_ode_in_time_ends(sde):
    """dx/dt = f x - g^2 score / 2 (Song et al., 2021, equation 13) by scipy: another solver, and no common variable."""
    model, n = mixture(sde), 4
    start = sde.prior(Draws(0, torch.arange(n), 0)(torch.zeros(n, 2, dtype=torch.float64)))

    def derivative(t, x):
        x = torch.from_numpy(x).reshape(n, 2)
        f, g2 = sde.drift_diffusion(t)
        return (f * x - g2 / 2 * model.score(x, t)).flatten().numpy()

    exact = solve_ivp(derivative, (sde.t_max, sde.t_min), start.flatten().numpy(), "DOP853", rtol=1e-9, atol=1e-10)
    x = run(model, ProbabilityFlow(rtol=1e-9, atol=1e-9, last="none"), n)
    close(x, torch.from_numpy(exact.y[:, -1]).reshape(n, 2), rtol=0, atol=1e-6)


@each_sde
def test_the_tolerance_of_the_flow_is_its_error(sde):
    model = mixture(sde)
    limit = run(model, ProbabilityFlow(rtol=1e-10, atol=1e-10, last="none"))
    for tolerance in (1e-4, 1e-7):
        x = run(model, ProbabilityFlow(rtol=tolerance, atol=tolerance, last="none"))
        assert (x - limit).square().mean().sqrt() < 30 * tolerance
    stops = run(model, ProbabilityFlow(rtol=1e-7, atol=1e-7, last="none", steps=5))
    assert (stops - limit).abs().max() < 1e-4


@each_sde
def test_the_flow_keeps_the_distribution(sde):
    """x_T ~ p_T exactly: the flow's samples then have the moments of p_{t_min} but for chance."""
    model, n = mixture(sde), 2000
    fits(run(model, ProbabilityFlow(last="none"), n), model, sde.t_min, allowance=0.01)


@each_sde
def test_ddim_is_a_rotation(sde):
    """z_s = cos(d) z - sin(d) v, z = x / n, d = phi_t - phi_s; so two steps with the same v are one."""
    model = mixture(sde, (3,))
    x = model.sample(5) * float(sde.marginal(sde.t_max)[1])
    times = sde.time(torch.tensor([-3.0, -1.0, 2.0])).tolist()
    for t, s in zip(times, times[1:], strict=False):
        out, _ = DDIM().step(model, x, t, s, None, None)
        n_t, n_s = (torch.hypot(*sde.marginal(u)) for u in (t, s))
        d = sde.angle(t) - sde.angle(s)
        close(out / n_s, d.cos() * x / n_t - d.sin() * model.velocity(x, t), rtol=1e-9)


# -- stochastic -------------------------------------------------------------------------------------------------------


def fits(x, model, t, allowance):
    """Mean, covariance and the distribution along a line are those of p_t, within 5 standard errors + allowance."""
    n, (mean, covariance) = len(x), moments(model, t)
    spread = covariance.diagonal().sqrt()
    assert ((x.mean(0) - mean).abs() / spread).max() < 5 / math.sqrt(n) + allowance
    assert ((x.T.cov() - covariance).abs() / (spread * spread[:, None])).max() < 5 * math.sqrt(2 / n) + allowance
    alpha, sigma = (float(a) for a in model.sde.marginal(t))
    line = torch.tensor([0.8, -0.6], dtype=torch.float64)
    centres, widths = alpha * model.means @ line, ((alpha * model.stds) ** 2 + sigma**2) @ line**2

    def cdf(y):
        z = (torch.as_tensor(y)[:, None] - centres) / widths.sqrt()
        return (torch.special.ndtr(z) @ model.log_weights.exp()).numpy()

    assert stats.kstest((x @ line).numpy(), cdf).statistic < 2.2 / math.sqrt(n) + allowance


MANY = {"steps": 100, "last": "none"}
EVEN = {**MANY, "grid": "uniform_angle"}
STOCHASTIC = {
    **{f"{p}-{c}": PC(predictor=p, corrector=c, **MANY) for p in PREDICTORS for c in ("langevin", "none")},
    "ancestral-ald": PC(predictor="ancestral", corrector="ald", **MANY),
    "ancestral-gibbs": PC(predictor="ancestral", corrector="gibbs", **MANY),
    "ancestral-gibbs-after": PC(predictor="ancestral", corrector="gibbs", correct="after", **MANY),
    "heun-langevin-after": PC(predictor="heun", correct="after", between=(0.1, 10.0), corrector_steps=2, **MANY),
    "ddim-half": DDIM(eta=0.5, **MANY),
    "ddim-one": DDIM(eta=1.0, **MANY),
    "euler-eta": EulerMaruyama(steps=400, eta=0.5, last="none"),
    "euler-eta-two": EulerMaruyama(steps=400, eta=2.0, last="none"),
    "euler-within": EulerMaruyama(eta=Within(0.1, 0.7, 1.5), **EVEN),
    "exponential": ExponentialEuler(**EVEN),
    "exponential-eta": ExponentialEuler(steps=300, eta=lambda t: 1.5 / (1 + t), last="none"),
    "edm-churn": EDMHeun(s_churn=30.0, **MANY),
    "dpmpp-2m-sde": DPMpp2MSDE(**MANY),
    "sa": SASolver(**MANY),
    "sa-eta": SASolver(eta=0.6, order=3, **MANY),
}


@each_sde
@pytest.mark.parametrize("name", STOCHASTIC)
def test_moments_of_stochastic_samplers(sde, name):
    """100 steps; the discretisation may add 2 % of a standard deviation, of a variance and of probability."""
    model = mixture(sde)
    fits(run(model, STOCHASTIC[name], 4000), model, sde.t_min, allowance=0.02)


@each_sde
@pytest.mark.parametrize("batch_norms", [False, True])
def test_the_corrector_leaves_the_distribution_alone(sde, batch_norms):
    model, n = mixture(sde), 4000
    t, s = (float(sde.time(torch.tensor(c))) for c in (0.0, 0.1))
    x = model.sample(n, t)
    for i in range(40):
        x = Langevin(0.16, batch_norms)(model, x, t, t, s, Draws(1, torch.arange(n), i + 1))
    fits(x, model, t, allowance=0.03)
    away = x + 0.3 * float(sde.marginal(t)[1])  # and brings back what has left it
    for i in range(300):
        away = Langevin(0.2, batch_norms)(model, away, t, t, s, Draws(2, torch.arange(n), i + 1))
    fits(away, model, t, allowance=0.05)


@each_sde
@pytest.mark.parametrize("corrector", [ALD(), Gibbs()], ids=["ald", "gibbs"])
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_other_correctors_leave_the_distribution_alone(sde, corrector, before):
    model, n = mixture(sde), 4000
    t, s = (float(sde.time(torch.tensor(c))) for c in (0.0, 0.1))
    u = t if before else s
    x = model.sample(n, u)
    for i in range(40):
        x = corrector(model, x, u, t, s, Draws(1, torch.arange(n), i + 1))
    fits(x, model, u, allowance=0.03)


@each_sde
def test_predictors_agree_to_first_order(sde):
    """One step of any predictor has the mean and the variance of Euler's step on the reverse SDE, up to h^2."""
    model = mixture(sde, (3,))
    t = float(sde.time(-0.5))
    x, index = model.sample(50, t), torch.arange(50)
    apart = []
    for h in (1e-3 * t, 5e-4 * t):
        means, stds = [], []
        for predictor in PREDICTORS.values():
            means.append(step(predictor, model, x, t, t - h, Draws(0, index, 1, silent=True)))
            noise = Draws(0, index, 1)(x)
            stds.append(((step(predictor, model, x, t, t - h, Draws(0, index, 1)) - means[-1]) / noise).flatten())
        assert all((a.max() - a.min()) < 1e-9 * sde.marginal(t)[1] for a in stds)
        apart.append(
            [float((a - b).abs().max()) for a in (means, [a**2 for a in stds]) for b in (a[2],) for a in a[:2]]
        )
    for coarse, fine in zip(*apart, strict=True):
        assert math.log2(coarse / fine) > 1.8, apart


@each_sde
def test_ancestral_is_the_posterior_of_the_forward_process(sde):
    """q(x_s | x_t, x_0) by the product of the two Gaussians q(x_t | x_s) q(x_s | x_0) (Ho et al., 2020, equation 7)."""

    class Known(Denoiser):
        def forward(self, x, t):
            return x0

    x0, index = torch.randn(5, 3, dtype=torch.float64), torch.arange(5)
    t, s = sde.time(torch.tensor([-1.0, 1.0])).tolist()
    (alpha_t, sigma_t), (alpha_s, sigma_s) = sde.marginal(t), sde.marginal(s)
    a = alpha_t / alpha_s
    g2 = sigma_t**2 - a**2 * sigma_s**2
    x = sde.perturb(x0, t, torch.randn_like(x0))
    precision = a**2 / g2 + 1 / sigma_s**2
    mean = (a * x / g2 + alpha_s * x0 / sigma_s**2) / precision
    ancestral = DDIM(eta=1.0)
    close(step(ancestral, Known(sde), x, t, s, Draws(0, index, 1, silent=True)), mean)
    noise = Draws(0, index, 1)(x)
    close(step(ancestral, Known(sde), x, t, s, Draws(0, index, 1)), mean + noise / precision.sqrt())
    for eta in (0.3, 0.8):  # of whose deviation eta is the share
        some, still = (step(DDIM(eta=eta), Known(sde), x, t, s, Draws(0, index, 1, silent=q)) for q in (False, True))
        close(some - still, eta * noise / precision.sqrt())
    for eta in (0.0, 0.3, 1.0):  # for every eta the marginal of x_s given x_0 is that of the SDE
        n = 20000
        x = sde.perturb(x0[:1].expand(n, 3), t, torch.randn(n, 3, dtype=torch.float64))
        known = Known(sde)
        known.forward = lambda x, t: x0[:1].expand(len(x), 3)
        out, _ = DDIM(eta=eta).step(known, x, t, s, None, Draws(0, torch.arange(n), 1))
        assert ((out.mean(0) - alpha_s * x0[0]).abs() < 5 * sigma_s / math.sqrt(n)).all()
        assert ((out.var(0) / sigma_s**2 - 1).abs() < 5 * math.sqrt(2 / n)).all()


def test_langevin_follows_its_formula():
    for name in SONG:
        sde = SDES[name]
        model = mixture(sde, (1, 4, 4))
        t, s = (float(sde.time(torch.tensor(c))) for c in (1.0, 1.2))
        x, index = model.sample(6, t), torch.arange(6)
        x[:2] *= 40  # far out, where a sample's own score is large and shortens its step
        score, z = model.score(x, t), Draws(0, index, 1)(x)
        (alpha_t, sigma_t), (alpha_s, _) = sde.marginal(t), sde.marginal(s)
        own = torch.minimum(4 * 16 / score.flatten(1).square().sum(1), sigma_t**2)
        assert (own[:2] < sigma_t**2).all() and (own[2:] == sigma_t**2).all()
        norms = (z.flatten(1).norm(dim=1).mean() / score.flatten(1).norm(dim=1).mean()) ** 2
        for batch_norms, ratio in ((False, expand(own, x)), (True, norms)):
            e = 2 * (alpha_t / alpha_s * 0.3) ** 2 * ratio
            out = Langevin(0.3, batch_norms)(model, x, t, t, s, Draws(0, index, 1))
            close(out, x + e * score + (2 * e).sqrt() * z)
        e = 2 * (alpha_t / alpha_s * 0.3 * sigma_t) ** 2
        close(ALD(0.3)(model, x, t, t, s, Draws(0, index, 1)), x + e * score + (2 * e).sqrt() * z)
