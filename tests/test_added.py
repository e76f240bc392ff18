"""What may be added to denoising: each against what it is by definition, and what stays exact with it."""

import itertools
import math

import pytest
import torch
from commands import TINY, command
from problems import close, refuses
from samplers import DETERMINISTIC, STOCHASTIC

import scoresde
from scoresde.conditions import Estimate, Label
from scoresde.data import Batch
from scoresde.denoiser import Denoiser, SelfConditioned, Source
from scoresde.guidance import Guided
from scoresde.likelihood.bounds.lower import elbo
from scoresde.loss import DenoisingLoss
from scoresde.objectives import Denoising
from scoresde.objectives.added.augment import _moved, augmented
from scoresde.objectives.added.coupling import paired
from scoresde.objectives.added.settings import estimate
from scoresde.objectives.added.uncertainty import Uncertainty
from scoresde.sampling import DDIM, Adams, AdaptiveSDE, ProbabilityFlow, ReverseSDE, Trajectory
from scoresde.sde import VP, Linear, expand

QUIET = {"progress": False, "device": "cpu"}


def objective(x, sde=None, width=16, **settings):
    """`Denoising` of a small network on the rows x."""
    data = scoresde.data.from_tensor(x)
    kinds = Denoising.asks(data.shape, **settings)
    torch.manual_seed(0)
    net = scoresde.nets.MLP(data.shape, width=width, blocks=1, conditions=kinds or None)
    denoiser = scoresde.Preconditioned(net, sde or VP())
    return Denoising(denoiser, DenoisingLoss(), data, **settings)


def fitted(x, sde=None, steps=400, width=64, folder=None, **settings):
    """The model that it trains."""
    held = objective(x, sde, width, **settings)
    training = scoresde.Training(steps=steps, batch_size=256, lr=5e-3, warmup=10, ema=0.98)
    return scoresde.fit(held, held.data, training, folder, **QUIET)


# Uncertainty


def test_the_learned_weight_is_one_over_the_mean_loss_of_its_level():
    torch.manual_seed(0)
    u, mean = Uncertainty(), lambda c: torch.exp(torch.sin(c) - 2)
    optimizer = torch.optim.Adam(u.parameters(), lr=0.03)
    c = torch.linspace(-3.5, 2.5, 13)
    close(u(mean(c), c), mean(c))  # at first the loss as it is
    for step in range(500):
        optimizer.param_groups[0]["lr"] = 0.03 * (1 - step / 500)
        at = 7 * torch.rand(1024) - 4
        u(mean(at) * torch.randn(1024).square(), at).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    close(u.at(c).detach().exp(), mean(c), rtol=0.2, atol=0)


class Stopped(Exception):
    """A training is cut off."""


def test_what_learns_beside_the_model_is_kept_in_the_checkpoint(tmp_path):
    """A training that was cut off goes on to the weights, its own and the model's, of one that was not."""
    settings, x = {"uncertainty": True, "self_condition": 0.5}, torch.randn(200, 3)
    training = scoresde.Training(steps=12, batch_size=32, log_every=4, checkpoint_every=4)

    def stop(step, **figures):
        if step == 8:
            raise Stopped

    kept = [objective(x, **settings) for _ in range(3)]
    whole = scoresde.fit(kept[0], kept[0].data, training, **QUIET)
    with pytest.raises(Stopped):
        scoresde.fit(kept[1], kept[1].data, training, tmp_path / "m", report=stop, **QUIET)
    again = scoresde.fit(kept[2], kept[2].data, training, tmp_path / "m", **QUIET)
    assert again.weights == whole.weights
    assert float(kept[0].uncertainty.bias.detach().abs()) > 0
    assert torch.equal(kept[2].uncertainty.weight, kept[0].uncertainty.weight)
    loaded = scoresde.load(tmp_path / "m")
    assert isinstance(loaded.made["estimate"], Estimate) and not loaded.conditions
    assert not any("uncertainty" in name for name in loaded.state_dict())


# Self-conditioning


