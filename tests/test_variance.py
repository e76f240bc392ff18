"""Laws of chains: DDPM's and NCSN's losses on their grids, learned variances, and the bound that they lower."""

import json
import math

import pytest
import torch
from commands import TINY, command
from problems import close, each_sde, mixture, refuses

import scoresde
from scoresde.data import Affine, Bins, Data, Tensors, collate
from scoresde.denoiser import Denoiser, LearnedVariance, Preconditioned, step_kl
from scoresde.exact import GaussianMixture
from scoresde.likelihood import Plan, vlb
from scoresde.likelihood.bounds import chain as chain_module
from scoresde.loss import Adaptive, DenoisingLoss, Schedule, discrete, lognormal
from scoresde.model import checkpoint
from scoresde.objectives import Denoising, Hybrid
from scoresde.sampling import DDIM, Ancestral, sample
from scoresde.sde import VE, VP, Cosine

GRIDS = [discrete(40), discrete(40, "geometric"), discrete(40, "linear"), discrete(40, of=lognormal(-1.0, 1.5))]
each_grid = pytest.mark.parametrize("times", GRIDS, ids=lambda g: f"{g.schedule}-{type(g.of).__name__}")


class Net(torch.nn.Module):
    """A small network of x and c, in float64, with `outputs` tensors like x."""

    def __init__(self, size=3, outputs=1):
        super().__init__()
        torch.manual_seed(3)
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(size + 1, 16), torch.nn.Tanh(), torch.nn.Linear(16, outputs * size)
        ).double()

    def forward(self, x, c):
        return self.layers(torch.cat([x, c[:, None]], 1))


def gradients(value, module):
    return torch.cat([g.flatten() for g in torch.autograd.grad(value, list(module.parameters()))])


