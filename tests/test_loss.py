"""Laws of scoresde.loss: the weights' formulas, the distribution of times, and a minimum at the exact denoiser."""

import math

import numpy as np
import pytest
import torch
from problems import SDES, close, each_sde, each_shape, levels, mixture, refuses
from scipy import stats
from torch import nn

from scoresde.denoiser import RULES, Denoiser, FromScore, Preconditioned
from scoresde.exact import GaussianMixture
from scoresde.loss import TIMES, WEIGHTS, Adaptive, DenoisingLoss, Schedule, by_weight, edm, lognormal, min_snr, spread
from scoresde.sde import EDM, VP, SubVP, expand


class Constant(nn.Module):
    """A float32 network whose answer is a number."""

    def __init__(self, value=0.0):
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))

    def forward(self, x, c):
        return self.value.expand_as(x)


class Moved(Denoiser):
    """Another denoiser's answer plus a constant."""

    def __init__(self, denoiser, by):
        super().__init__(denoiser.sde)
        self.denoiser, self.by = denoiser, by

    def forward(self, x, t):
        return self.denoiser(x, t) + self.by


def draw(sde, shape=(2,), n=None):
    """Data, times from end to end of the noise levels, and noise; as many rows as the last dimension by default."""
    n = n or shape[-1]
    x0, eps = torch.randn(2, n, *shape, dtype=torch.float64)
    return x0, levels(sde, n), eps


# -- weights ----------------------------------------------------------------------------------------------------------


@each_sde
def test_weights_are_their_formulas(sde):
    t = levels(sde, 30)
    alpha, sigma = sde.marginal(t)
    _, g2 = sde.drift_diffusion(t)
    snr = (alpha / sigma) ** 2
    expected = {
        "simple": snr,
        "likelihood": g2 * alpha**2 / sigma**4,
        "edm": (alpha**2 * 0.25 + sigma**2) / (sigma * 0.5) ** 2,
        "min_snr": torch.minimum(snr, torch.tensor(5.0)),
    }
    assert expected.keys() == WEIGHTS.keys()
    for name, weight in WEIGHTS.items():
        close(weight(sde, t), expected[name], rtol=1e-9, atol=0)
    close(edm(2.0)(sde, t), RULES["edm"].__class__(2.0)(alpha, sigma)[1] ** -2, rtol=1e-9)
    close(min_snr(0.1)(sde, t), snr.clamp(max=0.1), rtol=1e-9)


@each_sde
@each_shape
@pytest.mark.parametrize("weight", WEIGHTS)
def test_the_loss_is_weight_times_mean_square(sde, shape, weight):
    x0, t, eps = draw(sde, shape)
    model = mixture(sde, shape)
    error = (model(sde.perturb(x0, t, eps), t) - x0).square().flatten(1).mean(1)
    close(DenoisingLoss(weight).at(model, x0, t, eps), WEIGHTS[weight](sde, t) * error, rtol=1e-7)


@each_sde
def test_familiar_losses(sde):
    """`simple` is the mean square error of eps, `likelihood` g^2 that of the score, `edm` with sd = 1 that of v."""
    x0, t, eps = draw(sde, (1, 4, 4))
    model = mixture(sde, (1, 4, 4))
    x = sde.perturb(x0, t, eps)
    sigma, g2 = expand(sde.marginal(t)[1], x), sde.drift_diffusion(t)[1]
    phi = expand(sde.angle(t), x)

    def mean_square(error):
        return error.square().flatten(1).mean(1)

    expected = {
        "simple": mean_square(model.eps(x, t) - eps),
        "likelihood": g2 * mean_square(model.score(x, t) + eps / sigma),
        edm(1.0): mean_square(model.velocity(x, t) - (phi.cos() * eps - phi.sin() * x0)),
    }
    for weight, value in expected.items():
        close(DenoisingLoss(weight).at(model, x0, t, eps), value, rtol=1e-6)


@pytest.mark.parametrize("sde", [VP(), SubVP(t_min=1e-5)], ids=["vp", "subvp"])
def test_a_float32_model_is_exact_at_the_smallest_times(sde):
    """A network of eps that says 0.25 has the loss mean (eps - 0.25)^2, also where sigma is 1e-6."""
    x0, eps = torch.randn(2, 6, 1, 4, 4)
    t = torch.full((6,), 1e-5, dtype=torch.float64)
    loss = DenoisingLoss("simple").at(Preconditioned(Constant(0.25), sde, "eps"), x0, t, eps)
    close(loss, (eps - 0.25).square().flatten(1).mean(1), rtol=1e-6)


