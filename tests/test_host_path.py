"""Laws of what a sampling computes beside the model: once for the whole way, and with the numbers of single steps."""

import itertools
from dataclasses import dataclass

import pytest
import torch
from problems import Quadratic, close, each_sde, mixture
from samplers import DETERMINISTIC, STOCHASTIC

from scoresde.denoiser import RULES, Denoiser, Preconditioned
from scoresde.noise import Ahead, Draws, counter, normal
from scoresde.noise.draws import TOGETHER
from scoresde.sampling import DDIM, DEIS, PC, Adams, DPMpp2M, EulerMaruyama, Heun, SASolver, sample
from scoresde.sde import VP, Marginal

FIXED = DETERMINISTIC | STOCHASTIC


@each_sde
def test_a_time_of_a_sampling_has_the_numbers_of_its_marginal(sde):
    times = sde.time(torch.linspace(-6, 6, 7, dtype=torch.float64))
    for one, t in zip(sde.along(times.tolist()), times, strict=True):
        alpha, sigma = sde.marginal(t)
        expected = torch.stack([t, alpha, sigma, torch.hypot(alpha, sigma), sde.angle(t), sde.log_snr(t)])
        close(torch.tensor([one, one.alpha, one.sigma, one.n, one.phi, one.log_snr]).double(), expected, rtol=1e-7)
        assert (one, one.alpha, one.phi) == pytest.approx((float(t), float(alpha), float(sde.angle(t))), rel=1e-14)
        assert one.rates == pytest.approx([float(a) for a in sde.drift_diffusion(t)], rel=1e-12)
        assert isinstance(one, float) and sde.at(one) is one and sde.at(float(one)).alpha == pytest.approx(one.alpha)


@pytest.mark.parametrize("name", FIXED)
def test_a_way_known_beforehand_has_the_steps_of_one_that_is_not(name):
    """`sample` against the same sampler, step by step, with times that are plain numbers and no word of the others."""
    model, sampler = mixture(VP()), FIXED[name](7, last="none")
    x = sample(model, sampler, (5, 2), seed=3, dtype=torch.float64)
    index, state = torch.arange(5), None
    y = model.sde.prior(normal(x, index, 3, 0, 0))
    for i, (t, s) in enumerate(itertools.pairwise(sampler.times(model.sde))):
        y, state = sampler.step(model, y, t, s, state, Draws(3, index, i + 1))
    close(y, x, rtol=0, atol=1e-7 if name == "rosenbrock" else 1e-11)


@pytest.mark.parametrize(
    "sampler", [Adams(order=3, steps=9), DEIS(steps=9), SASolver(steps=9)], ids=lambda s: str(s)[:5]
)
def test_a_way_left_half_way_is_followed_by_single_steps(sampler):
    """From the fourth step on between times that were not announced: the weights are those of the steps taken."""
    model = mixture(VP())
    times = sampler.times(model.sde)
    other = [*times[:4], *(0.7 * a + 0.3 * b for a, b in zip(times[4:-1], times[5:], strict=True)), times[-1]]
    ends = []
    for state in (sampler.begin(model.sde, model.sde.along(times)), None):
        x = model.sample(5)
        for i, (t, s) in enumerate(itertools.pairwise(other)):
            x, state = sampler.step(model, x, t, s, state, Draws(3, torch.arange(5), i + 1))
        ends.append(x)
    close(*ends, rtol=0, atol=1e-11)


class Counting(VP):
    """VP that counts how often it is asked."""

    calls = 0

    def log_alpha(self, t):
        Counting.calls += 1
        return super().log_alpha(t)

    def log_sigma(self, t):
        Counting.calls += 1
        return super().log_sigma(t)


ONCE = {
    n: e
    for n, e in FIXED.items()
    if n not in ("rk4", "rosenbrock", "reversible", "edm_churn") and not e.settings.get("start")
}


@pytest.mark.parametrize("name", ONCE)
def test_the_sde_is_asked_once_whatever_the_number_of_steps(name):
    class Free(Denoiser):
        def forward(self, x, t):
            return 0.5 * x

    asked = []
    for steps in (6, 24):
        Counting.calls = 0
        sample(Free(Counting()), ONCE[name](steps, last="none"), (2, 2))
        asked.append(Counting.calls)
    assert asked[0] == asked[1] <= 24


