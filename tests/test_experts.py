"""Laws of `guidance.Experts`, and of a loss within an interval of noise levels."""

import copy
import math

import pytest
import torch
from problems import close, levels, mixture, refuses
from samplers import SAMPLERS
from torch import nn

import scoresde
from scoresde import log_likelihood, sample
from scoresde.conditions import Label, Vector
from scoresde.denoiser import Counted, LearnedVariance, Preconditioned, Source, bind
from scoresde.exact import GaussianMixture
from scoresde.guidance import Experts, Guided, refined
from scoresde.loss import DenoisingLoss, discrete, lognormal
from scoresde.loss.within import span
from scoresde.sampling import DDIM, ProbabilityFlow
from scoresde.sde import VE, VP, Linear

INF = math.inf


def net(sde=None, seed=0, **kinds):
    """A small network with weights of its own."""
    torch.manual_seed(seed)
    made = scoresde.nets.MLP((2,), width=16, blocks=1, conditions=kinds or None)
    for p in made.parameters():
        nn.init.normal_(p, std=0.3)
    return Preconditioned(made, sde or VP()).eval().requires_grad_(False)


def halves(model, other=None, at=0.7):
    return Experts([(model, (at, INF)), (model if other is None else other, (0.0, at))])


@pytest.mark.parametrize("name", SAMPLERS)
def test_experts_of_one_model_are_the_model_to_the_bit(name):
    """Of every sampler, those with steps of each row's own too."""
    model, sampler = mixture(VP(), (2,)), SAMPLERS[name](6)
    options = {"dtype": torch.float64, "progress": False}
    assert torch.equal(sample(halves(model), sampler, (3, 2), **options), sample(model, sampler, (3, 2), **options))


@pytest.mark.parametrize("sde", [VP(), VE(), Linear()])
def test_the_likelihood_is_that_of_the_model_to_the_bit(sde):
    model, x = net(sde), torch.randn(5, 2, generator=torch.Generator().manual_seed(1))
    a, b = (log_likelihood(m, x, rtol=1e-4, atol=1e-4, t_min=1e-3) for m in (model, halves(model)))
    assert torch.equal(a.log_prob, b.log_prob) and torch.equal(a.nfe, b.nfe)
    apart = log_likelihood(halves(model, copy.deepcopy(model)), x, rtol=1e-4, atol=1e-4, t_min=1e-3)
    close(apart.log_prob, a.log_prob, rtol=0, atol=2e-2)  # rows in two calls: rounding, and other steps


def test_rows_go_to_their_own_experts():
    sde = VP()
    models = [mixture(sde, (2,), components=k) for k in (1, 2, 3)]
    asked = [Counted(model) for model in models]
    experts = Experts([(asked[1], (0.3, 1.0)), (asked[0], (0.0, 0.3)), (asked[2], (1.0, INF))])
    t = levels(sde, 9, margin=0.01)[torch.tensor([4, 0, 7, 2, 8, 1, 6, 3, 5])]
    level = (sde.marginal(t)[1] / sde.marginal(t)[0]).tolist()
    x, own = torch.randn(9, 2, dtype=torch.float64), [sum(v > end for end in (0.3, 1.0)) for v in level]
    assert {*own} == {0, 1, 2}
    found = experts(x, t)
    for i, k in enumerate(own):
        close(found[i], models[k](x[i : i + 1], t[i : i + 1])[0], rtol=1e-12)
    assert [one.rows for one in asked] == [own.count(k) for k in range(3)]
    at = sde.time(torch.tensor(-2 * math.log(0.3), dtype=torch.float64))
    assert torch.equal(experts(x, float(at) * 0.999), models[0](x, float(at) * 0.999))
    assert torch.equal(experts(x, float(at) * 1.001), models[1](x, float(at) * 1.001))
    jacobian = torch.func.jacrev(lambda v: experts(v, t))(x)
    close(torch.func.jacfwd(lambda v: experts(v, t))(x), jacobian, rtol=1e-9, atol=1e-12)


def test_each_is_told_what_it_knows_and_rows_keep_theirs():
    first, second = net(seed=1, label=Label(3)), net(seed=2, label=Label(3), crop=Vector(2))
    experts = halves(first, second)
    assert [*experts.conditions] == ["label", "crop"]
    x, t = torch.randn(6, 2), torch.linspace(0.05, 0.9, 6, dtype=torch.float64)
    cond = {"label": torch.tensor([0, 1, 2, -1, 0, 1]), "crop": torch.rand(6, 2)}
    low = (VP().marginal(t)[1] <= 0.7 * VP().marginal(t)[0]).tolist()
    right = [(second if k else first)(x, t, cond if k else {"label": cond["label"]})[i] for i, k in enumerate(low)]
    close(bind(experts, cond, 6)(x, t), torch.stack(right), rtol=1e-5, atol=1e-6)
    rows = torch.tensor([4, 1])
    close(bind(experts, cond, 6).select(rows)(x[rows], t[rows]), torch.stack(right)[rows], rtol=1e-5, atol=1e-6)
    held = halves(bind(first, {"label": cond["label"]}, 6), bind(second, cond, 6))
    assert held.bound == 6 and held.select(rows).bound == 2
    close(held.select(rows)(x[rows], t[rows]), torch.stack(right)[rows], rtol=1e-5, atol=1e-6)
    led = sample(Guided(experts, 2.0), DDIM(steps=4), (6, 2), cond=cond, progress=False)
    flow = sample(experts, ProbabilityFlow(rtol=1e-3, atol=1e-3), (6, 2), cond=cond, progress=False)
    assert led.isfinite().all() and flow.isfinite().all()


