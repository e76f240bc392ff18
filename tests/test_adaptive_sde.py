"""Laws of the adaptive reverse SDEs: the right law, the right path, and each sample as if it were alone."""

import math
import subprocess
import sys

import pytest
import torch
from problems import SDES, Around, close, each_sde, mixture, refuses
from scipy import stats
from test_samplers import fits

from scoresde.conditions import Vector
from scoresde.denoiser import Counted, Denoiser
from scoresde.exact import GaussianMixture
from scoresde.noise import Draws
from scoresde.noise.brownian import BrownianTree
from scoresde.sampling import AdaptiveSDE, ProbabilityFlow, ReverseSDE, sample
from scoresde.sampling.adaptive.reverse_sde import _END, _Way
from scoresde.sde import VP, expand


def run(model, sampler, n, **kwargs):
    return sample(model, sampler, (n, *model.means.shape[1:]), **{"dtype": torch.float64, **kwargs})


def ends(sde, t, s):
    return [float(-sde.log_snr(u) / 2) for u in (t, s)]


# -- the law ----------------------------------------------------------------------------------------------------------


@each_sde
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0, 2.0])
def test_a_short_step_is_that_of_the_sde_in_time(sde, eta):
    """Its mean is x - h (f x - (1 + eta^2)/2 g^2 score) and its variance eta^2 g^2 h, up to h^2."""
    model = mixture(sde, (3,))
    t = float(sde.time(-0.5))
    x = model.sample(50, t)
    (n_t, f, g2), x0 = (torch.hypot(*sde.marginal(t)), *sde.drift_diffusion(t)), model(x, t)
    drift = f * x - (1 + eta**2) / 2 * g2 * model.score(x, t)
    apart = []
    for h in (1e-3 * t, 5e-4 * t):
        way = _Way(sde, *ends(sde, t, t - h), eta, x)
        keep, gain, spread, weight = way.transition(torch.tensor([0]), torch.tensor([_END]))
        n_s = torch.hypot(*sde.marginal(t - h))
        variance = (n_s * spread) ** 2 * way.clock(torch.tensor([0, _END])).diff()
        mean = n_s * (keep * x / n_t + gain * x0)
        apart.append((float((mean - (x - h * drift)).abs().max()), float((variance - eta**2 * g2 * h).abs())))
        assert abs(float(weight) - 0.5) < 0.01
    for coarse, fine in zip(*apart, strict=True):
        assert coarse < 1e-12 or math.log2(coarse / fine) > 1.8, apart


@each_sde
def test_samples_have_the_moments_of_the_mixture(sde):
    model = mixture(sde)
    fits(run(model, AdaptiveSDE(last="none"), 1500), model, sde.t_min, allowance=0.02)


@pytest.mark.parametrize("eta", [0.3, 1.5, lambda t: float(t > 0.3)], ids=["0.3", "1.5", "interval"])
def test_every_eta_has_the_same_marginals(eta):
    model = mixture(VP())
    fits(run(model, AdaptiveSDE(eta=eta, last="none"), 1000), model, VP().t_min, allowance=0.02)


def test_standard_normal_data_stay_so_in_the_longest_steps():
    for name in ("vp", "linear"):
        sde, n = SDES[name], 20000
        model = GaussianMixture(torch.ones(1).double(), torch.zeros(1, 2).double(), 1.0, sde)
        counted = Counted(model)
        z = run_normal(counted, AdaptiveSDE(rtol=9.0, atol=9.0, last="none"), n) / math.hypot(*sde.marginal(sde.t_min))
        assert counted.rows < 40 * n
        assert (z.T.cov() - torch.eye(2)).abs().max() < 5 * math.sqrt(2 / n)


