"""Laws of scoresde.sde: derived coefficients against the textbook, exact inverses, marginals that the SDE does have."""

import math
from decimal import Decimal, getcontext

import pytest
import torch
from problems import SDES, close, levels, refuses
from torch.distributions import Normal

from scoresde.sde import EDM, SDE, VE, VP, Cosine, CosinePower, Linear, Shifted, Sigmoid, SubVP


def beta(t):
    return 0.1 + 19.9 * t


def integral(t):
    return 0.1 * t + 19.9 * t**2 / 2


# The laws of this file alone: for what takes any SDE, those of `problems` stand for all.
LAWS = SDES | {
    "sigmoid": Sigmoid(),
    "sigmoid_steep": Sigmoid(start=-1.0, end=4.0, tau=0.25),
    "cosine_power": CosinePower(),
    "cosine_power_part": CosinePower(start=0.1, end=0.8, tau=1.5),
    "shifted": Shifted(Cosine(), scale=0.25),
}
each_sde = pytest.mark.parametrize("sde", LAWS.values(), ids=LAWS)


def preserving(square, slope):
    """(f, g^2) of a variance preserving SDE from alpha^2 and its derivative: g^2 = -2 f."""
    return 0.5 * slope / square, -slope / square


def sigmoid(t, start, end, tau):
    a, b = start / tau, end / tau
    u, s = a + (b - a) * t, torch.sigmoid
    of_whole = 1 / float(s(torch.tensor(b, dtype=t.dtype)) - s(torch.tensor(a, dtype=t.dtype)))
    square = (s(-u) - s(torch.tensor(-b, dtype=t.dtype))) * of_whole
    return preserving(square, -(b - a) * s(u) * s(-u) * of_whole)


def cosine_power(t, start, end, tau):
    a, b = math.pi / 2 * start, math.pi / 2 * end
    u, whole = a + (b - a) * t, math.cos(a) ** (2 * tau) - math.cos(b) ** (2 * tau)
    square = (u.cos() ** (2 * tau) - math.cos(b) ** (2 * tau)) / whole
    return preserving(square, -2 * tau * (b - a) * u.cos() ** (2 * tau - 1) * u.sin() / whole)


def shifted_cosine(t, scale):
    tan = torch.tan(math.pi / 2 * t)
    square = 1 / (1 + (tan / scale) ** 2)
    return preserving(square, -math.pi / scale**2 * tan * (1 + tan**2) * square**2)


TEXTBOOK = {  # (f, g^2) of dx = f x dt + g dw
    "vp": lambda t: (-beta(t) / 2, beta(t)),
    "subvp": lambda t: (-beta(t) / 2, -beta(t) * torch.expm1(-2 * integral(t))),
    "ve": lambda t: (0 * t, 2 * (0.01 * 5000**t) ** 2 * math.log(5000)),
    "cosine": lambda t: (-math.pi / 2 * torch.tan(math.pi / 2 * t), math.pi * torch.tan(math.pi / 2 * t)),
    "linear": lambda t: (-1 / (1 - t), 2 * t / (1 - t)),
    "edm": lambda t: (0 * t, 2 * t),
    "quadratic": lambda t: (-2 * t / (1 - t**2), 2 * t * (1 + t**2) / (1 - t**2)),
    "sigmoid": lambda t: sigmoid(t, -3.0, 3.0, 1.0),
    "sigmoid_steep": lambda t: sigmoid(t, -1.0, 4.0, 0.25),
    "cosine_power": lambda t: cosine_power(t, 0.2, 1.0, 1.0),
    "cosine_power_part": lambda t: cosine_power(t, 0.1, 0.8, 1.5),
    "shifted": lambda t: shifted_cosine(t, 0.25),
}


@pytest.mark.parametrize("name", LAWS)
def test_drift_and_diffusion_are_the_textbook_ones(name):
    sde = LAWS[name]
    t = torch.cat([levels(sde, 50), torch.linspace(sde.t_min, sde.t_max, 50, dtype=torch.float64)])
    f, g2 = sde.drift_diffusion(t)
    expected = TEXTBOOK[name](t)
    close(f, expected[0], rtol=1e-10, atol=0)
    close(g2, expected[1], rtol=1e-10, atol=0)
    assert f.dtype == g2.dtype == torch.float64 and not f.requires_grad and not g2.requires_grad
    with torch.no_grad():
        close(sde.drift_diffusion(float(t[3]))[1], g2[3], rtol=1e-12)


