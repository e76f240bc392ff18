"""Laws of the sampler that leaves what a Gaussian carries to the Gaussian, and of the moments that it takes."""

import math

import numpy as np
import pytest
import torch
from commands import TINY, command
from problems import Around, close, each_sde, each_shape, each_song_sde, mixture

from scoresde.denoiser import Counted, Denoiser, bind
from scoresde.denoiser.moments import Moments
from scoresde.noise import normal
from scoresde.sampling import Adams, GaussianAdams, ProbabilityFlow, sample
from scoresde.sde import VE, VP


class Gaussian(Denoiser):
    """The exact denoiser of N(mean, covariance) in D dimensions."""

    def __init__(self, sde, mean, covariance):
        super().__init__(sde)
        self.mean, self.covariance = mean, covariance
        self.moments = Moments.of_covariance(mean, covariance)

    def forward(self, x, t):
        alpha, sigma = (float(a) for a in self.sde.marginal(t))
        gain = (
            alpha
            * self.covariance
            @ torch.linalg.inv(alpha**2 * self.covariance + sigma**2 * torch.eye(len(self.mean)))
        )
        return self.mean + (x - alpha * self.mean) @ gain.T


def gaussian(sde, dimensions=5, spread=3.0):
    """Deviations from exp(-spread) to exp(spread), in directions of no coordinate."""
    generator = torch.Generator().manual_seed(dimensions)
    turn = torch.linalg.qr(torch.randn(dimensions, dimensions, generator=generator, dtype=torch.float64)).Q
    deviations = torch.linspace(-spread, spread, dimensions, dtype=torch.float64).exp()
    return Gaussian(sde, torch.arange(dimensions).double() - 1, turn @ torch.diag(deviations**2) @ turn.T)


def end(model, n, shape, t_min=None, seed=0):
    flow = ProbabilityFlow(rtol=1e-11, atol=1e-11, last="none", t_min=t_min)
    return sample(model, flow, (n, *shape), seed, dtype=torch.float64)


def run(model, n=32, shape=(2,), seed=0, dtype=torch.float64, **settings):
    return sample(model, GaussianAdams(last="none", **settings), (n, *shape), seed, dtype=dtype)


# -- what is exact ----------------------------------------------------------------------------------------------------


@each_sde
@pytest.mark.parametrize("steps", [1, 2, 9, 40])
def test_a_gaussian_of_any_covariance_takes_one_step(sde, steps):
    model, n = gaussian(sde), 8
    z = sde.prior(normal(torch.empty(n, 5).double(), torch.arange(n), 0, 0, 0))
    (a, b), (c, d) = (sde.marginal(t) for t in (sde.t_max, sde.t_min))
    variances, turn = torch.linalg.eigh(model.covariance)
    ratio = ((c**2 * variances + d**2) / (a**2 * variances + b**2)).sqrt()
    exact = ((z - a * model.mean) @ turn * ratio) @ turn.T + c * model.mean
    close(run(model, n, (5,), steps=steps), exact, rtol=0, atol=1e-6 * float(exact.abs().max()))


def test_signs_and_order_of_the_eigenvectors_do_not_matter():
    model = mixture(VP(), (4,), components=4)
    x, known = run(model, shape=(4,), steps=6), model.moments
    other = Counted(model)
    signs = torch.tensor([1.0, -1.0, -1.0, 1.0])
    other.moments = Moments(known.mean, known.deviations.flip(0), ((known.basis[0] * signs).flip(1),))
    close(run(other, shape=(4,), steps=6), x, rtol=0, atol=1e-11)


def test_a_wrong_gaussian_changes_the_way_and_not_the_end():
    model = mixture(VP())
    exact = end(model, 16, (2,))
    for known in (None, Moments(torch.tensor([2.0, -1.0]), torch.tensor([0.3, 4.0])), Moments.unit()):
        other = Counted(model)
        other.moments = known
        errors = [float((run(other, 16, steps=steps) - exact).square().mean().sqrt()) for steps in (50, 200)]
        assert errors[1] < 1e-6 and errors[0] / errors[1] > 30, errors


# -- order ------------------------------------------------------------------------------------------------------------


@each_song_sde
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_it_converges_with_one_order_more_than_it_has_values(sde, order):
    model = mixture(sde)
    exact = end(model, 16, (2,))
    errors = [float((run(model, 16, steps=n, order=order) - exact).square().mean().sqrt()) for n in (200, 400)]
    assert math.log2(errors[0] / errors[1]) > order + 0.7, errors


