"""The rule for data with levels: the mean is that of a quadrature, the densities and bounds are the exact ones."""

import itertools
import json
from types import SimpleNamespace

import pytest
import torch
from commands import TINY, command
from omegaconf import OmegaConf
from problems import refuses

import scoresde
from scoresde.config import settle
from scoresde.denoiser import LearnedVariance, Preconditioned, levels
from scoresde.denoiser.bins import merged
from scoresde.likelihood import elbo, log_likelihood
from scoresde.spaces import Affine, Bins

P = torch.tensor([[0.5, 0.2, 0.2, 0.1, 0.0], [0.02, 0.08, 0.1, 0.3, 0.5]], dtype=torch.float64)  # of 5 levels, 2 dims


class Known(torch.nn.Module):
    """The logits log P of independent elements, whatever the noise: (B, 5 * 2) of x (B, 2)."""

    def __init__(self, p=P):
        super().__init__()
        self.logits = torch.nn.Parameter(p.clamp_min(1e-30).log().mT.flatten())

    def forward(self, x, c):
        return self.logits.expand(len(x), -1) + 0 * x.sum() + 0 * c.sum()


def exact(spread=True, scale=2.0, sde=None, p=P):
    """A denoiser of independent elements of known probabilities."""
    return Preconditioned(Known(p), sde or scoresde.VP(), levels(5, scale, -scale / 2, spread))


def by_quadrature(x, alpha, sigma, logits, rule, nodes=1500):
    """The posterior mean (B, D) of logits (B, K, D), bin by bin, by the midpoint rule."""
    edges = torch.tensor([*(rule.cuts or range(rule.levels)), rule.levels], dtype=torch.float64)
    width = edges.diff()[:, None]
    u = (torch.arange(nodes, dtype=torch.float64) + 0.5) / nodes if rule.spread else torch.tensor([0.5]).double()
    y = rule.scale * (edges[:-1, None] + width * u) / rule.levels + rule.shift  # (K, nodes)
    far = -0.5 * ((x[:, None, :, None] - alpha * y[:, None]) / sigma) ** 2
    log_weights = logits[..., None] + far + width.log()[..., None]  # (B, K, D, nodes)
    weights = (log_weights - log_weights.amax((1, 3), keepdim=True)).exp()
    return (weights * y[:, None]).sum((1, 3)) / weights.sum((1, 3))


@pytest.mark.parametrize("scale", [2.0, -3.0])
@pytest.mark.parametrize("spread", [True, False])
def test_the_mean_is_that_of_a_quadrature(spread, scale):
    check(levels(17, scale, -scale / 2, spread))


def test_bins_of_several_levels_are_as_exact():
    check(levels(100, cuts=(0, 1, 2, 40, 43, 90, 99)))


def check(rule):
    torch.manual_seed(0)
    sde, logits = scoresde.VP(), 2 * torch.randn(64, rule.outputs, 3, dtype=torch.float64)
    for log_snr in (-8.0, -2.0, 0.0, 1.0, 3.0, 6.0, 9.0, 12.0):
        alpha, sigma = sde.marginal(sde.time(torch.tensor(log_snr, dtype=torch.float64)))
        x = 1.6 * torch.randn(64, 3, dtype=torch.float64)  # a fifth is outside all bins
        want = by_quadrature(x, alpha, sigma, logits, rule)
        for dtype, most in ((torch.float64, 1e-4), (torch.float32, 2e-4)):
            found = rule.mean(x.to(dtype), alpha, sigma, logits.flatten(1))
            assert (found - want).abs().max() < most, (log_snr, dtype)
            with torch.autocast("cpu", torch.bfloat16):
                assert torch.equal(rule.mean(x.to(dtype), alpha, sigma, logits.flatten(1)), found)
            number = rule.mean(x.to(dtype), float(alpha), float(sigma), logits.flatten(1))  # one branch, not both
            assert torch.allclose(number, found, atol=1e-6)
            each = rule.mean(x.to(dtype), alpha.expand(64), sigma.expand(64), logits.flatten(1))
            assert torch.allclose(each, found, atol=1e-6)


