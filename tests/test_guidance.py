"""Laws of scoresde.guidance: each guided score is its formula, of exact models, and rows keep what is theirs."""

import math
from typing import ClassVar

import pytest
import torch
from problems import SDES, Around, close, each_sde, levels, mixture, refuses
from torch import nn

from scoresde import log_likelihood, sample
from scoresde.conditions import Vector
from scoresde.denoiser import Counted, Denoiser, Preconditioned, bind
from scoresde.exact import Empirical, GaussianMixture
from scoresde.guidance import Autoguided, ClassifierGuided, Guided, Product, Projected, Thresholded, Tilted
from scoresde.likelihood import elbo, vlb
from scoresde.sampling import DDIM, AdaptiveSDE, ProbabilityFlow
from scoresde.sde import VE, VP, expand

B = 6
LABEL = torch.tensor([0, 1, 1, 0, 1, 0])
OWN = torch.tensor([3.0, 1.0, 0.0, -0.7, 0.0, 1.0], dtype=torch.float64)


def labelled(sde, shape=(2,), labels=(0, 1, 1, 0)):
    """An exact mixture with two classes."""
    plain = mixture(sde, shape, components=len(labels))
    return GaussianMixture(plain.log_weights.exp(), plain.means, plain.stds, sde, labels=labels)


def points(model, n=B, seed=1):
    """x (n, *shape), each row at its own noise level, and t (n,)."""
    t = levels(model.sde, n, margin=0.1)
    x0 = model.sample(n, seed=seed)
    eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(seed), dtype=x0.dtype)
    return model.sde.perturb(x0, t, eps), t


def bound(model, label=LABEL, n=B, **cond):
    return bind(model, {"label": label, **cond}, n)


class Two(Denoiser):
    """The exact denoiser of N(a + b, std^2), with the conditions a, b: a missing one is 0; and `base`, always given."""

    def __init__(self, sde, std=0.5, size=2, always=False):
        super().__init__(sde)
        self.std, self.conditions = std, {"a": Vector(size), "b": Vector(size)}
        if always:
            self.conditions["base"] = Vector(size, drop=0.0)

    def forward(self, x, t, cond=None):
        mean = sum((v.nan_to_num(0.0).to(x) for v in (cond or {}).values()), torch.zeros_like(x))
        alpha, sigma = (expand(a, x) for a in self.sde.marginal(t))
        return mean + alpha * self.std**2 / (alpha**2 * self.std**2 + sigma**2) * (x - alpha * mean)


# -- classifier-free --------------------------------------------------------------------------------------------------


@each_sde
def test_without_conditions_it_is_the_unconditional_model(sde):
    model = labelled(sde)
    x, t = points(model)
    counted = Counted(model)
    guided = Guided(counted, 3.0)
    assert torch.equal(guided(x, t), model(x, t)) and (counted.calls, counted.rows) == (1, B)
    missing = torch.full((B,), -1)
    assert torch.equal(bound(guided, missing)(x, t), model(x, t))
    half = torch.where(torch.arange(B) < 3, LABEL, -1)
    found = bound(guided, half)(x, t)
    assert torch.equal(found[3:], model(x, t)[3:])
    close(found[:3], bound(guided)(x, t)[:3])
    own = bound(Guided(model, 3.0, how=lambda one, base, w: one + 1), half)(x, t)
    assert torch.equal(own[3:], model(x, t)[3:])  # of no condition there is nothing to combine


@each_sde
def test_the_guided_score_is_on_the_line_through_both(sde):
    model = labelled(sde)
    x, t = points(model)
    free, told = model.score(x, t), model.score(x, t, {"label": LABEL})
    wave = lambda u: 2.0 + math.sin(5 * u)
    for scale, w in ((3.3, 3.3), (OWN, OWN), (wave, torch.tensor([wave(u) for u in t.tolist()], dtype=t.dtype))):
        w, guided = expand(torch.as_tensor(w, dtype=x.dtype), x), bound(Guided(model, scale))
        sigma, line = expand(sde.marginal(t)[1], x), (1 - w) * free + w * told
        # the score is alpha D - x over sigma^2: so many digits as that difference has
        close(sigma**2 * guided.score(x, t), sigma**2 * line, rtol=1e-10, atol=1e-14 * float(x.abs().max()))
        close(guided.eps(x, t), -sigma * line, rtol=1e-8, atol=1e-8)
    for u in (float(t[2]), t[2], sde.at(float(t[2]))):  # a time is a number, a scalar, or one that knows its marginal
        close(bound(Guided(model, wave))(x, u)[2:3], bound(Guided(model, wave))(x, t)[2:3], rtol=1e-8)