@each_sde
def test_few_steps_are_nearer_than_those_of_adams(sde):
    for shape, components in (((2,), 3), ((24,), 8)):
        model = mixture(sde, shape, components)
        exact = end(model, 128, shape)
        for steps in (5, 10, 20, 50):
            adams = sample(model, Adams(steps=steps, last="none"), (128, *shape), dtype=torch.float64)
            mine, theirs = ((x - exact).square().mean().sqrt() for x in (run(model, 128, shape, steps=steps), adams))
            assert mine < theirs, (steps, shape)


# -- evaluations ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 2, 5, 24, 25])
@pytest.mark.parametrize("known", [True, False])
def test_as_many_evaluations_as_steps(steps, known):
    times, model = [], mixture(VP())

    class Watched(Denoiser):
        def forward(self, x, t):
            times.append(float(t))
            return model(x, t)

    watched = Watched(model.sde)
    watched.moments = model.moments if known else None
    run(watched, 4, steps=steps)
    assert len(times) == steps and (times[0] < model.sde.t_max) == (known and steps <= 24)


def test_the_first_interval_is_free_only_from_pure_noise_and_without_conditions():
    model = mixture(VE(sigma_max=6.0))  # noise of six deviations still tells of the data
    sampler = GaussianAdams(steps=5, last="none")
    assert len(sampler.informed(model).times(model.sde)) == 6
    around = Around(VP())
    around.moments = mixture(VP()).moments
    assert len(sampler.informed(bind(around, {"mean": [3.0, 3.0]}, 4)).times(around.sde)) == 6
    assert len(sampler.informed(around).times(around.sde)) == 7


# -- what a sample depends on -----------------------------------------------------------------------------------------


@each_shape
def test_rows_are_the_same_in_any_batch(shape):
    model = mixture(VP(), shape)
    whole = run(model, 21, shape, steps=6)
    for size in (1, 8):
        x = sample(model, GaussianAdams(steps=6, last="none"), (21, *shape), dtype=torch.float64, batch_size=size)
        close(x, whole, rtol=0, atol=1e-11)


@each_sde
@each_shape
def test_float32_is_near_float64(sde, shape):
    single = run(mixture(sde, shape, dtype=torch.float32), 8, shape, dtype=torch.float32, steps=8)
    assert single.dtype == torch.float32
    close(single.double(), run(mixture(sde, shape), 8, shape, steps=8), rtol=2e-3, atol=2e-3)


def test_it_may_end_at_the_data():
    """At t_min = 0 there is no noise to take away, and no evaluation to pay for that."""
    sde = VP()
    model = mixture(sde)
    counted = Counted(model)
    x = sample(counted, GaussianAdams(steps=40, last="none", t_min=0.0), (64, 2), dtype=torch.float64)
    exact = end(model, 64, (2,), t_min=1e-7)
    assert counted.calls == 40 and (x - exact).abs().max() < 1e-3


def test_a_way_that_was_not_announced():
    """Step by step, with plain numbers for times and no state: what `sample` does."""
    model = mixture(VP())
    sampler = GaussianAdams(steps=7, last="none").informed(model)
    x = model.sde.prior(normal(torch.empty(5, 2).double(), torch.arange(5), 0, 0, 0))
    state, times = None, sampler.times(model.sde)
    for t, s in zip(times, times[1:], strict=False):
        x, state = GaussianAdams(steps=7).step(model, x, t, s, state, None)
    close(x, run(model, 5, steps=7), rtol=0, atol=1e-11)


@pytest.mark.parametrize("sampler", ["gaussian_adams", "adams"])
def test_the_command_may_end_at_the_data(monkeypatch, capfd, tmp_path, sampler):
    """The picture of the way has no estimate to ask for where no noise is left."""
    words = (f"sampler={sampler}", "sampler.steps=3", "sampler.t_min=0", "sampler.last=none", "folder=m")
    assert command(monkeypatch, capfd, tmp_path, *TINY, *words, "task=train")[0] == 0
    code, out, err = command(monkeypatch, capfd, tmp_path, *TINY, *words, "task=sample")
    assert code == 0 and "3 evaluations" in out, err
    (way,) = tmp_path.glob("m/sample-*/trajectory.npz")
    with np.load(way) as kept:
        assert np.isfinite(kept["x0"]).all() and (kept["x0"][-1] == kept["x"][-1]).all()