# -- times ------------------------------------------------------------------------------------------------------------


@each_sde
def test_stratified_times_have_one_in_each_stratum(sde):
    for n in (1, 7, 64):
        t = DenoisingLoss(times="stratified").sample_times(sde, n)
        u = (t - sde.t_min) / (sde.t_max - sde.t_min)
        assert t.dtype == torch.float64 and (u * n).floor().tolist() == list(range(n))


@each_sde
@pytest.mark.parametrize("t_min", [None, 0.05])
def test_times_start_at_t_min(sde, t_min):
    for times in (*TIMES, lambda sde, u, start: start + (sde.t_max - start) * u**3):
        t = DenoisingLoss(times=times, t_min=t_min).sample_times(sde, 500)
        assert t.min() >= (sde.t_min if t_min is None else t_min) and t.max() <= sde.t_max
        assert t.unique().numel() > 300 or (times == "highest" and bool((t == sde.t_max).all()))


def test_uniform_times_are_uniform():
    t = DenoisingLoss(times="uniform").sample_times(VP(t_min=0.0), 2000)
    assert stats.kstest(t.numpy(), "uniform").pvalue > 1e-3


def test_lognormal_times_are_lognormal():
    for times, mean, std in (("lognormal", -1.2, 1.2), (lognormal(0.5, 0.3), 0.5, 0.3)):
        c = -EDM().log_snr(DenoisingLoss(times=times).sample_times(EDM(), 1000)) / 2
        assert stats.kstest(c.numpy(), stats.norm(mean, std).cdf).statistic < 1.01 / 1000  # one in each stratum