def test_rows_of_many_noises_are_each_as_alone():
    torch.manual_seed(0)
    rule, logits = levels(17), torch.randn(9, 17 * 3, dtype=torch.float64)
    sigma = torch.tensor([0.5, 1e-3, 5.0, 0.02, 1.5, 80.0, 0.9, 0.1, 3.0], dtype=torch.float64)  # 0.94: much noise
    x = torch.rand(9, 3, dtype=torch.float64) + sigma[:, None] * torch.randn(9, 3, dtype=torch.float64)
    alone = torch.cat([rule.mean(x[i, None], 1.0, float(sigma[i]), logits[i, None]) for i in range(9)])
    assert torch.allclose(rule.mean(x, torch.ones(9), sigma, logits), alone, atol=1e-12)
    mean = lambda x: rule.mean(x, torch.ones(9), sigma, logits)
    both = torch.func.vmap(mean)(torch.stack([x, x]))  # where nobody may look which rows are which
    assert torch.allclose(both, alone.expand(2, 9, 3), atol=1e-12)


def test_far_outside_of_all_bins_it_is_the_nearest_edge_and_finite():
    rule = levels(5)
    x = torch.tensor([[-30.0], [30.0], [1.5], [-1.001]], requires_grad=True)
    mean = rule.mean(x, 1.0, 1e-3, torch.zeros(4, 5))
    assert torch.allclose(mean[:, 0], torch.tensor([-1.0, 1.0, 1.0, -1.0]), atol=2e-3)
    (slope,) = torch.autograd.grad(mean.sum(), x)
    assert slope.isfinite().all()


def test_forward_and_backward_derivatives_agree_with_differences():
    torch.manual_seed(0)
    rule, logits = levels(5), torch.randn(7, 10, dtype=torch.float64)
    x = torch.randn(7, 2, dtype=torch.float64)
    for sigma in (0.05, 0.3, 2.0):
        mean = lambda x, sigma=sigma: rule.mean(x, 0.9, sigma, logits)
        v = torch.randn_like(x)
        forward = torch.func.jvp(mean, (x,), (v,))[1]
        wide = (mean(x + 1e-6 * v) - mean(x - 1e-6 * v)) / 2e-6
        back = torch.autograd.functional.vjp(mean, x, v)[1]
        assert torch.allclose(forward, wide, atol=1e-6)
        assert abs(float((back * v).sum() - (forward * v).sum())) < 1e-9


def test_the_flow_has_the_density_of_the_bins():
    p = P.clamp_min(0.05)
    p = p / p.sum(1, keepdim=True)
    v = torch.stack([torch.multinomial(row, 400, True, generator=torch.Generator().manual_seed(0)) for row in p], 1)
    bins = Bins(5)
    x = bins.encode(v, torch.full((), 0.3).expand(400, 2)).double()
    found = log_likelihood(exact(p=p), x, rtol=1e-5, atol=1e-5)
    want = (p[torch.arange(2), v] / 0.4).log().sum(1)
    assert (found.log_prob - want).abs().mean() < 0.01
    assert (found.log_prob - want).abs().max() < 0.1  # p_T is not quite N(0, I), and the density of x_{t_min} is smooth


def test_the_bound_of_points_is_their_probability():
    p = P.clamp_min(0.05)
    p = p / p.sum(1, keepdim=True)
    v = torch.stack(torch.meshgrid(torch.arange(5), torch.arange(5), indexing="ij"), -1).reshape(-1, 2)
    bins = Bins(5)
    found = elbo(exact(spread=False, p=p), bins.encode(v), n=4096, levels=bins)
    gap = found.log_prob - p[torch.arange(2), v].log().sum(1)
    assert (gap.abs() < 5 * found.stderr).all() and found.stderr.max() < 0.3
    assert abs(gap.mean()) < 4 * found.stderr.square().mean().sqrt() / 5


def test_samples_are_within_bins_with_their_probabilities():
    model, n = exact(), 4000
    x = scoresde.sample(model, scoresde.sampling.Heun(steps=40), (n, 2), seed=0)
    v = Bins(5).decode(x)
    share = torch.stack([(v == k).double().mean(0) for k in range(5)], 1)
    assert ((share - P).abs() < 4 * (P * (1 - P) / n).sqrt() + 2e-3).all()
    assert (x.abs() <= 1.001).all()