class Told(Denoiser):
    """It answers with half of its estimate, and notes which it was told, and whether it was told a label."""

    def __init__(self, label=False):
        super().__init__(VP())
        self.made, self.notes = {"estimate": Estimate.of((2,))}, []
        self.conditions = {"label": Label(3)} if label else {}

    def forward(self, x, t, cond=None):
        last = (cond or {}).get("estimate", torch.full((len(x), 2, 1), math.nan))[..., 0].to(x)
        label = (cond or {}).get("label", torch.full((len(x),), -1))
        x0 = 0.3 * x + 0.5 * torch.where(last.isnan(), 1.0, last) + label[:, None].clamp_min(0)
        self.notes.append((last, x0, label))
        return x0


def draw(model, sampler=None, n=6, **options):
    return scoresde.sample(model, sampler or DDIM(steps=4), (n, 2), progress=False, **options)


def test_each_call_of_a_sampling_is_told_the_answer_of_the_one_before():
    model = Told()
    whole = draw(model, seed=3)
    told, answers = [n[0] for n in model.notes], [n[1] for n in model.notes]
    assert told[0].isnan().all() and len(told) == 5
    for before, after in itertools.pairwise(range(5)):
        assert torch.equal(told[after], answers[before])
    close(draw(model, seed=3, batch_size=2), whole, rtol=0, atol=1e-6)  # each batch begins anew
    close(draw(model, seed=3, n=2), whole[:2], rtol=0, atol=1e-6)
    assert torch.equal(draw(model, seed=3, callback=Trajectory()), whole)  # who looks on changes nothing
    assert torch.equal(draw(model, seed=3), whole)


def test_guidance_tells_both_of_its_parts():
    model = Told(label=True)
    draw(Guided(model, 2.0), cond={"label": 1})
    for last, _, label in model.notes:
        assert len(last) == 12 and label.tolist() == [-1] * 6 + [1] * 6
        assert torch.equal(last[:6].nan_to_num(9), last[6:].nan_to_num(9))
    assert model.notes[1][0].isfinite().all()
    led = 2 * model.notes[0][1][6:] - model.notes[0][1][:6]
    close(model.notes[1][0][:6], led, atol=1e-5)


@pytest.mark.parametrize("sampler", [ProbabilityFlow(rtol=0.1, atol=0.1), AdaptiveSDE(rtol=0.1, atol=0.1)], ids=repr)
def test_an_adaptive_solver_s_rows_are_told_no_estimate(sampler):
    model = Told()
    draw(model, sampler, n=3)
    assert all(last.isnan().all() for last, _, _ in model.notes)


def test_in_training_some_rows_are_told_the_model_s_own_estimate():
    held = objective(torch.randn(400, 3), self_condition=0.5)
    x0, t, eps, cond, told = held.draw(Batch(torch.randn(400, 3)), 400, slice(None))
    assert 150 < int(told.sum()) < 250 and not cond
    found = estimate(held.product, x0, t, eps, cond, told)
    assert found[~told].isnan().all() and not found.requires_grad
    plain = held.product(held.product.sde.perturb(x0.double(), t, eps.double()), t)
    close(found[told][..., 0], plain[told].detach(), rtol=1e-4, atol=1e-4)
    alone = objective(torch.randn(400, 3), self_condition=1.0)
    assert alone.draw(Batch(torch.randn(9, 3)), 9, slice(None))[4].all()


@pytest.mark.parametrize("shape", [(3,), (1, 2, 2)], ids=str)
def test_a_self_conditioned_model_draws_its_data(shape):
    """Gaussian data of deviation 0.5 about 1."""
    x = 1 + 0.5 * torch.randn(3000, *shape, generator=torch.Generator().manual_seed(0))
    model = fitted(x, self_condition=0.5, steps=200, width=32)
    drawn = scoresde.sample(model, Adams(steps=12), (2000, *shape), progress=False)
    drawn = model.decode(drawn).flatten(1)
    assert float((drawn.mean(0) - 1).abs().max()) < 0.08 and float((drawn.std(0) - 0.5).abs().max()) < 0.06


# Offset noise