@each_sde
def test_0_and_1_are_the_two_models_to_the_bit(sde):
    model, cond = labelled(sde), {"label": LABEL}
    x, t = points(model)
    for w, right in ((0, model(x, t)), (1, model(x, t, cond))):
        for scale in (w, float(w), torch.full((B,), w), torch.tensor(w), lambda u, w=w: w):
            counted = Counted(model)
            assert torch.equal(Guided(counted, scale)(x, t, cond), right)
            assert (counted.calls, counted.rows) == (1, B)
    for options in ({}, {"how": Projected(norm=0.1)}, {"rescale": 0.7}):
        counted = Counted(model)
        mixed = Guided(counted, OWN, **options)(x, t, cond)
        assert (counted.calls, counted.rows) == (1, 2 * B)
        assert torch.equal(mixed[OWN == 0], model(x, t)[OWN == 0])
        assert torch.equal(mixed[OWN == 1], model(x, t, cond)[OWN == 1])


@each_sde
def test_outside_the_interval_it_is_the_conditional_model_for_one_call(sde):
    model, cond = labelled(sde), {"label": LABEL}
    x, t = points(model)
    level = torch.exp(-sde.log_snr(t) / 2)
    interval = (1.0001 * float(level[1]), 1.0001 * float(level[4]))
    counted = Counted(model)
    guided, always = Guided(counted, 2.5, interval), Guided(model, 2.5)
    found, inside = guided(x, t, cond), torch.tensor([0, 0, 1, 1, 1, 0]) == 1
    assert torch.equal(found[~inside], model(x, t, cond)[~inside]) and counted.rows == 2 * B
    close(found[inside], always(x, t, cond)[inside], rtol=1e-14)
    for i in (0, 3, 5):
        for time in (float(t[i]), t[i], sde.at(float(t[i])), t[i].expand(B)):
            before = counted.rows
            close(guided(x, time, cond), (always if inside[i] else model)(x, time, cond))
            assert counted.rows - before == (2 * B if inside[i] else B)
    close(Guided(model, 2.5, (0, math.inf))(x, t, cond), always(x, t, cond))
    own = Guided(model, OWN, interval)(x, t, cond)
    close(own, torch.where(inside[:, None], Guided(model, OWN)(x, t, cond), model(x, t, cond)))


@each_sde
def test_a_negative_condition_takes_the_place_of_none(sde):
    model = labelled(sde, labels=(0, 1, 2, 1))
    x, t = points(model)
    told = lambda label: model(x, t, {"label": label})
    for negative in (2, [2], torch.tensor([2, 0, 2, 1, 0, 2])):
        rows = torch.as_tensor(negative).expand(B)
        guided = Guided(model, 3.0, negative={"label": negative})
        assert guided.bound == (B if rows.is_contiguous() and len(set(rows.tolist())) > 1 else None)
        close(bound(guided)(x, t), told(rows) + 3 * (told(LABEL) - told(rows)))
        close(guided(x, t), told(rows) + 3 * (model(x, t) - told(rows)))  # away from it, and towards nothing
        assert torch.equal(Guided(model, 0.0, negative={"label": negative})(x, t, {"label": LABEL}), told(rows))
        part = bound(guided).select(torch.tensor([3, 1]))
        close(part(x[[3, 1]], t[[3, 1]]), bound(guided)(x, t)[[3, 1]])