def test_a_refiner_moves_low_noise_alone():
    """Of a Gaussian with another one below a level: the flow is the one map after the other."""
    sde, at = VP(), 0.5
    wide, narrow = (GaussianMixture([1.0], [[0.0]], [[s]], sde) for s in (1.5, 0.5))
    t = float(sde.time(torch.tensor(-2 * math.log(at), dtype=torch.float64)))
    options = {"dtype": torch.float64, "progress": False}
    found = sample(
        refined(wide, narrow, at), ProbabilityFlow(1, rtol=1e-8, atol=1e-8, last="none", t_min=1e-4), (9, 1), **options
    )
    start = sample(wide, ProbabilityFlow(1, rtol=1e-8, atol=1e-8, last="none", t_min=t), (9, 1), **options)
    alpha, sigma = (float(v) for v in sde.marginal(torch.tensor(t, dtype=torch.float64)))
    shrunk = 0.5 / math.sqrt(alpha**2 * 0.25 + sigma**2)
    close(found, shrunk * start, rtol=1e-4, atol=1e-6)


def test_what_is_learned_beside_the_mean_comes_along():
    torch.manual_seed(0)
    learned = LearnedVariance(scoresde.nets.MLP((2,), width=16, blocks=1, outputs=2), VP()).eval()
    x, t = torch.randn(4, 2), torch.tensor([0.1, 0.5, 0.6, 0.9], dtype=torch.float64)
    for a, b in zip(learned.with_variance(x, t), halves(learned).with_variance(x, t), strict=True):
        assert torch.equal(a, b)
    mixed = halves(learned, copy.deepcopy(learned))
    for a, b in zip(learned.with_variance(x, t), mixed.with_variance(x, t), strict=True):
        close(a, b, rtol=1e-5, atol=1e-6)
    assert halves(learned, net()).with_variance(x, t)[1] is None


def test_wrong_experts():
    model = net()
    one = lambda *ends: Experts([(model, end) for end in ends])
    refuses("experts=[]", call=lambda: Experts([]))
    refuses("no expert", "0.5 to 0.7", "tile", call=lambda: one((0, 0.5), (0.7, INF)))
    refuses("two experts", "0.5 to 0.7", call=lambda: one((0, 0.7), (0.5, INF)))
    refuses("no expert", "0 to 0.1", call=lambda: one((0.1, INF)))
    refuses("no expert", "2 to inf", call=lambda: one((0, 2)))
    refuses("3 to 1", "empty", call=lambda: one((3, 1), (0, INF)))
    refuses("VE", "one SDE", call=lambda: halves(model, net(VE())))
    refuses("label", "two names", call=lambda: halves(net(label=Label(3)), net(label=Label(4))))
    paired = net()
    paired.source = Source(paired=True)
    refuses("paired", call=lambda: halves(model, paired))
    refuses("4 and 6", call=lambda: halves(*(bind(net(a=Label(2)), {"a": 0}, n) for n in (6, 4))))
    refuses("below=0", call=lambda: refined(model, model, 0.0))


# -- a loss within an interval ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("times", ["uniform", "log_snr", "by_weight", lognormal(-1.0, 1.5), discrete(200)])
@pytest.mark.parametrize("interval", [(0.0, 0.5), (0.2, 3.0), (1.0, INF)])
def test_times_within_an_interval_are_those_of_all_that_are_there(times, interval):
    sde, n = VP(), 20_000
    u = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    level = lambda loss: (-sde.log_snr(loss.place(u, sde)) / 2).exp()
    every, found = level(DenoisingLoss(times=times)), level(DenoisingLoss(times=times, interval=interval))
    low, high = interval
    assert float(found.min()) >= low * (1 - 1e-9) and float(found.max()) <= high * (1 + 1e-9)
    own = every[(every >= low) & (every <= high)]
    q = torch.linspace(0.02, 0.98, 50, dtype=torch.float64)
    close(found.log().quantile(q), own.log().quantile(q), rtol=0, atol=0.03 if isinstance(times, discrete) else 1e-2)


def test_the_share_of_an_interval_counts_in_the_ratio_to_a_base():
    """E of base within an interval is the same for all times; to the error of sums over strata."""
    sde, n, found = VP(), 40_000, []
    u = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    for times in ("uniform", "log_snr", lognormal(-1.0, 1.5)):
        loss = DenoisingLoss("simple", times, base="log_snr", interval=(0.1, 2.0))
        t = loss.place(u, sde)
        found.append(float((loss.weight_at(sde, t) * (1 + sde.log_snr(t).sin())).mean()))
    close(torch.tensor(found), torch.full((3,), found[1]), rtol=2e-3)


def test_wrong_intervals():
    refuses("interval=(2, 1)", call=lambda: DenoisingLoss(interval=(2.0, 1.0)))
    refuses("interval", "from 0", call=lambda: DenoisingLoss(interval=(-1.0, 1.0)))
    loss = DenoisingLoss(times="highest", interval=(0.0, 1.0))
    refuses("interval=(0, 1)", "no times", call=lambda: loss.place(torch.tensor([0.5]), VP()))
    assert span(lognormal(0.0, 1.0), VP(), 1e-5, (1.0, INF))[0] == pytest.approx(0.5, abs=1e-9)