class Offset(Denoiser):
    """The exact D of N(0, 0.5^2 I) under noise of covariance I + o^2 J in each channel."""

    def __init__(self, offset, sde=None):
        super().__init__(sde or VP())
        self.source = Source(offset)

    def covariance(self, t, n):
        alpha, sigma = (torch.as_tensor(a, dtype=torch.float64).reshape(-1, 1, 1) for a in self.sde.marginal(t))
        own = torch.eye(n, dtype=torch.float64)
        return (alpha * 0.5) ** 2 * own + sigma**2 * (own + self.source.offset**2)

    def forward(self, x, t):
        flat = x.flatten(2).double()
        inverse = torch.linalg.inv(self.covariance(t, flat.shape[2]))
        found = expand(self.sde.marginal(t)[0], flat) * 0.25 * (flat @ inverse)
        return found.reshape(x.shape).to(x)


def test_offset_noise_has_its_covariance_in_training_and_at_the_start():
    o, n, shape = 0.7, 20_000, (2, 3, 1)
    expected = torch.block_diag(*[torch.eye(3) + o**2] * 2)
    held = objective(torch.randn(64, *shape), offset=o)
    drawn = held.draw(Batch(torch.zeros(n, *shape)), n, slice(None))[2].flatten(1)
    record = Trajectory()
    scoresde.sample(Offset(o), DDIM(steps=1), (n, *shape), callback=record, progress=False)
    begun = record.x[0].flatten(1)
    for eps in (drawn, begun):
        close(eps.T.float() @ eps.float() / n, expected, rtol=0, atol=5 * 1.5 * math.sqrt(2 / n))


def test_the_flow_of_offset_noise_is_exact():
    """Samples have the data's covariance, and log p_t the closed form's."""
    model, n, shape = Offset(0.7), 4000, (1, 2, 2)
    drawn = scoresde.sample(model, Adams(steps=40), (n, *shape), progress=False, dtype=torch.float64).flatten(1)
    close(drawn.T @ drawn / n, 0.25 * torch.eye(4).double(), rtol=0, atol=5 * 0.25 * math.sqrt(2 / n))
    x = torch.randn(5, *shape, dtype=torch.float64)
    found = scoresde.log_likelihood(model, x, rtol=1e-7, atol=1e-7, t_min=0.3).log_prob
    exact = torch.distributions.MultivariateNormal(torch.zeros(4).double(), model.covariance(0.3, 4)[0])
    close(found, exact.log_prob(x.flatten(1)), rtol=0, atol=1e-3)


# Coupling


class Straight(Denoiser):
    """The exact D of N(0, s^2) whose noise is dealt to it by the optimal coupling of all: x_0 = s eps."""

    def __init__(self, s=0.5):
        super().__init__(Linear())
        self.s, self.source = s, Source(paired=True)

    def forward(self, x, t):
        alpha, sigma = (expand(a, x) for a in self.sde.marginal(t))
        return self.s * x / (alpha * self.s + sigma)


def test_dealt_noise_is_the_same_noise_at_the_least_distance():
    torch.manual_seed(0)
    x0, eps = torch.randn(6, 2, 3), torch.randn(6, 2, 3)
    found = paired(x0, eps)
    assert sorted(found.flatten(1)[:, 0].tolist()) == sorted(eps.flatten(1)[:, 0].tolist())
    cost = lambda order: float((x0 - order).square().sum())
    least = min(cost(eps[list(order)]) for order in itertools.permutations(range(6)))
    assert cost(found) == pytest.approx(least, rel=1e-6)


def test_the_flow_of_dealt_noise_is_exact_and_one_step_follows_it():
    model = Straight()
    z = scoresde.sample(model, DDIM(steps=1), (2000, 1), progress=False, dtype=torch.float64)
    close(z.var(), 0.25, rtol=5 * math.sqrt(2 / 2000), atol=0)
    x = torch.linspace(-2, 2, 5, dtype=torch.float64)[:, None]
    alpha, sigma = model.sde.marginal(0.2)
    exact = torch.distributions.Normal(0.0, alpha * 0.5 + sigma).log_prob(x[:, 0])
    last = torch.distributions.Normal(0.0, model.sde.marginal(0.999)[0] * 0.5 + 0.999)
    terminal = lambda z: last.log_prob(z[:, 0])  # not quite the noise alone
    found = scoresde.log_likelihood(model, x, rtol=1e-7, atol=1e-7, t_min=0.2, terminal=terminal).log_prob
    close(found, exact, rtol=0, atol=1e-5)