@each_sde
def test_time_inverts_log_snr(sde):
    span = sde.t_max - sde.t_min
    inner = sde.t_min + span * torch.tensor([0, 1e-9, 1e-6, 1e-3, 0.1, 0.5, 0.9, 1 - 1e-6, 1], dtype=torch.float64)
    t = torch.cat([inner, levels(sde, 200)])
    close(sde.time(sde.log_snr(t)), t, rtol=1e-9, atol=1e-11 * span)
    assert sde.time(0.0).shape == () and sde.time(t.reshape(-1, 11)).shape == (19, 11)


@each_sde
def test_closed_time_is_the_bisection(sde):
    high, low = float(sde.log_snr(sde.t_min)), float(sde.log_snr(sde.t_max))
    log_snr = torch.linspace(high + 100, low - 100, 300, dtype=torch.float64)
    close(sde.time(log_snr), SDE.time(sde, log_snr), rtol=1e-9, atol=1e-11 * sde.t_max)
    assert float(sde.time(high + 100)) == pytest.approx(sde.t_min, abs=1e-15)
    assert float(sde.time(low - 100)) == pytest.approx(sde.t_max, rel=1e-15)


@each_sde
def test_noise_grows_with_time(sde):
    t = torch.linspace(sde.t_min, sde.t_max, 1000, dtype=torch.float64)
    alpha, sigma = sde.marginal(t)
    assert (sde.log_snr(t).diff() < 0).all() and (sigma.diff() > 0).all() and (alpha.diff() <= 0).all()
    close(sde.angle(t), torch.atan2(sigma, alpha), rtol=1e-12, atol=0)
    close(sde.log_snr(t), 2 * (alpha / sigma).log(), rtol=1e-9)


@pytest.mark.parametrize("t", [1e-8, 1e-5, 1e-3, 0.37, 1.0])
def test_sigma_keeps_its_digits_near_the_data(t):
    getcontext().prec = 50
    exact = Decimal(t)
    kernel = 1 - (-(Decimal(0.1) * exact + (Decimal(20.0) - Decimal(0.1)) * exact**2 / 2)).exp()
    for dtype in (torch.float32, torch.float64):  # times of any type: the arithmetic is in float64
        time = torch.tensor(t, dtype=dtype)
        rounding = 1e-13 if dtype == torch.float64 else 2e-7
        assert float(VP().marginal(time)[1]) == pytest.approx(float(kernel.sqrt()), rel=rounding, abs=0)
        assert float(SubVP().marginal(time)[1]) == pytest.approx(float(kernel), rel=rounding, abs=0)


@each_sde
def test_marginals_are_those_of_the_simulated_sde(sde):
    """Euler-Maruyama from x_{t_min}: the mean is alpha x_0 and the variance sigma^2, within 4 standard errors + 1 %."""
    n, steps, x0 = 20000, 400, 1.5
    stops = [float(t) for t in sde.time(torch.tensor([0.0, -3.0]))]
    x = sde.perturb(torch.full((n,), x0, dtype=torch.float64), sde.t_min, torch.randn(n, dtype=torch.float64))
    start = sde.t_min
    for stop in stops:
        t = torch.linspace(start, stop, steps + 1, dtype=torch.float64)
        f, g2 = sde.drift_diffusion((t[1:] + t[:-1]) / 2)
        for a, b, h in zip(f.tolist(), g2.tolist(), t.diff().tolist(), strict=True):
            x = x + a * h * x + math.sqrt(b * h) * torch.randn_like(x)
        alpha, sigma = (float(a) for a in sde.marginal(stop))
        assert float(x.mean()) == pytest.approx(alpha * x0, abs=4 * sigma / math.sqrt(n) + 0.01 * alpha)
        assert float(x.var()) == pytest.approx(sigma**2, rel=4 * math.sqrt(2 / n) + 0.01)
        start = stop