@each_sde
def test_several_conditions_have_their_own_scales(sde):
    model = Two(sde)
    a, b = torch.randn(2, B, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x, t = points(mixture(sde))
    alpha, sigma = (expand(c, x) for c in sde.marginal(t))
    keep = sigma**2 / (alpha**2 * model.std**2 + sigma**2)  # D = D_0 + keep (a + b)
    counted, cond = Counted(model), {"a": a, "b": b}
    for scale, wa, wb, rows in (
        ({"a": 3.0, "b": -2.0}, 3.0, -2.0, 3),
        ({"a": OWN, "b": lambda u: 1 + u}, OWN[:, None], 1 + t[:, None], 3),
        ({"a": 3.0, "b": 0.0}, 3.0, 0.0, 2),
        ({"a": 1, "b": 0}, 1.0, 0.0, 1),
        (1.7, 1.7, 1.7, 2),
    ):
        before = counted.rows
        found = bind(Guided(counted, scale), cond, B)(x, t)
        close(found, model(x, t) + keep * (wa * a + wb * b))
        assert counted.rows - before == rows * B
    close(Guided(model, {"a": 3.0})(x, t, cond), model(x, t) + keep * (b + 3 * a))  # b is given to both parts
    gone = torch.where(torch.arange(B)[:, None] < 2, a, torch.nan)
    close(Guided(model, {"a": 3.0, "b": 2.0})(x, t, {"a": gone}), model(x, t) + keep * 3 * gone.nan_to_num(0.0))
    several = Guided(model, {"a": 3.0, "b": 2.0}, how=Projected(eta=1.0))
    close(several(x, t, cond), Guided(model, {"a": 3.0, "b": 2.0})(x, t, cond))


def test_what_the_model_cannot_do_without_is_in_both_parts():
    model, sde = Two(VP(), always=True), VP()
    x, t = points(mixture(sde))
    base, a = torch.ones(B, 2).double(), torch.full((B, 2), 0.3).double()
    guided = bind(Guided(model, 2.0), {"base": base, "a": a}, B)
    close(guided(x, t), 2 * model(x, t, {"base": base, "a": a}) - model(x, t, {"base": base}))
    refuses("base", "drop 0", call=lambda: bind(Guided(model, 2.0), {"a": a}, B))


@each_sde
@pytest.mark.parametrize("shape", [(2,), (1, 4, 4)], ids=str)
def test_rescaled_predictions_have_the_deviation_of_the_conditional_one(sde, shape):
    model, cond = labelled(sde, shape), {"label": LABEL}
    x, t = points(model)
    std = lambda v: v.flatten(1).std(1, correction=0)
    plain, told = Guided(model, 4.0)(x, t, cond), model(x, t, cond)
    whole = Guided(model, 4.0, rescale=1.0)(x, t, cond)
    close(std(whole), std(told), rtol=1e-8)
    factor = expand(std(told) / std(plain), x)
    close(Guided(model, 4.0, rescale=0.3)(x, t, cond), plain * (0.3 * factor + 0.7), rtol=1e-8)
    # of one number the deviation is 0: it stays as it is
    one = labelled(sde, (1,))
    x, t = points(one)
    close(Guided(one, 4.0, rescale=1.0)(x, t, cond), Guided(one, 4.0)(x, t, cond))


@each_sde
def test_projected_guidance_leaves_out_the_parallel_part(sde):
    model, cond = labelled(sde, (1, 4, 4)), {"label": LABEL}
    x, t = points(model)
    told, free = model(x, t, cond), model(x, t)
    dot = lambda u, v: (u * v).flatten(1).sum(1)
    added = Guided(model, 3.0, how=Projected())(x, t, cond) - told
    close(dot(added, told), torch.zeros(B), atol=1e-9)
    along = expand(dot(told - free, told) / dot(told, told), told) * told
    close(added, 2 * (told - free - along), atol=1e-8)
    close(Guided(model, 3.0, how=Projected(eta=1.0))(x, t, cond), Guided(model, 3.0)(x, t, cond), atol=1e-8)
    close(Guided(model, 3.0, how=Projected(eta=0.4))(x, t, cond) - told, added + 0.8 * along, atol=1e-8)
    short = Guided(model, 3.0, how=Projected(eta=1.0, norm=0.01))(x, t, cond) - told
    d = torch.minimum((told - free).flatten(1).norm(dim=1), torch.tensor(0.01))
    close(short.flatten(1).norm(dim=1), 2 * d, atol=1e-8)
    own = Guided(model, lambda u: 3.0, how=Projected())(x, t, cond)
    close(own - told, added, atol=1e-8)


def test_a_batch_is_one_call_for_every_time_and_type():
    model = labelled(VP())
    x, t = points(model)
    counted = Counted(model.float())
    for time in (0.5, torch.tensor(0.5), t, VP().at(0.5)):
        before = counted.calls, counted.rows
        out = Guided(counted, OWN)(x.float(), time, {"label": LABEL})
        assert out.dtype == torch.float32 and (counted.calls, counted.rows) == (before[0] + 1, before[1] + 2 * B)


# -- thresholds, weaker models ----------------------------------------------------------------------------------------


@each_sde
def test_thresholds(sde):
    model = mixture(sde, (1, 4, 4))
    x, t = points(model)
    x0 = model(x, t)
    close(Thresholded(model, -0.5, 0.7)(x, t), x0.clamp(-0.5, 0.7))
    for q in (0.5, 0.9, 1.0):
        found, away = Thresholded(model, -0.5, 0.7, quantile=q)(x, t), x0 - 0.1
        s = away.flatten(1).abs().quantile(q, 1).clamp_min(0.6)
        assert (s > 0.6).any()
        s = expand(s, x0)
        close(found, 0.1 + 0.6 * torch.minimum(torch.maximum(away, -s), s) / s)
        assert found.min() >= -0.5 - 1e-12 and found.max() <= 0.7 + 1e-12
    wide = Thresholded(model, -100.0, 100.0, quantile=0.995)
    assert torch.equal(wide(x, t), x0) and torch.equal(Thresholded(model, -100.0, 100.0)(x, t), x0)


@each_sde
def test_autoguidance(sde):
    strong, cond = labelled(sde), {"label": LABEL}
    wide = GaussianMixture(strong.log_weights.exp(), strong.means, 1.5 * strong.stds, sde, labels=strong.labels)
    blind = GaussianMixture(strong.log_weights.exp(), strong.means, 1.5 * strong.stds, sde)
    x, t = points(strong)
    for weak, told in ((wide, wide(x, t, cond)), (blind, blind(x, t))):
        for w in (2.0, OWN, lambda u: 1 + u):
            rows = 1 + t if callable(w) else torch.as_tensor(w)
            right = told + expand(rows.double(), x) * (strong(x, t, cond) - told)
            close(bound(Autoguided(strong, weak, w))(x, t), right)
        counted = Counted(weak)
        assert torch.equal(Autoguided(strong, counted, 1.0)(x, t, cond), strong(x, t, cond)) and counted.calls == 0
        assert torch.equal(Autoguided(strong, weak, 0)(x, t, cond), told)
        mixed = Autoguided(strong, weak, OWN)(x, t, cond)
        assert torch.equal(mixed[OWN == 1], strong(x, t, cond)[OWN == 1])
        assert torch.equal(mixed[OWN == 0], told[OWN == 0])
    level = torch.exp(-sde.log_snr(t) / 2)
    found = Autoguided(strong, wide, 3.0, (1.0001 * float(level[2]), math.inf))(x, t, cond)
    assert torch.equal(found[:3], strong(x, t, cond)[:3])
    close(found[3:], Autoguided(strong, wide, 3.0)(x, t, cond)[3:])
    both = Autoguided(bound(strong), bound(wide), 2.0).select(torch.tensor([4, 0]))  # models that are bound already
    close(both(x[[4, 0]], t[[4, 0]]), Autoguided(strong, wide, 2.0)(x, t, cond)[[4, 0]])


# -- multiplied by a function, and by models --------------------------------------------------------------------------


class Bayes(nn.Module):
    """The exact classifier of a mixture: log p(x_t, label) less what all labels share."""

    def __init__(self, model, classes=2):
        super().__init__()
        self.model, self.classes = model, classes
        labels, weights = model.labels, model.log_weights.exp()
        self.prior = torch.stack([weights[labels == c].sum() for c in range(classes)]).log()

    def forward(self, x, t):
        told = [self.model.log_prob(x, t, {"label": c}) + self.prior[c] for c in range(self.classes)]
        return torch.stack(told, 1)


@each_sde
def test_the_exact_classifier_makes_the_conditional_model(sde):
    model = labelled(sde)
    x, t = points(model)
    told = model(x, t, {"label": LABEL})
    with torch.no_grad():
        found = ClassifierGuided(model, Bayes(model), LABEL)(x, t)
    assert not found.requires_grad
    close(found, told, rtol=1e-8, atol=1e-8 + 1e-12 * float(told.abs().max() + x.abs().max()))
    leaf = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(Bayes(model)(leaf, t).log_softmax(1)[torch.arange(B), LABEL].sum(), leaf)
    for w in (2.5, OWN, lambda u: 1 + u):
        rows = expand((1 + t if callable(w) else torch.as_tensor(w)).double(), x)
        alpha, sigma = (expand(a, x) for a in sde.marginal(t))
        guided = ClassifierGuided(model, Bayes(model), LABEL, w)
        close(sigma**2 * guided.score(x, t), sigma**2 * (model.score(x, t) + rows * slope), rtol=1e-8, atol=1e-8)
    for i in (0, 3):
        single = ClassifierGuided(model, Bayes(model), 1, 2.0)
        close(single(x, float(t[i])), ClassifierGuided(model, Bayes(model), torch.ones(B).long(), 2.0)(x, t[i]))
    half = torch.where(torch.arange(B) < 3, LABEL, -1)
    assert torch.equal(ClassifierGuided(model, Bayes(model), half)(x, t)[3:], model(x, t)[3:])


@each_sde
def test_a_tilt_is_the_gradient_through_the_denoiser(sde):
    model = labelled(sde)
    x, t = points(model)
    y = torch.tensor([0.3, -0.5], dtype=x.dtype)
    seen = []
    square = lambda x0, u: (seen.append(u), -0.5 * (x0 - y).square().sum(1) / 0.3**2)[1]
    leaf = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad((-0.5 * (model(leaf, t, {"label": LABEL}) - y).square() / 0.3**2).sum(), leaf)
    alpha, sigma = (expand(a, x) for a in sde.marginal(t))
    right = model(x, t, {"label": LABEL}) + 0.7 * sigma**2 / alpha * slope
    scale = float(right.abs().max())
    for mode in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        with mode():
            found = bound(Tilted(model, square, 0.7), LABEL.clone())(x.clone(), t.clone())
        assert not found.requires_grad and seen[-1].shape == (B,)
        close(found, right, rtol=1e-8, atol=1e-12 * scale)
    own = Tilted(model, square, 0.7 * OWN)(x, t, {"label": LABEL}) - model(x, t, {"label": LABEL})
    close(own, OWN[:, None] * (right - model(x, t, {"label": LABEL})), rtol=1e-8, atol=1e-10 * scale)
    for mute in (lambda x0, u: torch.zeros(len(x0)), lambda x0, u: 0 * x0.detach().sum(1)):
        close(Tilted(model, mute)(x, t), model(x, t))


def test_a_tilt_of_a_gaussian_has_its_formula():
    """For N(0, 1) D = c x, and the gradient of -|D|^2 is -2 c^2 x."""
    sde = VP()
    model = GaussianMixture(torch.ones(1), torch.zeros(1, 2).double(), 1.0, sde)
    x, t = points(model)
    found = Tilted(model, lambda x0, u: -x0.square().sum(1))(x, t)
    alpha, sigma = (expand(a, x) for a in sde.marginal(t))
    c = alpha / (alpha**2 + sigma**2)
    close(found, c * x - 2 * sigma**2 / alpha * c**2 * x)


def test_tilts_leave_no_gradients_and_have_them_when_asked():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 2)).double()
    model = Preconditioned(Plain(net), VP())
    classifier = Clock()
    x = torch.randn(B, 2, dtype=torch.float64)
    for guided in (
        Tilted(model, lambda x0, t: -x0.square().sum(1)),
        ClassifierGuided(model, classifier, LABEL),
    ):
        with torch.no_grad():
            out = guided(x, 0.5)
        assert not out.requires_grad and not x.requires_grad and out.isfinite().all()
        assert all(p.grad is None for p in guided.parameters())
        function = lambda v, guided=guided: guided(v, 0.5)
        assert torch.autograd.gradcheck(function, x[:B].clone().requires_grad_(), fast_mode=True)
        assert torch.autograd.grad(guided(x, 0.5).sum(), net[0].weight)[0].abs().sum() > 0
        with torch.inference_mode():
            close(guided(x.clone(), 0.5), out)


