"""Cascades: of exact models the joint law, batches, guidance, densities; and what training tells of noisy pictures."""

from types import SimpleNamespace

import pytest
import torch
from cascades import A, law, moments, stages
from problems import close, refuses
from scipy.ndimage import gaussian_filter

import scoresde
from scoresde.cascade import Cascade, Stage
from scoresde.cascade.told import handed
from scoresde.conditions import Corruption
from scoresde.data import Lower, digits, viewed
from scoresde.guidance import Guided
from scoresde.loss import DenoisingLoss
from scoresde.objectives import Denoising, Validation
from scoresde.sampling import DDIM, sample
from scoresde.sde import VE, VP
from scoresde.spaces import Affine, Bins

EXACT = {"progress": False, "dtype": torch.float64}
WAYS = ({}, {"augment": 0.7}, {"base_truncate": 0.7})


def near(products, wanted, most=4.5):
    """The means of samples (n, ...) are those wanted, within so many of their standard errors."""
    error = products.std(0) / len(products) ** 0.5
    assert ((products.mean(0) - wanted).abs() < most * error + 1e-3).all(), (products.mean(0) - wanted) / error


# Exact stages


@pytest.mark.parametrize("way", WAYS, ids=["plain", "augmented", "truncated"])
@pytest.mark.parametrize("sde", [VP(), VE(sigma_max=50.0)], ids=lambda sde: type(sde).__name__)
def test_exact_stages_have_the_joint_laws_moments(sde, way):
    low, x = (v[:, 0] for v in Cascade(stages(2, sde, 60, **way)).draw(6000, 1, **EXACT))
    mean, covariance = moments(*law(2))
    near(x, mean)
    away = x - mean
    near(away[:, :, None] * away[:, None], covariance)
    if not way:
        close(x @ A.T, low, rtol=0, atol=1e-6)  # the item's own means of pairs


def test_what_an_augmented_stage_draws_knows_the_first_as_far_as_it_was_told():
    """Of one Gaussian: Cov(low, x) = V (V + s^2)^-1 A S with V = A S A^T, as low and x meet in low + s n alone."""
    s, (_, (mean,), (covariance,)) = 0.7, law(1)
    v = A @ covariance @ A.T
    low, x = (value[:, 0] for value in Cascade(stages(1, augment=s)).draw(6000, 2, **EXACT))
    wanted = v @ torch.linalg.solve(v + s**2 * torch.eye(2), A @ covariance)
    near((low - A @ mean)[:, :, None] * (x - mean)[:, None], wanted)
    near((low - A @ mean)[:, :, None] * (low - A @ mean)[:, None], v)


@pytest.mark.parametrize("way", WAYS, ids=["plain", "augmented", "truncated"])
def test_a_sample_does_not_depend_on_what_is_drawn_beside_it(way):
    cascade, label = Cascade(stages(2, **way)), torch.tensor([0, 1, 1, -1, 0, 1])
    whole = cascade.draw(6, 3, {"label": label}, **EXACT)
    close(cascade.draw(6, 3, {"label": label}, batch_size=4, **EXACT)[1], whole[1], rtol=0, atol=1e-12)
    parts = [slice(0, 1), slice(1, 4), slice(4, 6)]
    low = [cascade.one(0, None, len(label[p]), 3, {"label": label[p]}, p.start, **EXACT) for p in parts]
    x = [cascade.one(1, y, len(y), 3, {"label": label[p]}, p.start, **EXACT) for p, y in zip(parts, low, strict=True)]
    close(torch.cat(low), whole[0], rtol=0, atol=1e-12)
    close(torch.cat(x), whole[1], rtol=0, atol=1e-12)
    told = [cascade._told(1, y, len(y), 5, {}, p.start) for p, y in zip(parts, low, strict=True)]
    together = cascade._told(1, torch.cat(low), 6, 5, {}, 0)
    assert all(torch.equal(torch.cat([t[k] for t in told]), v) for k, v in together.items())  # to the bit


def test_the_first_stage_is_its_model_alone():
    first, second = stages(2)
    low, _ = Cascade([first, second]).draw(5, 9, {"label": 1}, **EXACT)
    assert torch.equal(low, sample(first.model, first.sampler, (5, 1, 2), 9, {"label": 1}, **EXACT))


def test_each_stage_has_a_sampler_and_a_guidance_of_its_own():
    (first, second), label = stages(2), {"label": 1}
    low, x = Cascade([first, second]).draw(5, 4, label, **EXACT)
    led = stages(2, sampler=DDIM(steps=7), guide=lambda model: Guided(model, 3.0))[1]
    same, other = Cascade([first, led]).draw(5, 4, label, **EXACT)
    assert torch.equal(same, low) and not torch.allclose(x, other)
    by_hand = Cascade([first, led])._told(1, low, 5, 0, label, 0)
    assert by_hand["corruption"].tolist() == [[0.0]] * 5 and torch.equal(by_hand["seen"], low)
    base = stages(2, base_guide=lambda model: Guided(model, 3.0))
    led_low = Cascade(base).draw(5, 4, label, **EXACT)[0]
    close(led_low, sample(Guided(first.model, 3.0), first.sampler, (5, 1, 2), 4, label, **EXACT))