@pytest.mark.parametrize("name", RULES)
def test_the_rule_of_a_network_is_asked_once(name):
    calls = []

    def rule(alpha, sigma):
        calls.append(alpha.shape)
        return RULES[name](alpha, sigma)

    net, plain = torch.nn.Module(), []
    net.forward = lambda x, c: torch.tanh(x) * c[:, None].cos()
    for r in (rule, name):
        denoiser = Preconditioned(net, VP(), r)
        plain.append(sample(denoiser, Heun(steps=5), (4, 2), dtype=torch.float64))
        assert calls == [(2,), (6,)]  # when it was given, and for the whole way
    assert torch.equal(*plain)
    # Step by step, with times of which the network's rule has only one at a time.
    x, sampler = denoiser.sde.prior(normal(plain[0], torch.arange(4), 0, 0, 0)), Heun(steps=5)
    for t, s in itertools.pairwise(sampler.times(denoiser.sde)):
        x, _ = sampler.step(denoiser, x, t, s, None, None)
    close(denoiser(x, s), plain[0], rtol=0, atol=1e-11)


def test_an_sde_or_a_rule_that_changes_is_asked_again():
    """Nothing is kept from one sampling to the next: what holds state is right, and what cannot be hashed too."""

    class Changing(Quadratic):
        knob, __hash__ = 0.0, None

        def log_sigma(self, t):
            return super().log_sigma(t) + self.knob

    sde, gain = Changing(), [1.0]
    net = torch.nn.Module()
    net.forward = lambda x, c: torch.tanh(x)
    model = Preconditioned(net, sde, lambda a, s: (gain[0] * a, s, a))
    for sampler in (DDIM(steps=4), DPMpp2M(steps=4), EulerMaruyama(steps=4), PC(steps=4)):
        sde.knob, gain[0] = 0.0, 1.0
        first = sample(model, sampler, (3, 2))
        sde.knob = 0.1
        second = sample(model, sampler, (3, 2))
        gain[0] = 0.5
        third = sample(model, sampler, (3, 2))
        assert (first - second).abs().max() > 1e-4 and (second - third).abs().max() > 1e-4


@pytest.mark.parametrize("shape", [(3, 2), (4, 1, 5, 5), (100, 300), (1, 70000)], ids=str)
def test_numbers_drawn_ahead_are_those_of_their_step(shape, monkeypatch):
    """To the bit, for each (seed, index, step, draw), in whatever order draws are taken; few are drawn together."""
    drawn = []
    monkeypatch.setattr(
        counter, "bits", lambda index, *a, bits=counter.bits: drawn.append(len(index)) or bits(index, *a)
    )
    x, index = torch.empty(shape), torch.arange(5, 5 + shape[0])
    ahead, found = Ahead(7, index, 9), {}
    for step in range(1, 10):
        draws = Draws(7, index, step, ahead=ahead)
        found |= {(step, draw): draws(x).clone() for draw in range(2 if step % 3 else 1)}
    few = x.numel() <= 150
    assert (len(drawn) < 5) == few and max(drawn) * x[0].numel() <= max(TOGETHER, x.numel())
    for (step, draw), z in found.items():
        assert torch.equal(z, normal(x, index, 7, step, draw))


@each_sde
def test_gradients_to_times_and_inputs_are_those_of_tensors(sde):
    """A time that is a tensor keeps its graph, () and (B,) alike, through every form of the answer."""
    torch.manual_seed(0)
    net = torch.nn.Module()
    net.forward = lambda x, c: torch.tanh(x + 0.3 * c[:, None])
    for model in (mixture(sde), Preconditioned(net, sde, "v")):
        t0 = sde.time(torch.tensor(0.5, dtype=torch.float64))
        for t in (t0, t0.expand(3).contiguous()):
            for form in (model, model.score, model.eps, model.velocity):
                x = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
                assert torch.autograd.gradcheck(
                    lambda x, t, f=form: f(x, t), (x, t.clone().requires_grad_()), atol=1e-4
                )


def test_user_s_samplers_and_callbacks_get_times_that_are_numbers():
    seen = []

    @dataclass(frozen=True)
    class Mine(DDIM):
        def step(self, denoiser, x, t, s, state, noise):
            seen.append((t, s))
            return 0.9 * x, state

    times = []
    sample(mixture(VP()), Mine(steps=3), (2, 2), callback=lambda i, t, x, x0: times.append(t))
    assert all(isinstance(t, float) and isinstance(t, Marginal) for pair in seen for t in pair)
    assert [type(t) for t in times] == [float] * 3 and times == [s for _, s in seen] == Mine(steps=3).times(VP())[1:]