@each_sde
@pytest.mark.parametrize("shape", [(3,), (3, 2, 3)], ids=str)
def test_perturb_and_prior(sde, shape):
    x0, eps = torch.randn(2, shape[-1], *shape, dtype=torch.float64)  # as many rows as the last dimension
    t = levels(sde, len(x0))
    rows = [sde.perturb(x0[i : i + 1], float(t[i]), eps[i : i + 1]) for i in range(len(x0))]
    close(sde.perturb(x0, t, eps), torch.cat(rows), rtol=1e-12)
    assert sde.perturb(x0.float(), t, eps.float()).dtype == torch.float32
    sigma = sde.marginal(sde.t_max)[1]
    close(sde.prior(eps), sigma * eps, rtol=1e-14)
    close(sde.prior_log_prob(eps), Normal(0.0, sigma).log_prob(eps).flatten(1).sum(1), rtol=1e-12)


@each_sde
def test_times_of_every_kind(sde):
    t = levels(sde, 3)
    alpha, sigma = sde.marginal(t)
    for time in (float(t[1]), t[1], t[1:2]):
        a, s = sde.marginal(time)
        assert a.shape == s.shape == torch.as_tensor(time).shape and a.dtype == s.dtype == torch.float64
        close(a.reshape(()), alpha[1], rtol=1e-15)
        close(s.reshape(()), sigma[1], rtol=1e-15)


def test_a_shift_is_the_plain_schedule_at_another_time():
    """Cosine, b = d_0 / d: tan(pi t' / 2) = tan(pi t / 2) / b; and x_t is that of data scaled by b, brought back."""
    plain, b = Cosine(), 0.25
    sde, t = Shifted(plain, b), torch.linspace(0.01, 0.9, 50, dtype=torch.float64)
    later = 2 / math.pi * torch.atan(torch.tan(math.pi / 2 * t) / b)
    for found, expected in zip(sde.marginal(t), plain.marginal(later), strict=True):
        close(found, expected, rtol=1e-10)
    close(sde.log_snr(t), plain.log_snr(t) + 2 * math.log(b), rtol=1e-10)
    alpha, sigma = plain.marginal(t)
    close(sde.marginal(t)[0], alpha * b / torch.hypot(alpha * b, sigma), rtol=1e-10)
    ends = Shifted(EDM(), 0.5)
    assert (ends.t_min, ends.t_max, ends.grid) == (2e-3, 80.0, "karras")
    close(torch.hypot(*ends.marginal(t)), torch.hypot(*EDM().marginal(t)), rtol=1e-10)


def test_a_cosine_power_of_the_whole_is_the_cosine():
    t = torch.linspace(1e-3, 0.999, 200, dtype=torch.float64)
    whole = CosinePower(start=0.0, end=1.0, tau=1.0)
    for found, expected in zip(whole.logs(t), Cosine().logs(t), strict=True):
        close(found, expected, rtol=1e-10, atol=1e-13)


def test_parameters_are_used():
    assert float(VE(sigma_min=0.1, sigma_max=7.0).marginal(1.0)[1]) == pytest.approx(7.0)
    assert float(VP(beta_min=2.0, beta_max=2.0).log_alpha(torch.tensor(0.5))) == pytest.approx(-0.5)
    constant = VP(beta_min=2.0, beta_max=2.0)
    assert float(constant.time(constant.log_snr(0.3))) == pytest.approx(0.3)


def test_wrong_parameters_are_refused():
    refuses("beta_min=0.0", "above 0", call=lambda: VP(beta_min=0.0))
    refuses("beta_max=-1.0", "above 0", call=lambda: SubVP(beta_max=-1.0))
    refuses("sigma_min=nan", call=lambda: VE(sigma_min=math.nan))
    refuses("sigma_max=1.0", "more than sigma_min=2.0", call=lambda: VE(sigma_min=2.0, sigma_max=1.0))
    refuses("end=-3.0", "more than start=-3.0", call=lambda: Sigmoid(end=-3.0))
    refuses("end=0.1", "more than start=0.2", call=lambda: CosinePower(end=0.1))
    refuses("scale=0.0", "above 0", call=lambda: Shifted(VP(), 0.0))
    refuses("sde='vp'", call=lambda: Shifted("vp"))
    for kind in (VP, SubVP, VE, Cosine, Linear, EDM, Sigmoid, CosinePower):
        refuses("t_min=0.5, t_max=0.2", call=lambda kind=kind: kind(t_min=0.5, t_max=0.2))
        refuses("t_min=-0.1", call=lambda kind=kind: kind(t_min=-0.1))