@pytest.mark.parametrize("model", [Straight(), Offset(0.5, Linear())], ids=["paired", "offset"])
def test_where_the_flow_alone_is_known_noise_and_bounds_are_refused(model):
    for entry in STOCHASTIC.values():
        refuses("adds noise", "deterministic", call=lambda e=entry: draw_of(model, e(4)))
    for adaptive in (AdaptiveSDE(), ReverseSDE()):
        refuses("adds noise", call=lambda s=adaptive: draw_of(model, s))
    refuses("a bound needs the score", call=lambda: elbo(model, torch.zeros(2, 1, 1)))
    for entry in DETERMINISTIC.values():
        assert draw_of(model, entry(12)).isfinite().all()


def draw_of(model, sampler):
    return scoresde.sample(model, sampler, (3, 1, 1), progress=False, dtype=torch.float64)


@pytest.mark.slow
def test_straighter_paths_need_fewer_steps():
    """Two points to either side: in one step the model of dealt noise is nearer to them."""
    x = torch.tensor([[-1.0, 0.2], [1.0, -0.2]]).repeat(500, 1) + 0.05 * torch.randn(1000, 2)
    nearest = {}
    for coupling in ("independent", "optimal"):
        model = fitted(x, Linear(), steps=250, coupling=coupling)
        drawn = model.decode(scoresde.sample(model, DDIM(steps=1, last="none"), (1000, 2), progress=False))
        nearest[coupling] = float(torch.cdist(drawn.float(), x[:2]).min(1).values.mean())
    assert nearest["optimal"] < 0.6 * nearest["independent"]


# Augmentation


def test_rows_are_flipped_as_they_say_and_the_others_are_as_they_were():
    for shape in ((2, 5), (1, 3, 4, 2)):  # a series, a volume
        x = torch.randn(200, *shape)
        found, said = augmented(x, 0.3, 200, slice(None))
        for i in range(200):
            axes = [] if said[i].isnan().all() else (1 + said[i].nonzero()[:, 0]).tolist()
            assert torch.equal(found[i], x[i].flip(axes))
            assert bool(said[i].isnan().any()) == (not axes)
    x = torch.randn(500, 1, 6, 6)
    found, said = augmented(x, 0.12, 500, slice(None))
    gone = said.isnan().all(1)
    assert said.shape[1] == 9 and torch.equal(found[gone], x[gone])
    assert float(gone.double().mean()) == pytest.approx(0.88**6, abs=0.09)
    assert not any(torch.equal(a, b) for a, b in zip(found[~gone], x[~gone], strict=True))


def test_pictures_are_turned_moved_and_scaled_as_they_say():
    x, nothing = torch.randn(1, 2, 8, 8), torch.zeros(1)
    close(_moved(x, torch.zeros(1, 4), nothing, nothing), x, atol=1e-5)
    close(_moved(x, torch.zeros(1, 4), nothing + math.pi / 2, nothing), x.rot90(-1, (2, 3)), atol=1e-5)
    one = _moved(x, torch.tensor([[0.0, 0.0, 1.0, 2.0]]), nothing, nothing)  # 1/8 and 2/8 of 8 pixels
    close(one[..., 2:, 1:], x[..., :-2, :-1], atol=1e-5)
    ramp = (torch.arange(32.0) - 15.5).expand(1, 1, 32, 32)
    inner = (..., slice(10, 22), slice(10, 22))
    close(_moved(ramp, torch.tensor([[1.0, 0, 0, 0]]), nothing, nothing)[inner], ramp[inner] / 2**0.2, atol=1e-4)
    wide = _moved(ramp, torch.tensor([[0.0, 1.0, 0, 0]]), nothing, nothing)  # along the first axis
    close(wide[inner], ramp[inner] / 2**0.2, atol=1e-4)
    tall = _moved(ramp.mT, torch.tensor([[0.0, 1.0, 0, 0]]), nothing, nothing)
    close(tall[inner], ramp.mT[inner] * 2**0.2, atol=1e-4)
    tilted = torch.randn(1, 1, 4, 8)  # half a turn of what is no square
    close(_moved(tilted, torch.zeros(1, 4), nothing + math.pi, nothing), tilted.flip(2, 3), atol=1e-5)