def test_the_density_of_a_stage_is_the_law_given_what_it_is_told():
    (weights, means, covariances), s, sde = law(2), 0.7, VP(beta_max=40.0)  # whose end is N(0, I)
    cascade = Cascade(stages(2, sde, augment=s))
    low, x = cascade.draw(4, 1, **EXACT)
    y = cascade._told(1, low, 4, 0, {}, 0)["seen"]
    found = cascade.stages[1].log_prob(x, {"seen": y, "corruption": s}, rtol=1e-7, atol=1e-7)
    y = y[:, 0]
    logits, given = [], []
    for w, m, c in zip(weights, means, covariances, strict=True):
        g = A @ c @ A.T + s**2 * torch.eye(2)
        gain = torch.linalg.solve(g, A @ c).T
        logits.append(w.log() + torch.distributions.MultivariateNormal(A @ m, g).log_prob(y))
        own = c - gain @ A @ c
        mean = m + (y - A @ m) @ gain.T
        given.append(torch.distributions.MultivariateNormal(mean, (own + own.T) / 2).log_prob(x[:, 0]))
    exact = (torch.stack(logits, 1).log_softmax(1) + torch.stack(given, 1)).logsumexp(1)
    close(found.log_prob, exact, rtol=0, atol=2e-3)


def test_the_densities_of_a_cascade_are_those_of_its_stages():
    cascade = Cascade(stages(2, augment=0.5))
    items = cascade.draw(3, 1, {"label": 0}, **EXACT)
    first, second = cascade.log_prob(items, {"label": 0}, seed=6)
    close(first.log_prob, cascade.stages[0].log_prob(items[0], {"label": 0}, seed=6).log_prob)
    noisy = [cascade.log_prob([v[i : i + 1] for v in items], {"label": 0}, seed=6, offset=i)[1] for i in range(3)]
    close(torch.cat([p.log_prob for p in noisy]), second.log_prob, rtol=0, atol=1e-6)
    refuses("1 items for 2 stages", call=lambda: cascade.log_prob(items[:1]))
    refuses("stage 1 is truncated", call=lambda: Cascade(stages(2, base_truncate=0.5)).log_prob(items))


def test_stages_that_do_not_fit_are_refused_before_any_work():
    first, second = stages(2)
    cascade = Cascade([first, second])
    refuses("stages=[]", call=lambda: Cascade([]))
    wide = Stage(first.model, shape=(1, 3))
    refuses("stage 1 gives seen (1, 3)", "asks for a Picture of shape (1, 2)", call=lambda: Cascade([wide, second]))
    named = Stage(first.model, gives="low", shape=(1, 2))
    refuses("stage 1 gives low", "asks for label, seen", call=lambda: Cascade([named, second]))
    refuses("stage 1 asks for the condition seen, which nobody gives", call=lambda: Cascade([second]).generate(2))
    refuses("'lable' is unknown; did you mean label", call=lambda: cascade.generate(2, cond={"lable": 1}))
    refuses("label", "class 7", call=lambda: cascade.generate(2, cond={"label": 7}))
    refuses("'seen' is unknown", call=lambda: cascade.generate(2, cond={"seen": torch.zeros(1, 2)}))
    refuses("augment=5", "at most 2", call=lambda: stages(2, augment=5.0))
    refuses("augment=0.5", "was not trained with it", call=lambda: stages(2, base_augment=0.5))
    refuses("stage 1 has augment=0.5", call=lambda: Cascade(stages(2, augment=0.5)[1:]))
    refuses("truncate=0.5", "no stage after it", call=lambda: Cascade(stages(2, truncate=0.5)))
    both = {"base_truncate": 0.5, "augment": 0.5}
    refuses("noisy already", call=lambda: Cascade(stages(2, **both)))
    refuses("truncate=3", "noise up to 2", call=lambda: Cascade(stages(2, base_truncate=3.0)))
    refuses("truncate=1e+06", "those of the SDE", call=lambda: stages(2, base_truncate=1e6))
    refuses("shape=None", "Measured", call=lambda: Stage(first.model))


# Trained stages


def objective(data, **settings):
    kinds = {**data.conditions, **Denoising.asks(data.shape, **settings)}
    torch.manual_seed(0)
    net = scoresde.nets.MLP(data.shape, width=8, blocks=1, conditions=kinds)
    for p in net.parameters():  # whose last ones begin at 0
        p.data += 0.1 * torch.randn_like(p)
    return Denoising(scoresde.Preconditioned(net, VP()), DenoisingLoss(), data, **settings)