def test_a_level_that_is_impossible_is_never_drawn():
    x = scoresde.sample(exact(spread=False), scoresde.sampling.GaussianAdams(steps=20), (1000, 2), seed=0)
    assert (Bins(5).decode(x)[:, 0] < 4).all()


def test_levels_that_are_alike_share_a_bin():
    """As merging by trying every pair does; of a data set, by its own counts."""
    counts = torch.tensor([900.0, 3, 5, 4, 4, 60, 1, 2, 500, 480], dtype=torch.float64)
    cost = lambda n: float((n * (n / n.mean()).log()).sum())
    parts = [[i] for i in range(10)]
    n = counts + 0.1
    for bins in (9, 6, 4, 2):
        while len(parts) > bins:
            more = [cost(n[a + b]) - cost(n[a]) - cost(n[b]) for a, b in itertools.pairwise(parts)]
            i = more.index(min(more))
            parts[i : i + 2] = [parts[i] + parts[i + 1]]
        assert merged(counts, bins) == tuple(p[0] for p in parts)
    data = scoresde.data.digits()
    seen = torch.bincount(scoresde.data.stack(data.train, range(len(data.train))).flatten().long(), minlength=17)
    assert torch.equal(data.counts, seen.double()) and scoresde.data.from_tensor(torch.randn(9, 2)).counts is None
    rule = levels.of(data, bins=8)
    assert rule.outputs == 8 and rule.cuts == merged(seen, 8) and levels.of(data, bins=17) == levels.of(data)


def test_what_does_not_fit_is_refused():
    sde, net = scoresde.VP(), scoresde.nets.MLP((2,), width=16, blocks=1, outputs=5)
    refuses("outputs=5", "needs outputs=1", call=lambda: Preconditioned(net, sde))
    refuses("outputs=5", "needs outputs=4", call=lambda: Preconditioned(net, sde, levels(4)))
    refuses("rule=levels", "LearnedVariance", call=lambda: LearnedVariance(net, sde, levels(5)))
    refuses("rule=levels", "no levels", call=lambda: levels.of(Affine()))
    refuses("columns", "rule=v", call=lambda: levels.of(Bins(5, torch.ones(2), torch.zeros(2))))
    refuses("levels=1", call=lambda: levels(1))
    refuses("bins=1", call=lambda: levels.of(scoresde.data.digits(), bins=1))
    refuses("bins=8", "Bins", call=lambda: levels.of(Bins(17), bins=8))
    for cuts, spread in (((1, 2), True), ((0, 2, 2), True), ((0, 5), True), ((0, 2), False)):
        refuses("cuts", call=lambda cuts=cuts, spread=spread: levels(5, spread=spread, cuts=cuts))
    cut = Preconditioned(Detached(), sde, levels(5))
    refuses("Detached", call=lambda: cut(torch.zeros(3, 2, requires_grad=True), 0.5))


class Detached(Known):
    """An answer that has lost its graph to x."""

    def forward(self, x, c):
        return self.logits.detach().expand(len(x), -1) * x.detach().sum()


def settled(space, **more):
    """The rule that a config gets for data of this space."""
    said = {"net": {"_target_": "scoresde.nets.UNet"}, "rule": "auto", "train": {"dequantise": "uniform"}}
    said |= {"objective": {"_target_": "scoresde.objectives.Denoising"}}
    return settle.settled(
        OmegaConf.create(said | more),
        SimpleNamespace(name="it", levels=space.levels, space=space, counts=torch.arange(1.0, 257)),
    ).rule


def test_auto_takes_the_levels_of_data_that_has_few():
    assert settled(Bins(17)).levels == 17 and settled(Bins(17)).spread is True
    assert settled(Bins(17), train={"dequantise": "none"}).spread is False
    assert settled(Bins(256)) == "v" == settled(Affine())
    assert settled(Bins(256), rule="levels", train={"dequantise": "none"}).levels == 256
    cut = settled(Bins(256), rule="levels")
    assert cut.levels == 256 and len(cut.cuts) == 32
    assert settled(Bins(17), objective={"_target_": "scoresde.objectives.Hybrid"}) == "v"
    assert settled(Bins(17), net={"_target_": "scoresde.nets.Energy"}) == "v"
    assert settled(Bins(17), rule="eps") == "eps"
    said = {"_target_": "scoresde.denoiser.levels", "levels": 17}
    assert settled(Bins(17), rule=said) == said
    refuses("17 levels", "has 256", call=lambda: settled(Bins(256), rule=said))
    refuses("17 levels", "has none", call=lambda: settled(Affine(), rule=said))
    refuses("rule=levels", "no levels", call=lambda: settled(Affine(), rule="levels"))