# -- the chains of the papers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_the_products_of_ddpm_are_met_exactly(schedule):
    """alpha_bar by its recursion, under the SDE in continuous time."""
    if schedule == "linear":
        sde, beta = VP(t_max=1.01), torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    else:
        f = lambda i: math.cos((i / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2
        sde, beta = Cosine(t_max=1 - 1e-6), torch.tensor([min(1 - f(i) / f(i - 1), 0.999) for i in range(1, 1001)])
    alpha_bar, known = [1.0], discrete(1000, schedule).grid(sde, sde.t_min)
    for b in beta.tolist():
        alpha_bar.append(alpha_bar[-1] * (1 - b))
    inside = slice(20, 1001) if schedule == "cosine" else slice(1, 1001)  # t_min of Cosine is beyond the first
    close(sde.marginal(known[inside])[0] ** 2, torch.tensor(alpha_bar).double()[inside], rtol=1e-6)
    if schedule == "linear":  # log(1 - beta) = -beta - beta^2 / 2: at t = i / T the SDE's is beta^2 / 2 a step higher
        gap = sde.marginal(torch.arange(1, 1001).double() / 1000)[0].log() * 2 - torch.tensor(alpha_bar[1:]).log()
        assert float(gap[-1]) == pytest.approx(float((beta**2 / 2).sum()), rel=0.02) and float(gap.min()) > -0.01


def test_the_loss_of_ddpm_is_the_paper_s():
    """|eps - eps_theta(sqrt(alpha_bar) x_0 + sqrt(1 - alpha_bar) eps, t)|^2 at t of the chain, and its gradient."""
    net, loss = Net(), DenoisingLoss("simple", discrete(1000, "linear"), draw="iid")
    denoiser = Preconditioned(net, VP(t_max=1.01), rule="eps")
    torch.manual_seed(0)
    t = loss.sample_times(denoiser.sde, 64)
    x0, eps = torch.randn(2, 64, 3, dtype=torch.float64)
    i = loss.times.number(denoiser.sde, t, denoiser.sde.t_min)
    alpha_bar = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)[i - 1]
    noisy = alpha_bar[:, None].sqrt() * x0 + (1 - alpha_bar)[:, None].sqrt() * eps
    # The network is told log(sigma / alpha) in the place of i: in float32, as parameters' types go
    paper = (eps - net(noisy, torch.log((1 - alpha_bar) / alpha_bar) / 2)).square().mean(1)
    ours = loss(denoiser, x0, t, eps)
    close(ours, paper, rtol=1e-6)
    close(gradients(ours.mean(), net), gradients(paper.mean(), net), rtol=1e-6, atol=1e-9)
    assert len(i.unique()) > 50 and int(i.min()) >= 1 and int(i.max()) <= 1000


def test_the_loss_of_ncsn_is_the_paper_s():
    """sigma^2 |s_theta(x_0 + sigma eps, sigma) + eps / sigma|^2 at geometric noise levels."""
    net, sde = Net(), VE(sigma_min=0.01, sigma_max=50.0)
    loss, denoiser = DenoisingLoss("simple", discrete(10, "geometric"), draw="iid"), Preconditioned(net, sde, "eps")
    sigmas = torch.tensor([50.0 * (0.01 / 50.0) ** (i / 9) for i in range(9, -1, -1)], dtype=torch.float64)
    close(sde.marginal(loss.times.grid(sde, 0.0)[1:])[1], sigmas, rtol=1e-9)
    torch.manual_seed(0)
    t = loss.sample_times(sde, 200)
    x0, eps = torch.randn(2, 200, 3, dtype=torch.float64)
    sigma = sigmas[loss.times.number(sde, t, 0.0) - 1][:, None]
    x = x0 + sigma * eps
    score = -net(x / (1 + sigma**2).sqrt(), sigma[:, 0].log()) / sigma
    paper = (sigma**2 * (score + eps / sigma).square()).mean(1)
    ours = loss(denoiser, x0, t, eps)
    close(ours, paper, rtol=1e-6)
    close(gradients(ours.mean(), net), gradients(paper.mean(), net), rtol=1e-6, atol=1e-9)
    assert len(t.unique()) == 10


@each_sde
@each_grid
def test_a_grid_has_its_masses_and_its_steps(sde, times):
    start = sde.t_min
    grid, mass = times.grid(sde, start), times.mass(sde, start)
    assert float(mass.sum()) == pytest.approx(1) and float(grid[0]) == start
    u = (torch.arange(100_000) + 0.5).double() / 100_000
    drawn = times(sde, u, start)
    inside = (grid[1:].diff() > 0).all()
    if not inside:  # levels beyond the ends of the SDE are at its ends
        return
    close(times.number(sde, grid[1:], start), torch.arange(1, 41))
    close(times.before(sde, grid[1:], start), grid[:-1])
    shares = torch.bincount(times.number(sde, drawn, start) - 1, minlength=40) / 100_000
    close(shares, mass, atol=2e-5)
    even = discrete(40, times.schedule)
    ratio = times.log_density(sde, grid[1:], start) - even.log_density(sde, grid[1:], start)
    close(ratio.exp(), mass * 40, rtol=1e-9)


def test_the_masses_are_those_of_the_distribution_in_each_cell():
    sde, times = VP(), discrete(400, of=lognormal(-1.0, 1.5), floor=0.2)
    c = -sde.log_snr(times.grid(sde, sde.t_min)[1:]) / 2
    ends = torch.cat([-sde.log_snr(torch.tensor([sde.t_min])) / 2, (c[1:] + c[:-1]) / 2, c[-1:]])
    p = torch.distributions.Normal(-1.0, 1.5).cdf(ends).diff().double()
    close(times.mass(sde, sde.t_min)[4:], (0.8 * p / p.sum() + 0.2 / 400)[4:], rtol=0.02)


# -- variances --------------------------------------------------------------------------------------------------------

MEAN, STD = torch.tensor([[0.5, -1.0, 2.0]]).double(), 0.7


class Optimal(Denoiser):
    """The exact denoiser of N(MEAN, STD^2), with the best variance of each step of a chain."""

    def __init__(self, sde, times):
        super().__init__(sde)
        self.times, self.of = torch.tensor(times, dtype=torch.float64), GaussianMixture(torch.ones(1), MEAN, STD, sde)

    def forward(self, x, t, cond=None):
        return self.of(x, t)

    def with_variance(self, x, t, cond=None):
        sde = self.sde
        s = self.times[torch.searchsorted(-self.times, -t[0]) + 1]
        snr_t, snr_s = sde.log_snr(t[0]).exp(), sde.log_snr(s).exp()
        left = STD**2 / (1 + STD**2 * snr_t)  # the variance of x_0 given x_t
        v = torch.log1p((snr_s - snr_t) * left) / (2 * (sde.log_sigma(t[0]) - sde.log_sigma(s)))
        return self(x, t), v.expand_as(x)


def ends_of(sde, x, times):
    """What the prior N(0, sigma_T^2) costs for q_T and the decoder N(D, (sigma / alpha)^2) for the posterior, (B,)."""
    alpha, sigma = (float(a) for a in sde.marginal(times[0]))
    wide, square = (alpha * STD) ** 2 + sigma**2, (alpha * (x - MEAN)).square() + sigma**2
    swap = 0.5 * (square / wide + math.log(wide)) - 0.5 * ((alpha * x) ** 2 / sigma**2 + 1 + math.log(sigma**2))
    rho = math.exp(-float(sde.log_snr(times[-1]))) / STD**2
    square = (rho**2 * ((x - MEAN) / STD) ** 2 + rho) / (1 + rho) ** 2
    return (swap + 0.5 * (square * (1 + rho) / rho - square / rho + math.log1p(-rho / (1 + rho)))).sum(1)


@each_sde
@pytest.mark.parametrize("steps", [2, 10])
def test_with_the_best_variance_the_chain_of_a_gaussian_is_exact(sde, steps, monkeypatch):
    """Each step is then the true reverse kernel, so the bound is log p in every row, however few the steps; with
    another variance it is below.  Noises of +-1 give the exact mean of what is quadratic in them."""
    count = iter(range(10**6))
    monkeypatch.setattr(chain_module, "normal", lambda x, *_: torch.full_like(x, 1 - 2 * (next(count) // steps)))
    times = scoresde.grids.times("log_snr", sde, steps, sde.t_max, sde.t_min)
    model, x = Optimal(sde, times), GaussianMixture(torch.ones(1), MEAN, STD, sde).sample(6)
    plain = Plan.uniform(sde, sde.t_min)
    exact = Plan(plain.edges, plain.mass, torch.ones(1).double(), MEAN[0], STD)
    found = vlb(model, x, times, draws=2, variance="learned", density=plain)
    decoder = vlb(model, x, times, n=2, density=exact, ends=2).reconstruction  # which has no noise by this plan
    close(found.prior + found.diffusion + decoder, model.of.log_prob(x) + ends_of(sde, x, times), rtol=0, atol=1e-6)
    for variance in ("posterior", "beta"):
        count = iter(range(10**6))
        assert float(vlb(model, x, times, draws=2, variance=variance, density=plain).diffusion.mean()) < float(
            found.diffusion.mean()
        )


def test_fixed_variances_are_the_ends_of_the_learned_one():
    class Fixed(GaussianMixture):
        def with_variance(self, x, t, cond=None):
            return self(x, t), torch.full_like(x, self.v)

    sde = VP()
    model, x = mixture(sde), mixture(sde).sample(5)
    model.__class__ = Fixed
    times = scoresde.grids.times("uniform", sde, 8, 1.0, 1e-3)
    for v, name in ((0.0, "posterior"), (1.0, "beta")):
        model.v = v
        a, b = (vlb(model, x, times, variance=variance) for variance in ("learned", name))
        close(a.steps, b.steps, rtol=1e-9)
    refuses("variance='learned'", "has learned none", call=lambda: vlb(mixture(sde), x, times, variance="learned"))


@each_sde
def test_the_variance_of_least_divergence_is_the_step_s_own(sde):
    """min over v of E KL is at Sigma = E|x_s - mean of the step|^2, by quadrature over x_0 of a Gaussian."""
    t, s = (sde.time(torch.tensor([c], dtype=torch.float64)) for c in (0.0, 1.0))
    x0 = torch.tensor([[1.0], [-1.0]]).double() * 0.4  # |x_0 - D|^2 = 0.16
    v = torch.linspace(-1, 2, 30001).double()[:, None]
    many = lambda a: a.expand(len(v))
    kl = step_kl(sde, many(t), many(s), x0[:1].expand(len(v), 1), torch.zeros(len(v), 1).double(), v)
    alpha_t, alpha_s, sigma_t, sigma_s = (
        float(a) for r in zip(sde.marginal(t), sde.marginal(s), strict=True) for a in r
    )
    beta = sigma_t**2 - (alpha_t / alpha_s) ** 2 * sigma_s**2
    mean = alpha_s * beta / sigma_t**2  # of x_s, for each unit of D
    best = math.log(beta * sigma_s**2 / sigma_t**2 + mean**2 * 0.16), math.log(beta * sigma_s**2 / sigma_t**2)
    expected = (best[0] - best[1]) / (math.log(beta) - best[1])
    assert float(v[kl.argmin(0)]) == pytest.approx(expected, abs=2e-4)


# -- the objective ----------------------------------------------------------------------------------------------------


def points(n=300, levels=None):
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(levels, (n, 3), generator=generator) if levels else torch.randn(n, 3, generator=generator)
    return Data("points", Tensors(x[50:]), Tensors(x[:50]), Bins(levels) if levels else Affine())


def hybrid(loss=None, data=None, dequantise="uniform", **options):
    loss = loss or DenoisingLoss("simple", "log_snr")
    return Hybrid(LearnedVariance(Net(outputs=2), VP()), loss, data or points(), dequantise, **options)


def test_the_bound_trains_the_variance_alone_beside_the_loss():
    torch.manual_seed(0)
    both, plain = hybrid(), hybrid()
    batch = collate(both.data.train, range(32), ())
    drawn = both.draw(batch, 32, slice(0, 32))
    total = gradients(both(drawn).mean(), both)
    alone = gradients(Denoising.forward(plain, drawn).mean(), plain)
    head = both.product.net.layers[2]
    weight = total[-6 * 17 :][: 6 * 16].reshape(6, 16), alone[-6 * 17 :][: 6 * 16].reshape(6, 16)
    assert head.weight.shape == weight[0].shape
    close(weight[0][:3], weight[1][:3], rtol=1e-12)  # of D's half the denoising loss alone
    assert float(weight[1][3:].abs().max()) == 0 and float(weight[0][3:].abs().max()) > 0
    whole = hybrid(simple=False, vlb=1.0)
    assert float(gradients(whole(drawn).mean(), whole)[-6 * 17 :][:48].abs().max()) > 0


LAWS = {"even": "log_snr", "adaptive": Adaptive("simple", "log_snr", follows="loss"), "normal": lognormal(-1.0, 1.5)}


@pytest.mark.parametrize("times", LAWS.values(), ids=LAWS)
def test_the_expected_bound_is_the_chain_s_whatever_the_times(times):
    """sum_i p_i row(t_i) = sum_i KL_i, by all the times of the chain."""
    made = hybrid(DenoisingLoss("simple", times), chain=discrete(20))
    sde, start = made.product.sde, made.product.sde.t_min
    t = made.chain.grid(sde, start)
    x0 = torch.randn(1, 3, dtype=torch.float64).expand(20, 3)
    x = sde.perturb(x0, t[1:], torch.ones_like(x0))
    with torch.no_grad():
        mean, v = made.product.with_variance(x, t[1:])
        rows = made.bound(x0, t[1:], mean, v) * made.loss.times.mass(sde, start)
        close(rows, step_kl(sde, t[1:], t[:-1], x0, mean, v).mean(1), rtol=1e-6)


def test_of_levels_the_first_step_is_the_decoder():
    made = hybrid(data=points(levels=7), dequantise="none", chain=discrete(20))
    sde, bins = made.product.sde, made.data.space
    t = made.chain.grid(sde, sde.t_min)
    x0 = bins.place(torch.tensor([[0, 3, 6], [1, 6, 0]])).expand(2, 3)
    mean, v = x0 + 0.1, torch.full_like(x0, 0.25)
    first, second = (made.bound(x0, t[i].expand(2), mean, v) for i in (1, 2))
    std = float(sde.marginal(t[0])[1]) ** 0.75 * float(sde.marginal(t[1])[1]) ** 0.25
    chances = made.loss.times.mass(sde, sde.t_min)
    close(first, -bins.log_mass(bins.nearest(x0), mean, torch.full_like(x0, std)) / 3 / chances[0], rtol=1e-9)
    close(second, step_kl(sde, t[2].expand(2), t[1].expand(2), x0, mean, v).mean(1) / chances[1], rtol=1e-9)


@pytest.mark.parametrize("scale", [2.0, -2.0])
@pytest.mark.parametrize("std", [1e-3, 0.1, 3.0])
def test_the_mass_of_a_bin(scale, std):
    bins = Bins(7, scale, -scale / 2)
    levels, mean = torch.arange(7).double()[:, None], torch.full((7, 1), 0.31, dtype=torch.float64)
    found = bins.log_mass(levels, mean, torch.full_like(mean, std))
    assert float(found.exp().sum()) == pytest.approx(1)
    law, at = torch.distributions.Normal(*torch.tensor([0.31, std], dtype=torch.float64)), bins.place(levels[1:-1, 0])
    half = float(bins.half_widths(at))
    close(found.exp()[1:-1], law.cdf(at + half) - law.cdf(at - half), atol=1e-9)


def test_training_finds_the_variance_of_a_gaussian():
    """v of N(0, 1) under VP is 1 at any step but for what a step's length adds: beta is the true variance."""
    data = Data(
        "normal", Tensors(torch.randn(4000, 3, generator=torch.Generator().manual_seed(0))), points().test, Affine()
    )
    net = scoresde.nets.MLP((3,), width=32, blocks=1, outputs=2)
    made = Hybrid(LearnedVariance(net, VP()), DenoisingLoss("simple", "uniform"), data, chain=discrete(50), vlb=1.0)
    model = scoresde.fit(made, data, scoresde.training.Training(steps=100, batch_size=128, lr=1e-2, warmup=5, ema=0.95))
    t = torch.tensor([0.1, 0.3, 0.6]).double().repeat_interleave(100)
    x = torch.randn(300, 3, generator=torch.Generator().manual_seed(1))
    v = model.with_variance(x, t)[1].reshape(3, -1)
    close(v.mean(1), torch.ones(3), atol=0.15)  # from 1/2 before


# -- sampling, and the folder -----------------------------------------------------------------------------------------


def test_ancestral_takes_the_variance_that_is_asked_for():
    sde, x = VP(), torch.randn(20_000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    class Known(GaussianMixture):
        def with_variance(self, x, t, cond=None):
            return self(x, t), torch.tensor([0.5, 1.5], dtype=x.dtype).expand_as(x)

    model = mixture(sde)
    model.__class__ = Known
    t, s = sde.at(0.6), sde.at(0.3)
    ratio, silent = t.sigma / s.sigma, DDIM().step(model, x, t, s, None, None)[0]
    spreads = {}
    for variance in ("posterior", "beta", "learned", "auto"):
        draws = scoresde.noise.Draws(0, torch.arange(len(x)), 1)
        spreads[variance] = Ancestral(variance=variance).step(model, x, t, s, None, draws)[0]
    plain = DDIM(eta=1.0).step(model, x, t, s, None, scoresde.noise.Draws(0, torch.arange(len(x)), 1))[0]
    assert torch.equal(spreads["posterior"], plain) and torch.equal(spreads["auto"], spreads["learned"])
    quiet = Ancestral(temperature=0.0).step(model, x, t, s, None, scoresde.noise.Draws(0, torch.arange(len(x)), 1))[0]
    noise = {k: (y - quiet) / (plain - quiet) for k, y in spreads.items()}
    close(noise["beta"], torch.full_like(x, ratio), rtol=1e-6)
    close(noise["learned"], ratio ** torch.tensor([0.5, 1.5]).double().expand_as(x), rtol=1e-6)
    assert silent.shape == x.shape
    refuses(
        "variance='learned'",
        "learned none",
        call=lambda: sample(mixture(sde), Ancestral(3, variance="learned"), (2, 2)),
    )


def test_a_folder_knows_what_was_learned(tmp_path, monkeypatch, capfd):
    """The command trains it, samples it and scores the chain; `load` makes it again; a stranger's is not run."""
    code, _, err = command(monkeypatch, capfd, tmp_path, *TINY, "objective=hybrid", "task=train", "folder=here")
    assert code == 0, err
    words = ["folder=here", "task=likelihood", "likelihood.n=2", "likelihood.bound=vlb", "likelihood.bound_steps=4"]
    code, out, err = command(monkeypatch, capfd, tmp_path, *words)
    assert code == 0 and "vlb" in out, err
    known = json.loads((tmp_path / "here" / "model.json").read_text())
    assert known["denoiser"] == "scoresde.denoiser.LearnedVariance"
    assert known["objective"] == {"_target_": "scoresde.objectives.Hybrid"}
    model = scoresde.load(tmp_path / "here")
    x = torch.randn(2, 1, 8, 8)
    assert type(model.bare) is LearnedVariance and model.with_variance(x, 0.5)[1].shape == x.shape
    assert sample(model, Ancestral(2, variance="learned"), (2, 1, 8, 8)).isfinite().all()
    for wrong in ("os.system", "scoresde.nets.MLP", "scoresde.Denoiser"):
        (tmp_path / "here" / "model.json").write_text(json.dumps(known | {"denoiser": wrong}))
        refuses(wrong.split(".")[-1], call=lambda: scoresde.load(tmp_path / "here"))


def test_a_network_of_one_output_is_refused():
    net = scoresde.nets.MLP((3,), width=16)
    refuses("outputs=1", "needs outputs=2", call=lambda: LearnedVariance(net, VP()))
    refuses("the network Net answers with", call=lambda: LearnedVariance(Net(), VP())(torch.zeros(2, 3), 0.5))


class Stopped(Exception):
    pass


def test_a_stopped_run_goes_on_exactly_with_what_its_times_have_learned(tmp_path):
    def trained(folder, last=None):
        net = scoresde.nets.MLP((3,), width=16, blocks=1, outputs=2)
        loss, data = DenoisingLoss("simple", Schedule(), base="log_snr"), points()
        training = scoresde.Training(steps=6, batch_size=32, checkpoint_every=2, log_every=1, warmup=1)

        def report(step, **figures):
            if step == last:
                raise Stopped

        made = Hybrid(LearnedVariance(net, VP()), loss, data, chain=discrete(20))
        return scoresde.fit(made, data, training, tmp_path / folder, report)

    torch.manual_seed(1)
    whole = trained("whole")
    torch.manual_seed(1)
    with pytest.raises(Stopped):
        trained("parts", last=5)
    parts = trained("parts")
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), parts.parameters(), strict=True))
    a, b = (checkpoint.load(tmp_path / name / "checkpoint.pt")["loss"] for name in ("whole", "parts"))
    assert {"values", "moments", "step"} == a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
    assert float(a["step"]) == 6