def run_normal(model, sampler, n):
    """From x_T ~ N(0, n_T^2), which is p_T exactly: the prior leaves out the little alpha_T of the data."""
    sde = model.sde
    start = Draws(0, torch.arange(n), 0)(torch.empty(n, 2, dtype=torch.float64)) * torch.hypot(*sde.marginal(sde.t_max))
    return sampler.step(model, start, sde.t_max, sde.t_min, None, Draws(0, torch.arange(n), 1))[0]


@each_sde
def test_without_noise_it_is_the_flow(sde):
    model = mixture(sde)
    limit = run(model, ProbabilityFlow(rtol=1e-9, atol=1e-9, last="none"), 16)
    errors = []
    for tolerance in (1e-2, 1e-4):
        x = run(model, AdaptiveSDE(eta=0.0, rtol=tolerance, atol=tolerance, last="none"), 16)
        errors.append(float((x - limit).square().mean().sqrt()))
    assert errors[1] < 20 * 1e-4 and errors[1] < errors[0] / 5, errors


# -- the path ---------------------------------------------------------------------------------------------------------


def test_strong_convergence_on_one_brownian_path():
    """Against Euler and Maruyama's small steps of the SDE in c, on the same tree: dw = dW exp(-A) / (eta sqrt(2))."""
    sde, n, eta, steps = VP(), 12, 1.0, 1 << 9
    model, index = mixture(sde), torch.arange(12)
    t, s = (float(sde.time(v)) for v in (-4.0, 4.0))
    start = sde.perturb(model.sample(n), t, Draws(0, index, 0)(torch.empty(n, 2, dtype=torch.float64)))
    z = start / torch.hypot(*sde.marginal(t))
    way = _Way(sde, *ends(sde, t, s), eta, z)
    tree = BrownianTree(index, 0, 1, way.clock, 24)
    h, w = way.span / steps, torch.zeros_like(z)
    for i in range(steps):
        c = torch.tensor(way.start - i * h, dtype=torch.float64)
        phi, time = c.exp().atan(), sde.time(-2 * c)
        x = torch.hypot(*sde.marginal(time)) * z
        eps, v = model.eps(x, time), model.velocity(x, time)
        w_next = tree(z, index, torch.full((n,), (i + 1) * (_END // steps)))
        dw = (w_next - w) * math.exp(way.total - eta**2 * (i + 0.5) * h) / (eta * math.sqrt(2))
        z = z - h * phi.sin() * (phi.cos() * v + eta**2 * eps) + eta * math.sqrt(2) * phi.sin() * dw
        w = w_next
    limit = torch.hypot(*sde.marginal(s)) * z
    found = []
    for tolerance in (0.02, 0.001):
        counted = Counted(model)
        x, _ = AdaptiveSDE(rtol=tolerance, atol=tolerance).step(counted, start, t, s, None, Draws(0, index, 1))
        found.append((float((x - limit).norm(dim=1).median()), counted.rows))
    (coarse, few), (fine, many) = found
    # Order 1 in the number of steps, as for Euler and Maruyama's method where noise is additive.
    assert fine < 0.02 and math.log(coarse / fine) / math.log(many / few) > 0.7, found


def test_a_sample_does_not_depend_on_its_batch():
    for name in ("vp", "ve"):
        model = mixture(SDES[name], (3,))
        whole = run(model, AdaptiveSDE(rtol=0.1, atol=0.1), 7, seed=4)
        for batch_size in (3, 1):
            close(run(model, AdaptiveSDE(rtol=0.1, atol=0.1), 7, seed=4, batch_size=batch_size), whole, 0, 1e-10)
        close(run(model, AdaptiveSDE(rtol=0.1, atol=0.1), 3, seed=4, offset=4), whole[4:], rtol=0, atol=1e-10)
        assert (run(model, AdaptiveSDE(rtol=0.1, atol=0.1), 7, seed=5) - whole).abs().amin(1).min() > 1e-6


class Narrow(Denoiser):
    """The exact denoiser of N(0, std^2), `std` a row's own: a small one has its detail at low noise."""

    def __init__(self, sde):
        super().__init__(sde)
        self.conditions = {"std": Vector(1, drop=0.0)}

    def forward(self, x, t, cond):
        std = cond["std"]
        alpha, sigma = (expand(a, x) for a in self.sde.marginal(t))
        ripple = torch.where(std < 0.5, torch.sin(8 * x), 0.0)
        return alpha * std**2 / (alpha**2 * std**2 + sigma**2) * x + ripple


def test_a_hard_row_leaves_the_others_alone():
    easy, hard = torch.ones(6, 1).double(), torch.full((1, 1), 0.1).double()
    sampler, counts = AdaptiveSDE(last="none"), []
    out = []
    for std in (easy, torch.cat([easy, hard]), hard):
        counted = Counted(Narrow(VP()))
        out.append(
            sample(counted, sampler, (len(std), 2), dtype=torch.float64, cond={"std": std}, offset=6 * (std is hard))
        )
        counts.append(counted.rows)
    close(out[1][:6], out[0], rtol=0, atol=1e-10)
    close(out[1][6:], out[2], rtol=0, atol=1e-10)
    assert counts[1] == counts[0] + counts[2] and counts[2] > 2 * counts[0] / 6


def test_evaluations_grow_as_the_tolerance_shrinks():
    model, n, counts = mixture(VP()), 50, []
    for tolerance in (0.1, 0.02, 0.005):
        counted = Counted(model)
        sample(counted, AdaptiveSDE(rtol=tolerance, atol=tolerance, last="none"), (n, 2), dtype=torch.float64)
        counts.append(counted.rows / n)
    assert 20 < counts[0] < counts[1] < counts[2] < 300, counts


# -- what goes with it ------------------------------------------------------------------------------------------------

BOTH = {"adaptive_sde": AdaptiveSDE(rtol=0.1, atol=0.1), "torchsde": ReverseSDE(rtol=0.1, atol=0.1)}
each = pytest.mark.parametrize("sampler", BOTH.values(), ids=BOTH)


@each
def test_conditions_go_with_their_samples(sampler):
    for name in ("subvp", "edm"):
        model, means = Around(SDES[name]), torch.arange(10.0).double()[:, None] + torch.zeros(2).double()
        whole = sample(model, sampler, (10, 2), dtype=torch.float64, cond={"mean": means})
        assert (whole - means).abs().max() < 2
        if isinstance(sampler, AdaptiveSDE):
            alone = sample(model, sampler, (1, 2), dtype=torch.float64, offset=5, cond={"mean": means[5:6]})
            close(alone, whole[5:6], rtol=0, atol=1e-9)


@each
def test_float32_and_every_shape(sampler):
    for name in ("vp", "ve", "linear"):
        for shape in ((2,), (1, 4, 4), (2, 3, 3, 3)):
            single = sample(mixture(SDES[name], shape, dtype=torch.float32), sampler, (5, *shape))
            assert single.dtype == torch.float32
            close(single, run(mixture(SDES[name], shape), sampler, 5), rtol=2e-2, atol=2e-2)


def test_the_last_step():
    model, parts = mixture(VP()), {}
    for last in ("none", "mean", "tweedie"):
        parts[last] = run(model, AdaptiveSDE(last=last), 5)
    close(parts["tweedie"], model(parts["none"], VP().t_min))
    apart = (parts["none"] - parts["mean"]).abs()
    sigma = float(VP().marginal(VP().t_min)[1])
    assert (apart > 0).all() and apart.max() < 5 * sigma  # the noise of one step to sigma is at most sigma
    assert torch.equal(*(run(model, AdaptiveSDE(eta=0.0, last=last), 5) for last in ("none", "mean")))


@each
def test_stops_on_the_way_change_the_path_and_not_the_law(sampler):
    model, seen = mixture(VP()), []
    stops = type(sampler)(**{**vars(sampler), "steps": 4, "last": "none", "rtol": 0.02, "atol": 0.02})
    x = run(model, stops, 1500, callback=lambda *a: seen.append(a[1]))
    assert seen == stops.times(VP())[1:]
    fits(x, model, VP().t_min, allowance=0.03)


def test_eta_may_be_a_function():
    model = mixture(VP())
    close(run(model, AdaptiveSDE(eta=lambda t: 1.0), 5), run(model, AdaptiveSDE(), 5))
    close(run(model, AdaptiveSDE(eta=lambda t: 0.0), 5), run(model, AdaptiveSDE(eta=0.0), 5))


class Broken(Denoiser):
    def forward(self, x, t):
        return torch.full_like(x, torch.nan)


@each
def test_a_model_that_is_not_finite_is_an_error(sampler):
    with pytest.raises(FloatingPointError):
        sample(Broken(VP()), sampler, (3, 2))


def test_too_many_evaluations_are_an_error():
    with pytest.raises(FloatingPointError, match="max_nfe=20"):
        run(mixture(VP()), AdaptiveSDE(max_nfe=20), 3)


def test_wrong_arguments():
    for kind in (AdaptiveSDE, ReverseSDE):
        for bad in (0, -1.0, float("nan")):
            refuses("rtol=", "above 0", call=lambda kind=kind, bad=bad: kind(rtol=bad))
        for eta in (-1.0, float("nan"), float("inf")):
            refuses(f"eta={eta}", call=lambda kind=kind, eta=eta: kind(eta=eta))
        refuses("steps=0", call=lambda kind=kind: kind(steps=0))
    refuses("max_nfe=1.5", call=lambda: AdaptiveSDE(max_nfe=1.5))
    refuses("eta=30", "at most 300", call=lambda: run(mixture(VP()), AdaptiveSDE(eta=30.0), 2))
    refuses("method='rk4'", "euler, srk", call=lambda: ReverseSDE(method="rk4"))
    refuses("dt=0", call=lambda: ReverseSDE(dt=0))
    refuses("last='mean'", call=lambda: ReverseSDE(last="mean"))


# -- torchsde ---------------------------------------------------------------------------------------------------------


@each_sde
def test_torchsde_has_the_moments_of_the_mixture(sde):
    model = mixture(sde)
    fits(run(model, ReverseSDE(last="none"), 3000), model, sde.t_min, allowance=0.03)


@pytest.mark.parametrize("method", ["euler", "srk", "heun", "midpoint"])
@pytest.mark.parametrize("adaptive", [False, True], ids=["fixed", "adaptive"])
def test_every_method_of_torchsde(method, adaptive):
    model = mixture(VP())
    fits(run(model, ReverseSDE(method=method, adaptive=adaptive, dt=0.05, last="none"), 2000), model, VP().t_min, 0.03)


@pytest.mark.parametrize("name", ["vp", "ve"])
def test_torchsde_and_our_own_agree_in_distribution(name):
    model = mixture(SDES[name])
    ours, theirs = (run(model, sampler(last="none"), 2500) for sampler in (AdaptiveSDE, ReverseSDE))
    for line in ((1.0, 0.0), (0.0, 1.0), (0.8, -0.6)):
        line = torch.tensor(line, dtype=torch.float64)
        assert stats.ks_2samp((ours @ line).numpy(), (theirs @ line).numpy()).pvalue > 1e-3


def test_torchsde_follows_its_seed():
    model = mixture(VP())
    first = run(model, ReverseSDE(), 4, seed=1)
    assert torch.equal(run(model, ReverseSDE(), 4, seed=1), first)
    for other in (dict(seed=2), dict(offset=1)):
        assert (run(model, ReverseSDE(), 4, **{"seed": 1, **other}) - first).abs().min() > 1e-9


def test_torchsde_is_imported_where_it_is_used():
    code = "import sys, scoresde; scoresde.sampling.ReverseSDE(); print('torchsde' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "False"