class Times(nn.Module):
    conditions: ClassVar = {"gain": Vector(2)}

    def forward(self, x, c, cond):
        return x * cond["gain"]


def test_a_tilt_takes_conditions_from_inference_mode():
    x, gain = torch.randn(2, B, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    guided = Tilted(Preconditioned(Times(), VP()), lambda x0, t: -x0.square().sum(1))
    right = guided(x, 0.5, {"gain": gain})
    with torch.inference_mode():
        close(guided(x.clone(), 0.5, {"gain": gain.clone()}), right)


class Plain(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x, c):
        return torch.tanh(self.net(x)) + c[:, None]


class Clock(nn.Module):
    """Logits of a small network, that know the time."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2).double()

    def forward(self, x, t):
        assert t.shape == (len(x),)
        return self.layer(x.sin()) * (1 + t[:, None])


@each_sde
def test_a_product_of_gaussians(sde):
    """At each t: precisions and precision-weighted means add up."""
    stds, means, weights = (0.5, 0.8), torch.tensor([[1.0, 0.0], [-0.5, 0.4]]).double(), (0.7, 1.5)
    experts = [GaussianMixture(torch.ones(1), m[None], s, sde) for m, s in zip(means, stds, strict=True)]
    x, t = points(experts[0])
    alpha, sigma = (expand(a, x) for a in sde.marginal(t))
    for given in (None, weights, (1.5, -0.5)):
        w = given or (1.0, 1.0)
        precision = [wi / (alpha**2 * s**2 + sigma**2) for wi, s in zip(w, stds, strict=True)]
        centre = sum(p * alpha * m for p, m in zip(precision, means, strict=True)) / sum(precision)
        score = -sum(precision) * (x - centre)
        close(sigma**2 * Product(experts, given).score(x, t), sigma**2 * score, rtol=1e-8, atol=1e-9)
    assert torch.equal(Product(experts[:1])(x, t), experts[0](x, t))


def test_a_product_tells_each_model_what_it_knows():
    model, plain = labelled(VP()), mixture(VP())
    x, t = points(model)
    alpha = expand(VP().marginal(t)[0], x)
    right = model(x, t, {"label": LABEL}) + plain(x, t) - x / alpha
    for both in (bound(Product([model, plain])), Product([bound(model), plain]), Product([plain, bound(model)])):
        close(both(x, t), right)
        assert both.bound == B
        close(both.select(torch.tensor([5, 2]))(x[[5, 2]], t[[5, 2]]), right[[5, 2]])
    other = Around(VP())
    other.conditions = {"label": Vector(2)}
    refuses("condition label", "two names", call=lambda: Product([model, other]))
    always = Two(VP(), always=True)
    always.conditions = {name: Vector(2, drop=0.0) for name in ("a", "b")}
    for models in ([always, Two(VP())], [Two(VP()), always]):
        refuses("condition a is missing", call=lambda m=models: bind(Product(m), {"b": torch.zeros(2)}, B))
    refuses("denoisers[1] has 3 rows", B, call=lambda: Product([bound(model), bound(model, LABEL[:3], 3)]))


# -- rows, samplers, likelihoods --------------------------------------------------------------------------------------


def steered():
    """Every kind of guidance with something that each row has of its own, on one exact model."""
    model = labelled(VP())
    wide = GaussianMixture(model.log_weights.exp(), model.means, 1.3 * model.stds, model.sde, labels=model.labels)
    own, bayes = OWN + 1, Bayes(model)
    return {
        "guided": (lambda i: Guided(model, own[i], negative={"label": (1 - LABEL)[i]})),
        "threshold": lambda i: Thresholded(Guided(model, own[i]), -1.5, 1.5, 0.9),
        "interval": lambda i: Guided(model, own[i], interval=(0.2, 2.0)),
        "several": lambda i: Guided(model, {"label": own[i]}, how=Projected(eta=0.5)),
        "weaker": lambda i: Autoguided(model, wide, own[i]),
        "classifier": lambda i: ClassifierGuided(model, bayes, (1 - LABEL)[i], own[i] / 2),
        "tilt": lambda i: Tilted(model, lambda x0, t: -x0.square().sum(1), own[i] / 10),
        "product": lambda i: Product([model, Guided(model, own[i])], [0.5, 0.5]),
    }


ALL = slice(None)


@pytest.mark.parametrize("kind", steered())
@pytest.mark.parametrize("sampler", [ProbabilityFlow(), AdaptiveSDE(rtol=0.1, atol=0.1)], ids=["flow", "adaptive_sde"])
def test_rows_that_leave_an_adaptive_batch_keep_their_own(kind, sampler):
    make, options = steered()[kind], {"dtype": torch.float64, "seed": 3}
    whole = sample(make(ALL), sampler, (B, 2), cond={"label": LABEL}, **options)
    assert whole.isfinite().all()
    for i in (0, 4):
        row = slice(i, i + 1)
        alone = sample(make(row), sampler, (1, 2), cond={"label": LABEL[row]}, offset=i, **options)
        close(alone, whole[row], rtol=0, atol=1e-8)


@pytest.mark.parametrize("kind", steered())
def test_samples_do_not_depend_on_the_batch_size(kind):
    guided, options = steered()[kind](ALL), {"cond": {"label": LABEL}, "dtype": torch.float64}
    whole = sample(guided, DDIM(steps=8), (B, 2), **options)
    seen = []
    for size in (1, 4):
        part = sample(guided, DDIM(steps=8), (B, 2), batch_size=size, callback=lambda *a: seen.append(a), **options)
        close(part, whole, rtol=0, atol=1e-10)
    assert len(seen) == 8 * (B + 2)


def test_guided_samples_go_where_they_are_led():
    model = labelled(VP())
    x = {w: sample(Guided(model, w), DDIM(steps=20), (200, 2), cond={"label": 1}, dtype=torch.float64) for w in (1, 3)}
    share = {w: Bayes(model)(v, VP().t_min).softmax(1)[:, 1].mean() for w, v in x.items()}
    assert 0.9 < share[1] < share[3]


class Named(Two):
    def __init__(self, sde):
        super().__init__(sde)
        self.conditions = {"order": Vector(2), "control": Vector(2)}


def test_conditions_may_have_the_names_of_options():
    model = Named(VP())
    order, control = torch.randn(2, 4, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    cond = {"order": order, "control": control}
    x = sample(model, DDIM(steps=20), (4, 2), cond=cond, dtype=torch.float64)
    other = sample(model, DDIM(steps=20), (4, 2), cond={"order": order + control}, dtype=torch.float64)
    close(x, other)

    def log_prob(x, t):
        alpha, sigma = VP().marginal(t)
        std = (alpha**2 * model.std**2 + sigma**2).sqrt()
        return torch.distributions.Normal(alpha * (order + control), std).log_prob(x).sum(1)

    found = log_likelihood(model, x, cond=cond, terminal=lambda x: log_prob(x, 1.0)).log_prob
    close(found, log_prob(x, VP().t_min), atol=1e-3)
    led = sample(Guided(model, {"order": 3.0, "control": 1.0}), DDIM(steps=20), (4, 2), cond=cond, dtype=torch.float64)
    thrice = sample(model, DDIM(steps=20), (4, 2), cond={"order": 3 * order + control}, dtype=torch.float64)
    close(led, thrice)


@pytest.mark.parametrize("kind", steered())
def test_none_has_a_likelihood_or_moments(kind):
    guided, x = steered()[kind](ALL), torch.zeros(B, 2).double()
    assert guided.moments is None and not guided.exact
    assert not bound(guided).exact and bound(guided).moments is None
    for scored in (log_likelihood, elbo, lambda *a, **k: vlb(*a, [0.9, 0.5, 0.1], **k)):
        refuses(type(guided).__name__, "no posterior mean", call=lambda s=scored: s(guided, x, cond={"label": LABEL}))


# -- mistakes ---------------------------------------------------------------------------------------------------------


def test_mistakes_in_the_scale_are_refused():
    model = labelled(VP())
    x, t = points(model)
    guided = Guided(model, OWN)
    refuses("bound", B, "4", call=lambda: sample(guided, DDIM(steps=2), (4, 2), cond={"label": 1}))
    refuses("scale has 6 rows", "4", call=lambda: guided(x[:4], 0.5, {"label": LABEL[:4]}))
    for wrong in (torch.ones(2, 3), torch.tensor([1.0, torch.nan]), math.inf, "much", True, None, torch.zeros(0)):
        refuses("scale", call=lambda wrong=wrong: Guided(model, wrong))
    refuses("scale at t=0.5", "'much'", call=lambda: Guided(model, lambda t: "much")(x, 0.5, {"label": LABEL}))
    refuses("interval=(2.0, 0.5)", "low", call=lambda: Guided(model, 2.0, interval=(2.0, 0.5)))
    refuses("interval=", call=lambda: Guided(model, 2.0, interval=(0.5,)))
    refuses("interval=(1.0, 1.0)", call=lambda: Autoguided(model, model, 2.0, interval=(1.0, 1.0)))
    refuses("rescale=2", "from 0 to 1", call=lambda: Guided(model, 2.0, rescale=2))
    refuses("rescale=0.5", "2 scales", call=lambda: Guided(Two(VP()), {"a": 1.0, "b": 2.0}, rescale=0.5))
    refuses("scale: condition 'lable'", "did you mean label?", call=lambda: Guided(model, {"lable": 2.0}))
    refuses("scale", call=lambda: Guided(model, {}))
    refuses("scale=", "'much'", call=lambda: Guided(model, {"label": "much"}))
    refuses("scale of b has 3 rows", call=lambda: Guided(Two(VP()), {"a": OWN, "b": OWN[:3]}))
    refuses("how", call=lambda: Guided(model, 2.0, how=lambda c, u, w: c[0])(x, t, {"label": LABEL}))
    refuses("eta=2", call=lambda: Projected(eta=2))
    refuses("norm=0", call=lambda: Projected(norm=0))


def test_mistakes_in_the_models_are_refused():
    model = labelled(VP())
    x, t = points(model)
    refuses("GaussianMixture takes no conditions", call=lambda: Guided(mixture(VP()), 2.0))
    refuses("Empirical takes no conditions", call=lambda: Guided(Empirical(x, VP()), 2.0))
    refuses("mean", "drop 0", call=lambda: Guided(Around(VP()), 2.0))
    refuses("scale names base", "drop 0", call=lambda: Guided(Two(VP(), always=True), {"base": 2.0}))
    refuses("is bound to 6", call=lambda: Guided(bound(model), 2.0))
    refuses("denoiser=", "a Denoiser", call=lambda: Guided(lambda x, t: x, 2.0))
    refuses("negative: condition 'text'", call=lambda: Guided(model, 2.0, negative={"text": 1}))
    refuses("condition label has a class 7", call=lambda: Guided(model, 2.0, negative={"label": 7}))
    refuses("condition label has a class 7", call=lambda: Guided(model, 2.0, negative={"label": [0, 7]}))
    refuses("negative label has 3 rows", call=lambda: Guided(model, OWN, negative={"label": [0, 1, 1]}))
    refuses("weaker", "VE", "VP", call=lambda: Autoguided(model, labelled(VE()), 2.0))
    refuses("weaker", call=lambda: Autoguided(model, labelled(VP(t_min=1e-2)), 2.0))
    refuses("weaker", "beta_max=10", call=lambda: Autoguided(model, labelled(VP(beta_max=10.0)), 2.0))
    refuses("weaker knows condition label", call=lambda: Autoguided(mixture(VP()), model, 2.0))
    refuses("condition label", call=lambda: Autoguided(model, labelled(VP(), labels=(0, 1, 2, 1)), 2.0))
    refuses("weaker has 3 rows", call=lambda: Autoguided(bound(model), bound(model, LABEL[:3], 3), 2.0))
    refuses("low=1.0, high=-1.0", call=lambda: Thresholded(model, 1.0, -1.0))
    refuses("quantile=2", call=lambda: Thresholded(model, quantile=2))
    refuses("denoisers[1]", "VE", call=lambda: Product([model, mixture(VE())]))
    refuses("denoisers=[]", call=lambda: Product([]))
    refuses("weights=[1.0]", "2 models", call=lambda: Product([model, model], [1.0]))
    own = SDES["quadratic"]
    assert Autoguided(labelled(own), labelled(type(own)()), 2.0).sde is own  # another object with the same marginals


def test_mistakes_in_classifiers_and_weights_are_refused():
    model, bayes = labelled(VP()), Bayes(labelled(VP()))
    x, _ = points(model)
    for wrong in (-2, 1.5, torch.ones(2, 2).long(), torch.tensor([True]), torch.tensor([], dtype=torch.long)):
        refuses("label=", call=lambda wrong=wrong: ClassifierGuided(model, bayes, wrong))
    refuses("label=5", "2 classes", call=lambda: ClassifierGuided(model, bayes, 5)(x, 0.5))
    refuses("label has 6 rows", call=lambda: ClassifierGuided(model, bayes, LABEL)(x[:2], 0.5))
    refuses("scale has 3 rows", call=lambda: ClassifierGuided(model, bayes, LABEL, OWN[:3]))
    refuses("classifier answers", call=lambda: ClassifierGuided(model, lambda x, t: x.sum(1), 1)(x, 0.5))
    blind = lambda x, t: torch.stack([x.sum(1), 0 * x[:, 0]], 1).detach()
    refuses("classifier depends on x", call=lambda: ClassifierGuided(model, blind, 1)(x, 0.5))
    refuses("log_weight answers", "(6,)", call=lambda: Tilted(model, lambda x0, t: x0.sum())(x, 0.5))
    refuses("log_weight depends on x", call=lambda: Tilted(model, lambda x0, t: x0.detach().sum(1))(x, 0.5))