def test_training_tells_how_noisy_it_made_a_picture():
    """(told - picture) / s is N(0, 1), s ~ U(0, most), and the rows of a batch are those of its parts."""
    data = viewed(digits(), Lower(2))
    held = objective(data, condition_noise=0.8)
    assert held.takes == ("label", "seen")
    batch = scoresde.data.collate(data.train, range(600), held.takes)
    torch.manual_seed(7)
    x0, t, eps, cond = held.draw(batch, 600, slice(0, 600))
    s = cond["corruption"]
    assert s.shape == (600, 1) and 0 <= float(s.min()) < 0.02 and 0.78 < float(s.max()) <= 0.8
    n = (cond["seen"] - batch.cond["seen"]) / s[:, :, None, None]
    near(n.flatten()[:, None], 0.0)
    near(n.flatten()[:, None] ** 2, 1.0)
    part = slice(100, 103)
    torch.manual_seed(7)
    alone = held.draw(batch.rows(part), 600, part)
    assert torch.equal(alone[3]["seen"], cond["seen"][part]) and torch.equal(alone[0], x0[part])
    assert torch.isfinite(held((x0, t, eps, cond))).all()


def test_validation_and_samples_are_told_a_picture_as_it_is_unless_they_say():
    data = viewed(digits(), Lower(2))
    held = objective(data, condition_noise=0.8)
    validation = Validation(data, held.loss, held.product, torch.device("cpu"), 20)
    mean, _ = validation(held.product)
    zero = {**validation.cond, "corruption": torch.zeros(20, 1)}
    losses = held.loss.at(held.product, validation.x0, validation.t, validation.eps, zero)
    close(losses.mean().detach(), torch.tensor(mean, dtype=losses.dtype), rtol=1e-6)
    given = {"seen": torch.zeros(1, 4, 4), "label": 1}
    draw = lambda **more: sample(held.product.eval(), DDIM(steps=2), (2, 1, 8, 8), 0, {**given, **more}, progress=False)
    close(draw(), draw(corruption=0.0), rtol=0, atol=1e-5)
    assert (draw() - draw(corruption=0.8)).abs().max() > 1e-3
    refuses("corruption is 0.9", "0 to 0.8", call=lambda: draw(corruption=0.9))


def test_a_blurred_picture_is_scipys():
    kind = Corruption.of("blur", 1.5)
    z, s = torch.randn(3, 2, 9, 7, dtype=torch.float64), torch.tensor([[0.0], [0.6], [1.5]])
    found = kind.corrupted(z, s)
    assert torch.equal(found[0], z[0])
    for row in (1, 2):
        wanted = gaussian_filter(z[row].numpy(), (0, float(s[row]), float(s[row])), mode="nearest", radius=(0, 5, 5))
        close(found[row], torch.from_numpy(wanted), rtol=0, atol=1e-7)
    z[2, 0, 4, 4] = torch.nan
    holed = kind.corrupted(z, s)
    assert torch.equal(holed.isnan(), z.isnan()) and torch.equal(holed[:2], found[:2])
    flat = kind.corrupted(torch.where(z.isnan(), z, 3.0), s)
    close(flat[~flat.isnan()], torch.full_like(flat[~flat.isnan()], 3.0))  # what is known makes up for what is not


def test_settings_that_do_not_go_together_are_refused():
    data = viewed(digits(), Lower(2))
    refuses(
        "condition_noise=0.5 and condition_blur=1",
        call=lambda: Denoising.asks((1, 8, 8), condition_noise=0.5, condition_blur=1.0),
    )
    refuses("condition_noise=0.5", "no picture", call=lambda: objective(digits(), condition_noise=0.5))
    refuses("augment=0.1", "the picture seen", call=lambda: objective(data, augment=0.1))
    plain = scoresde.nets.MLP(data.shape, width=8, blocks=1, conditions=data.conditions)
    refuses(
        "condition_blur=1",
        "no condition corruption",
        call=lambda: Denoising(scoresde.Preconditioned(plain, VP()), DenoisingLoss(), data, condition_blur=1.0),
    )


def test_a_sample_lies_in_the_next_models_space_by_the_values_that_it_stands_for():
    of = lambda space: SimpleNamespace(space=space)
    x = torch.linspace(-0.9, 0.9, 12, dtype=torch.float64).reshape(3, 1, 2, 2)
    assert handed(x, of(Bins(17)), of(Bins(256))) is x  # both from -1 to 1, whatever their levels
    assert handed(x, SimpleNamespace(), of(Bins(256))) is x
    close(handed(x, of(Affine(2.0, 1.0)), of(Affine(-0.5, 3.0))), -0.5 * (x - 1) / 2 + 3)
    close(handed(x, of(Bins(17)), of(Bins(256, scale=1.0, shift=0.0))), (x + 1) / 2, rtol=0, atol=1e-12)