def test_times_follow_the_generator():
    a, b, c = (DenoisingLoss().sample_times(VP(), 9, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c)


# -- densities --------------------------------------------------------------------------------------------------------


def learned(**options):
    """Adaptive times that have seen errors of every size."""
    times = Adaptive(**options)
    for _ in range(30):
        times.total.mul_(0.9).add_(torch.rand(len(times.total)) ** 4)
    return times


def taught():
    """A schedule that has seen errors at one level."""
    times = Schedule("simple", "log_snr")
    for _ in range(30):
        t = times(VP(), torch.linspace(0.01, 0.99, 64, dtype=torch.float64), 1e-5)
        times.observe(VP(), t, torch.exp(-VP().log_snr(t).square()), 1e-5)
    return times


DENSITIES = {
    "uniform": TIMES["uniform"][0],
    "log_snr": TIMES["log_snr"][0],
    "by_weight": by_weight(bins=50),
    "by_weight-eps": by_weight("edm", "log_snr", "eps", bins=50),
    "adaptive": learned(bins=50),
    "adaptive-loss": learned(bins=50, follows="loss", weight="simple", base="log_snr"),
    "schedule": taught(),
}
each_density = pytest.mark.parametrize("times", DENSITIES.values(), ids=DENSITIES)


@each_sde
@each_density
def test_the_density_is_that_of_the_draws(sde, times):
    """Between two quantiles lies as much of the density as there should be, and all of it between the ends."""
    u = torch.linspace(0, 1, 9, dtype=torch.float64)
    c = -sde.log_snr(times(sde, u, sde.t_min)) / 2
    for low, high, du in zip(c[:-1], c[1:], u.diff(), strict=True):
        middles = low + (high - low) * (torch.arange(200) + 0.5) / 200
        density = times.log_density(sde, sde.time(-2 * middles), sde.t_min).exp()
        assert float(density.mean() * (high - low)) == pytest.approx(float(du), rel=0.02)
    assert c[0] == pytest.approx(float(-sde.log_snr(sde.t_min) / 2), abs=1e-6)


@each_sde
@each_density
@pytest.mark.parametrize("weight, base", [("likelihood", "uniform"), ("simple", "log_snr"), ("edm", "uniform")])
def test_the_expected_loss_is_that_over_the_base_for_any_times(sde, times, weight, base):
    """By quadrature of v's error at every t: the integral of w base over t, whatever the times."""

    def expected(how):
        loss = DenoisingLoss(weight, how, base=base, t_min=t_min)
        t = loss.place((torch.arange(n) + 0.5) / n, sde)
        return float((loss.weight_at(sde, t) / (1 + sde.log_snr(t).exp()) * (1 + torch.sin(t))).mean())

    n, t_min = 3000, 0.02 * sde.t_max
    assert expected(times) == pytest.approx(expected(TIMES[base][0]), rel=0.03)


@each_sde
def test_likelihood_over_t_is_simple_over_the_log_snr(sde):
    """Both are the integral of e^lambda |D - x_0|^2 over lambda, divided by the length that they run over."""
    model, (x0, t, eps) = mixture(sde), draw(sde, n=20)
    t = t[1:-1]
    parts = []
    for weight, base in (("likelihood", "uniform"), ("simple", "log_snr")):
        loss = DenoisingLoss(weight, "log_snr", base=base)
        parts.append(loss.at(model, x0[1:-1], t, eps[1:-1]))
    length = float(sde.log_snr(sde.t_min) - sde.log_snr(sde.t_max))
    close(parts[0] * (sde.t_max - sde.t_min), parts[1] * length, rtol=1e-6)


def test_the_density_by_weight_of_eps_is_the_closed_form_of_vp():
    """Song et al. (2021): p(t) ~ g^2 / sigma^2 = 2 c'(t), so its distribution function is linear in the log-SNR."""
    sde, u = VP(), torch.linspace(0.01, 0.99, 50, dtype=torch.float64)
    t = by_weight("likelihood", "uniform", "eps")(sde, u, sde.t_min)
    B = sde.integral(t)
    c = torch.log(torch.expm1(B)) / 2
    low, high = (
        float(torch.log(torch.expm1(sde.integral(torch.tensor(s, dtype=torch.float64)))) / 2) for s in (1e-5, 1.0)
    )
    close((c - low) / (high - low), u, rtol=1e-6)


def test_times_follow_the_spectrum_of_the_data():
    """A scale of the data is one of the noise; a larger, smoother picture takes more of it; what is said is kept."""
    follows, s = lognormal(None, None), 2 * torch.exp(torch.randn(64, generator=torch.Generator().manual_seed(0)))
    mean, std = follows.fitted(s).normal
    assert follows.fitted(3 * s).normal == pytest.approx((mean + math.log(3), std), abs=0.011)
    assert follows.fitted(0.1 * torch.ones(5)).normal == follows.normal == (-1.0, 1.5)
    assert lognormal(0.3, None).fitted(s).normal == (0.3, std) and lognormal(None, 2.0).fitted(s).normal == (mean, 2.0)
    rough, smooth = torch.ones(256), 16.0 ** torch.linspace(-1, 1, 256)
    smooth = smooth * (rough.square().sum() / smooth.square().sum()).sqrt()  # of one variance
    assert follows.fitted(smooth).mean > follows.fitted(rough).mean
    given = DenoisingLoss(times=lognormal(0.0, 1.0))
    assert given.fitted(s) is given and not given.follows and DenoisingLoss().follows
    assert DenoisingLoss().chosen({"chosen": {"mean": 0.5, "std": 2.0}}).times == lognormal(0.5, 2.0)
    assert DenoisingLoss().chosen({}) == DenoisingLoss()


def test_lognormal_rows_moved_to_the_ends_weigh_nothing():
    loss = DenoisingLoss("simple", lognormal(-1, 5.0), base="log_snr")
    t = loss.sample_times(VP(), 400)
    weight = loss.weight_at(VP(), t)
    ends = (t <= VP().t_min) | (t >= VP().t_max)
    assert 0 < int(ends.sum()) < 400 and bool((weight[ends] == 0).all()) and bool((weight[~ends] > 0).all())


@pytest.mark.parametrize("n", [1, 2, 7, 64])
def test_draws_are_spread_as_they_say(n):
    u = {how: spread(n, how) for how in ("iid", "stratified", "even", "antithetic")}
    for how in ("stratified", "even"):
        assert (u[how] * n).floor().tolist() == list(range(n))
    close(u["even"].diff() * n, torch.ones(n - 1))
    close(u["antithetic"][: n // 2] + u["antithetic"][(n + 1) // 2 :], torch.ones(n // 2))
    for how in u:
        first = torch.cat([spread(n, how)[:1] for _ in range(400)])
        last = torch.cat([spread(n, how)[-1:] for _ in range(400)])
        scale = n if how in ("stratified", "even") else 1
        for part in (first * scale, last * scale - (scale - 1)):
            assert stats.kstest(part.numpy(), "uniform").pvalue > 1e-4
    refuses("how='odd': choose among iid", call=lambda: spread(n, "odd"))


# -- times that learn -------------------------------------------------------------------------------------------------


@each_sde
@pytest.mark.parametrize("follows, power", [("loss", 1.0), ("gradient", 0.5)])
def test_adaptive_times_find_the_error(sde, follows, power):
    """Where the error of v is e(c), the density tends to that of the weight times e^power, mixed with the floor."""
    times, t_min = Adaptive("simple", "log_snr", bins=16, floor=0.2, follows=follows), sde.t_min
    low, high = (float(-sde.log_snr(t) / 2) for t in (t_min, sde.t_max))

    def error(c):
        return 0.1 + ((c - low) / (high - low)) ** 2

    for _ in range(120):
        t = times(sde, spread(64, "stratified"), t_min)
        times.observe(sde, t, error(-sde.log_snr(t) / 2), t_min)
    c = low + (high - low) * (torch.arange(16, dtype=torch.float64) + 0.5) / 16
    p = torch.sigmoid(-2 * c) * error(c) ** power
    close(times.mass(sde, t_min), 0.8 * p / p.sum() + 0.2 / 16, rtol=0.1)


@pytest.mark.parametrize("follows", ["loss", "gradient"])
def test_adaptive_times_remember_by_hand(follows):
    """Running means that forget by half a step, smoothed over neighbours, and a floor of a fifth."""
    sde, t_min, bins = VP(), 1e-3, 4
    times = Adaptive("simple", "log_snr", bins, decay=0.5, floor=0.2, follows=follows)
    low, high = (float(-sde.log_snr(t) / 2) for t in (t_min, sde.t_max))
    centres = sde.time(-2 * (low + (high - low) * (torch.arange(bins, dtype=torch.float64) + 0.5) / bins))
    total, count = np.ones(bins), np.ones(bins)
    for errors in ([0.2, 0.3, 3.0], [4.0, 0.1, 0.5]):
        times.observe(sde, centres[[0, 2, 2]], torch.tensor(errors), t_min)
        seen = np.array(errors) ** (2 if follows == "loss" else 1)
        total = total / 2 + np.array([seen[0], 0, seen[1] + seen[2], 0])
        count = count / 2 + np.array([1, 0, 2, 0])
    smooth = np.array([[3, 1, 0, 0], [1, 2, 1, 0], [0, 1, 2, 1], [0, 0, 1, 3]])
    p = by_weight("simple", "log_snr", "v", bins, floor=0.0).mass(sde, t_min).numpy()
    p = p * np.sqrt((smooth @ total) / (smooth @ count))
    close(times.mass(sde, t_min), torch.from_numpy(0.8 * p / p.sum() + 0.05), rtol=1e-6)


def test_adaptive_times_start_by_weight_and_pass_over_what_is_not_finite():
    times = Adaptive(bins=20, floor=0.1)
    start = times.mass(VP(), 1e-5)
    close(start, by_weight(bins=20, floor=0.1).mass(VP(), 1e-5))
    times.observe(VP(), torch.tensor([0.2, 0.3]), torch.tensor([float("nan"), float("inf")]), 1e-5)
    close(times.mass(VP(), 1e-5), start)


def peak(c):
    """The loss per unit of c, log(sigma / alpha), where the error is `rows`."""
    return 0.02 + 2 * torch.exp(-0.5 * (c + 2) ** 2)


def rows(sde, t):
    """Errors of v at which the loss with the weight "simple" is `peak` per unit of c."""
    c = -sde.log_snr(t) / 2
    return peak(c) * (1 + torch.exp(2 * c))


def middles(sde, n=4000):
    low, high = (float(-sde.log_snr(t) / 2) for t in (sde.t_min, sde.t_max))
    return low + (high - low) * (torch.arange(n, dtype=torch.float64) + 0.5) / n, high - low


@pytest.mark.parametrize("sde", [SDES["vp"], SDES["ve"]], ids=["vp", "ve"])
def test_a_schedule_finds_the_least_variance(sde):
    """E (f / p)^2 is least, (integral of f)^2, at p ~ f (Cauchy and Schwarz)."""
    times, (c, length) = Schedule(), middles(sde)

    def moment():
        p = times.log_density(sde, sde.time(-2 * c), sde.t_min).exp()
        return float((peak(c) ** 2 / p).mean() * length / (peak(c).mean() * length) ** 2)

    before = moment()
    torch.manual_seed(0)
    for _ in range(200):
        t = times(sde, spread(64, "even"), sde.t_min)
        times.observe(sde, t, rows(sde, t), sde.t_min)
    assert before > 2 and moment() < 1 + 0.12 * (before - 1)


def test_a_schedule_learns_by_the_gradient_of_its_variance():
    """The rows' estimate, by a fine grid of u, is the gradient of log E (f / p)^2 by quadrature over c."""
    sde, times = VP(), taught()
    c, length = middles(sde, 100_000)
    start = times.values.clone()
    values = start.clone().requires_grad_()
    p = times._curve((c - c[0]) / (c[-1] - c[0]), values)[1] / length
    (exact,) = torch.autograd.grad((peak(c) ** 2 / p).mean().log(), values)
    t = times(sde, (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000, sde.t_min)
    times.moments.zero_()
    times.observe(sde, t, rows(sde, t), sde.t_min)
    close(times.moments[0] / 0.1, exact, rtol=1e-3, atol=1e-5)
    again = taught()
    assert torch.equal(again.values, start)
    again.load_state_dict(times.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(again.buffers(), times.buffers(), strict=True))


def test_a_schedule_passes_over_what_is_not_finite():
    times = taught()
    before = times.values.clone()
    times.moments.zero_()
    times.observe(VP(), torch.tensor([0.2, 0.3]), torch.tensor([float("nan"), float("inf")]), 1e-5)
    assert torch.equal(times.values, before)


def test_only_training_teaches_the_times():
    loss, model = DenoisingLoss("simple", Adaptive(), base="log_snr"), Preconditioned(Constant(), VP())
    before = {k: v.clone() for k, v in loss.state().items()}
    with torch.no_grad():
        loss(model, torch.randn(8, 2))
    loss.at(model, torch.randn(8, 2), torch.full((8,), 0.5), torch.randn(8, 2))
    assert all(torch.equal(v, before[k]) for k, v in loss.state().items())
    loss(model, torch.randn(8, 2))
    assert not torch.equal(loss.state()["total"], before["total"])
    other = DenoisingLoss("simple", Adaptive(), base="log_snr")
    other.load_state(loss.state())
    assert torch.equal(other.times.mass(VP(), 1e-5), loss.times.mass(VP(), 1e-5))


# -- the control variate ----------------------------------------------------------------------------------------------


class Wave(nn.Module):
    """A smooth network of three numbers, each row with its own copy of them."""

    def __init__(self, n):
        super().__init__()
        self.p = nn.Parameter(torch.tensor([0.7, -0.4, 0.2], dtype=torch.float64).expand(n, 3).clone())

    def forward(self, x, c):
        a, b, slope = self.p[:, :, None].unbind(1)
        return a * torch.sin(2 * x + b) + slope * x


def gradients(loss, model, x0, t, eps):
    """The gradient of each row (B, 3)."""
    rows = loss.at(model, x0, t, eps)
    return rows, torch.autograd.grad(rows.sum(), model.net.p)[0]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("level", [0.01, 0.3])
def test_the_control_variate_has_mean_zero_and_cuts_the_variance_at_small_noise(rule, level):
    sde, n = EDM(t_min=1e-4), 3000
    model = Preconditioned(Wave(n), sde, rule)
    x0, eps = torch.randn(1, 2, dtype=torch.float64).expand(n, 2), torch.randn(n, 2, dtype=torch.float64)
    t = torch.full((n,), level, dtype=torch.float64)
    rows, grads = gradients(DenoisingLoss("simple"), model, x0, t, eps)
    rows_c, grads_c = gradients(DenoisingLoss("simple", control=1.0), model, x0, t, eps)
    rows, rows_c = rows.detach(), rows_c.detach()
    for change in (rows_c - rows, *(grads_c - grads).T):
        assert abs(float(change.mean())) < 4.5 * float(change.std()) / n**0.5 + 1e-12
    if level < 0.1 and rule != "x0":  # an untrained answer for x_0 is an error of size 1 / sigma in f itself
        assert float(grads_c.var(0).sum()) < 0.02 * float(grads.var(0).sum())
        assert float(rows_c.var()) < 0.02 * float(rows.var())


def test_the_control_variate_is_for_rows_of_small_noise_only():
    sde = EDM()
    model, (x0, _, eps) = mixture(sde), draw(sde, n=4)
    t = torch.tensor([0.01, 0.1, 0.3, 5.0], dtype=torch.float64)
    plain = DenoisingLoss("simple").at(model, x0, t, eps)
    with_control = DenoisingLoss("simple", control=0.2).at(model, x0, t, eps)
    assert (plain == with_control).tolist() == [False, False, True, True]


# -- the minimum ------------------------------------------------------------------------------------------------------


@each_sde
@pytest.mark.parametrize("weight", WEIGHTS)
def test_the_exact_denoiser_has_the_least_loss(sde, weight):
    """Moved by a constant d, the expected loss grows by w d^2 exactly."""
    model, n = mixture(sde), 20000
    loss = DenoisingLoss(weight)
    for log_snr in (2.0, -2.0):
        t = sde.time(log_snr).expand(n)
        x0, eps = model.sample(n), torch.randn(n, 2, dtype=torch.float64)
        best = loss.at(model, x0, t, eps)
        for d in (0.3, -0.3):
            growth = loss.at(Moved(model, d), x0, t, eps) - best
            expected = float(WEIGHTS[weight](sde, t[:1])) * d**2
            assert float(growth.mean()) == pytest.approx(expected, abs=5 * float(growth.std()) / n**0.5)
            assert float(growth.mean()) > 0


@each_sde
def test_the_least_loss_of_a_gaussian_is_its_posterior_variance(sde):
    s, n = 0.6, 20000
    model = GaussianMixture(torch.ones(1), torch.tensor([[0.5, -1.0, 2.0]], dtype=torch.float64), s, sde)
    for t in sde.time(torch.tensor([3.0, 0.0, -3.0])).tolist():
        alpha, sigma = (float(a) for a in sde.marginal(t))
        eps = torch.randn(n, 3, dtype=torch.float64)
        loss = DenoisingLoss("simple").at(model, model.sample(n), torch.full((n,), t), eps)
        expected = (alpha * s) ** 2 / ((alpha * s) ** 2 + sigma**2)  # alpha^2 / sigma^2 times the posterior variance
        assert float(loss.mean()) == pytest.approx(expected, abs=4.5 * float(loss.std()) / n**0.5 + 1e-6)


def test_training_finds_the_exact_scale():
    """Data N(0, 4): the score is linear in x, and the minimum of the loss at one noise level has its factor."""
    sde, t = VP(), torch.full((2000,), 0.3)
    alpha, sigma = (float(a) for a in sde.marginal(0.3))
    scale = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    model = FromScore(lambda x, t: scale * x, sde)
    x0, eps = 2 * torch.randn(2000, 1, dtype=torch.float64), torch.randn(2000, 1, dtype=torch.float64)
    optimizer = torch.optim.LBFGS([scale], line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = DenoisingLoss("simple").at(model, x0, t, eps).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert scale.item() == pytest.approx(-1 / (4 * alpha**2 + sigma**2), rel=0.1)


@pytest.mark.parametrize("shape", [(2,), (3, 4, 4)], ids=str)
def test_a_call_is_a_row_of_losses_with_a_gradient(shape):
    for sde in SDES.values():
        for times in TIMES:
            model = Preconditioned(Constant(), sde, "v")
            loss = DenoisingLoss(times=times)(model, torch.randn(4, *shape))
            loss.mean().backward()
            assert loss.shape == (4,) and loss.isfinite().all() and float(model.net.value.grad.abs()) > 0


def test_unknown_names_are_refused():
    refuses("'simpel'", "simple, likelihood, edm, min_snr", call=lambda: DenoisingLoss(weight="simpel"))
    refuses("'even'", "uniform, stratified, lognormal", call=lambda: DenoisingLoss(times="even"))
    refuses("base", "no log_density", call=lambda: DenoisingLoss(base="uniform", times=lambda sde, u, start: u))
    refuses("draw='odd'", "iid, stratified, even, antithetic", call=lambda: DenoisingLoss(draw="odd"))
    refuses("control=0", "above 0", call=lambda: DenoisingLoss(control=0))
    refuses("error='x0'", "one of eps, v", call=lambda: by_weight(error="x0"))
    refuses("floor=2", "from 0 to 1", call=lambda: by_weight(floor=2))
    refuses("bins=0", "from 1", call=lambda: by_weight(bins=0))
    refuses("follows='x'", "loss, gradient", call=lambda: Adaptive(follows="x"))
    refuses("floor=0", "above 0 and up to 1", call=lambda: Adaptive(floor=0))
    refuses("t_min=0.0", "infinite", call=lambda: DenoisingLoss(times="log_snr").sample_times(VP(t_min=0.0), 3))
