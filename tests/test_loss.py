"""Laws of scoresde.loss: the weights' formulas, the distribution of times, and a minimum at the exact denoiser."""

import pytest
import torch
from problems import SDES, close, each_sde, each_shape, levels, mixture, refuses
from scipy import stats
from torch import nn

from scoresde.denoiser import RULES, Denoiser, FromScore, Preconditioned
from scoresde.exact import GaussianMixture
from scoresde.loss import TIMES, WEIGHTS, DenoisingLoss, edm, lognormal, min_snr
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
        assert t.unique().numel() > 300


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