def test_augmentation_does_not_leak_into_samples():
    """Pairs about (1, -1): flipped they would be about (-1, 1), where samples are only if the model is told so."""
    x = torch.tensor([[[1.0, -1.0]]]) + 0.2 * torch.randn(1000, 1, 2)
    model = fitted(x, augment=0.5, steps=150, width=32)
    drawn = scoresde.sample(model, Adams(steps=10), (500, 1, 2), progress=False)
    assert float((drawn[:, 0, 0] > drawn[:, 0, 1]).double().mean()) > 0.99
    flipped = torch.ones(500, 1)
    at = torch.full((500,), 0.9, dtype=torch.float64)
    noise = torch.randn(500, 1, 2)
    told = model.denoiser(noise, at, {"augment": flipped})
    assert float((told[:, 0, 0] < told[:, 0, 1]).double().mean()) > 0.95


# What goes with what


def test_the_command_trains_samples_and_scores_with_all_that_is_told(tmp_path, monkeypatch, capfd):
    """The folder alone says what the model was trained with; samples and likelihood do without."""
    told = ["objective.self_condition=0.5", "objective.augment=0.12", "objective.uncertainty=true"]
    words = [*TINY, "data=digits", "cond=[label]", "task=train", "folder=m"]
    code, _, err = command(monkeypatch, capfd, tmp_path, *words, *told)
    assert code == 0, err
    model = scoresde.load(tmp_path / "m")
    assert list(model.made) == ["estimate", "augment"] and list(model.conditions) == ["label"]
    short = ["folder=m", "wandb=disabled", "gif=false", "n=4", "given.label=3"]
    for task in (["task=sample", "sampler=ddim", "sampler.steps=3"], ["task=likelihood", "likelihood.n=2"]):
        code, _, err = command(monkeypatch, capfd, tmp_path, *short, *task)
        assert code == 0, err
    code, _, err = command(monkeypatch, capfd, tmp_path, *words, *told, "objective.offset=0.1")
    assert code == 1 and "objective.offset" in err, err


def test_settings_that_do_not_go_together_are_refused(tmp_path):
    flat, images = torch.randn(64, 3), torch.randn(64, 1, 2, 2)
    refuses("offset=0.1", "no space", call=lambda: objective(flat, offset=0.1))
    refuses("augment=0.1", "no space", call=lambda: objective(flat, augment=0.1))
    refuses("coupling='optimal'", "augment", call=lambda: objective(images, coupling="optimal", augment=0.1))
    refuses("self_condition=2", call=lambda: objective(flat, self_condition=2.0))
    refuses("coupling='best'", call=lambda: objective(flat, coupling="best"))
    data, net = scoresde.data.from_tensor(flat), scoresde.nets.MLP((3,), width=8, blocks=1)
    bare = scoresde.Preconditioned(net, VP())
    words = ("self_condition=0.5", "Denoising.asks(shape, self_condition=0.5)")
    refuses(*words, call=lambda: scoresde.train(bare, data, objective={"self_condition": 0.5}, **QUIET))
    labelled = scoresde.nets.MLP((3,), width=8, blocks=1, conditions={"label": Label(2)})
    told = scoresde.Preconditioned(labelled, VP())
    refuses("label", call=lambda: Denoising(told, DenoisingLoss(), data, coupling="optimal"))
    model = fitted(flat, Linear(), steps=2, folder=tmp_path / "m", coupling="optimal")
    assert model.source == scoresde.load(tmp_path / "m").source == Source(paired=True)
    refuses("paired", call=lambda: scoresde.sample(model, DDIM(steps=2, eta=1.0), (2, 3), progress=False))
    assert isinstance(SelfConditioned(Told()).select(torch.arange(1)), Told)