def test_a_folder_knows_its_levels(tmp_path, monkeypatch, capfd):
    """The same words, or the folder alone, find the model again; other words for its rule are told."""
    ask = lambda *words: command(monkeypatch, capfd, tmp_path, *words)
    code, out, err = ask(*TINY, "task=train")
    assert code == 0 and "17 levels" in out + err, err
    (folder,) = (tmp_path / "runs").glob("vp-digits-*")
    rule = json.loads((folder / "model.json").read_text())["rule"]
    assert rule.pop("cuts") == []
    assert rule == {"_target_": "scoresde.denoiser.levels", "levels": 17, "scale": 2.0, "shift": -1.0, "spread": True}
    model = scoresde.load(folder)
    assert model.bare.rule == levels(17) and model(torch.zeros(2, 1, 8, 8), 0.5).shape == (2, 1, 8, 8)
    few = ["task=sample", "n=2", "sampler=ddim", "sampler.steps=2"]
    for words in ([*TINY, *few], [f"folder={folder}", *few], [f"folder={folder}", "rule=levels", *few]):
        assert ask(*words)[0] == 0
    assert len(list((tmp_path / "runs").iterdir())) == 1
    centres = [*TINY, "rule=levels", "train.dequantise=none", "folder=centres"]
    assert ask(*centres, "task=train")[0] == 0
    code, _, err = ask(*centres, "task=likelihood")
    assert code == 1 and "centres" in err and "choose decoder" in err
    code, out, err = ask(*centres, "task=likelihood", "likelihood.dequantiser=decoder", "likelihood.by=elbo")
    assert code == 0 and "bits/dim" in out, err
    code, _, err = ask(f"folder={folder}", "rule=v", *few)
    assert code != 0 and "rule" in err


def test_the_posterior_is_a_density_and_its_mean_is_d():
    torch.manual_seed(0)
    n = 60_000
    for rule in (levels(5), levels(5, -3.0, 1.5), levels(100, cuts=(0, 1, 2, 40, 43, 90, 99))):
        logits = 2 * torch.randn(1, rule.outputs, dtype=torch.float64)
        y = rule.shift + rule.scale * (torch.arange(n, dtype=torch.float64)[:, None] + 0.5) / n  # all that is possible
        for sigma, x in ((0.3, 0.4), (0.05, -0.9), (2.0, 3.0), (0.1, 1.6), (0.02, 1.5)):
            x, alpha = torch.full((1, 1), x, dtype=torch.float64), 0.9
            log_p = rule.log_posterior(y, x.expand(n, 1), alpha, sigma, logits.expand(n, -1))
            mass = log_p.exp() * abs(rule.scale) / n
            assert abs(float(mass.sum()) - 1) < 2e-3, (rule, sigma)
            mean = float((mass * y[:, 0]).sum() / mass.sum())
            assert abs(mean - float(rule.mean(x, alpha, sigma, logits))) < 1e-4


def test_the_bound_of_what_is_spread_has_edges():
    p = P.clamp_min(0.05)
    p = p / p.sum(1, keepdim=True)
    v = torch.stack([torch.multinomial(row, 600, True, generator=torch.Generator().manual_seed(0)) for row in p], 1)
    want = (p[torch.arange(2), v] / 0.4).log().sum(1)
    x = Bins(5).encode(v, torch.rand(600, 2, generator=torch.Generator().manual_seed(1))).double()
    model = exact(p=p)
    for t_min, gaussian in ((0.02, 0.10), (0.1, 0.50), (0.3, 1.73)):  # the nats that a Gaussian at the mean loses there
        found = elbo(model, x, n=512, t_min=t_min, ends=64)
        error = found.log_prob - want
        assert abs(error.mean()) < min(4 * error.std() / 600**0.5, gaussian / 2), t_min
    told = scoresde.denoiser.Counted(model)
    assert told.log_posterior(x, x, 1e-4).shape == (600,)
    assert (told.calls, told.rows) == (1, 600)
