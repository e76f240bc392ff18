"""Laws of the sampler that leaves what a Gaussian carries to the Gaussian, and of the moments that it takes."""

import math
import shutil

import numpy as np
import pytest
import torch
from commands import TINY, command
from problems import Around, close, each_sde, each_shape, each_song_sde, mixture, moments, refuses

import scoresde
from scoresde.denoiser import Counted, Denoiser
from scoresde.exact import Empirical, GaussianMixture
from scoresde.experiment import moments as kept
from scoresde.grids import information
from scoresde.moments import Moments
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
        def forward(self, x, t, **cond):
            times.append(float(t))
            return model(x, t)

    watched = Watched(model.sde)
    watched.moments = model.moments if known else None
    run(watched, 4, steps=steps)
    assert len(times) == steps and (times[0] < model.sde.t_max) == (known and steps <= 24)


def test_the_first_interval_is_free_only_from_pure_noise_and_without_conditions():
    model = mixture(VE(sigma_max=6.0))  # noise of six deviations still tells of the data
    sampler = GaussianAdams(steps=5, last="none")
    assert len(sampler.informed(model, {}).times(model.sde)) == 6
    around = Around(VP())
    around.moments = mixture(VP()).moments
    assert len(sampler.informed(around, {"mean": 3.0}).times(around.sde)) == 6
    assert len(sampler.informed(around, {}).times(around.sde)) == 7


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
    sampler = GaussianAdams(steps=7, last="none").informed(model, {})
    x = model.sde.prior(normal(torch.empty(5, 2).double(), torch.arange(5), 0, 0, 0))
    state, times = None, sampler.times(model.sde)
    for t, s in zip(times, times[1:], strict=False):
        x, state = GaussianAdams(steps=7).step(model, x, t, s, state, None)
    close(x, run(model, 5, steps=7), rtol=0, atol=1e-11)


# -- moments ----------------------------------------------------------------------------------------------------------


def test_moments_of_mixtures_are_exact():
    for shape in ((3,), (1, 4, 4)):
        model = mixture(VP(), shape)
        mean, covariance = moments(model)
        known = model.moments
        close(known.mean.flatten(), mean)
        close(known.basis[0] @ torch.diag(known.deviations**2) @ known.basis[0].T, covariance, atol=1e-12)
    large = GaussianMixture(torch.ones(2), torch.randn(2, 3, 20, 20), 0.5, VP()).moments
    assert large.deviations.ndim == 0 and not large.basis


def test_moments_of_rows():
    x = torch.randn(500, 4, dtype=torch.float64) @ torch.randn(4, 4, dtype=torch.float64) + 3
    known = Moments.of(x, within=torch.tensor([0.0, 1.0, 0.0, 0.0]))
    covariance = x.T.cov(correction=0) + torch.diag(torch.tensor([0.0, 1.0, 0.0, 0.0]))
    close(known.mean, x.mean(0))
    close(known.basis[0] @ torch.diag(known.deviations**2) @ known.basis[0].T, covariance, atol=1e-10)
    few = Moments.of(x[:15])  # fewer than four rows a number: variances alone
    assert not few.basis
    close(few.deviations, x[:15].std(0, correction=0))
    close(Empirical(x, VP()).moments.mean, x.mean(0))
    refuses("x (0, 2)", call=lambda: Moments.of(torch.empty(0, 2)))
    refuses("finite", call=lambda: Moments.of(torch.tensor([[1.0], [math.nan]])))


@pytest.mark.parametrize("shape", [(3, 20, 24), (2, 600), (1, 12, 10, 11)])
def test_frequencies_of_large_images(shape):
    """Turned and back is the same; noise that is white has equal deviations; slow waves are in low frequencies."""
    x = 0.3 * torch.randn(256, *shape, dtype=torch.float64)
    known = Moments.of(x)
    c = known.turn(x, known.basis)
    close(known.back(c, known.basis), x, rtol=0, atol=1e-12)
    close(c.square().sum(), x.square().sum(), rtol=1e-10)
    assert known.deviations.shape == shape and (known.deviations - 0.3).abs().max() < 0.1
    slow = torch.cos(math.pi * (torch.arange(shape[-1]) + 0.5) / shape[-1]) * torch.randn(256, *[1] * len(shape))
    energy = Moments.of(x + slow).deviations.square().sum(tuple(range(len(shape) - 1)))
    assert int(energy.argmax()) == 1 and energy[1] > 10 * energy[2]


def test_large_images_are_sampled_by_their_frequencies():
    shape = (3, 20, 24)
    model = mixture(VP(), shape)
    model.moments = Moments.of(model.sample(400))
    exact = sample(model, ProbabilityFlow(rtol=1e-6, atol=1e-6, last="none"), (6, *shape), dtype=torch.float64)
    errors = [float((run(model, 6, shape, steps=n) - exact).square().mean().sqrt()) for n in (5, 20, 60)]
    assert errors[1] < 0.2 * errors[0] and errors[2] < 1e-3, errors


def test_information_is_that_of_the_gaussian():
    known = mixture(VP(), (6,)).moments
    for r in (1e-3, 0.1, 1.0, 30.0):
        expected = float(torch.log1p(known.deviations**2 / r**2).sum() / 2)
        assert known.information(np.array(r)) == pytest.approx(expected, rel=2e-3)


@each_sde
@pytest.mark.parametrize("steps", [1, 2, 5, 20, 300])
def test_the_grid_runs_down_and_follows_the_information(sde, steps):
    known = Moments(torch.zeros(64), torch.ones(64))
    for free in (False, True):
        times = information(sde, steps, sde.t_max, sde.t_min, known, free)
        assert len(times) == steps + 1 + free and (times.diff() < 0).all()
    if steps == 20:
        early = lambda t: int((sde.angle(t) > 1.2).sum())  # where 64 directions are known at once
        assert early(times) > early(information(sde, steps, sde.t_max, sde.t_min)) + 1


# -- of a trained model -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "m"
    torch.manual_seed(0)
    denoiser = scoresde.Preconditioned(scoresde.nets.MLP((3,), width=16, blocks=1), VP())
    x = torch.randn(200, 3) @ torch.tensor([[1.0, 0.5, 0.0], [0.0, 0.3, 0.0], [0.0, 0.0, 2.0]])
    data = scoresde.data.from_tensor(x)
    return folder, data, scoresde.train(denoiser, data, steps=3, batch_size=16, folder=folder, device="cpu")


def test_a_model_keeps_the_moments_of_its_data(trained):
    folder, data, model = trained
    x = data.encode(torch.stack([data.train[i] for i in range(len(data.train))])).double()
    loaded = scoresde.load(folder)
    for known in (model.moments, loaded.moments):
        close(known.mean, x.mean(0), atol=1e-6)
        covariance = known.basis[0] @ torch.diag(known.deviations**2) @ known.basis[0].T
        close(covariance, x.T.cov(correction=0), atol=1e-6)
    for a, b in zip(model.moments.state().values(), loaded.moments.state().values(), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(*(run(m, 4, (3,), dtype=torch.float32, steps=5) for m in (model, loaded)))


def test_levels_have_the_noise_of_dequantisation():
    raw = torch.randint(0, 4, (300, 2), dtype=torch.uint8)
    data = scoresde.data.from_tensor(raw, levels=4)
    spread, centres = (kept.of_data(data, how).deviations.square().sum() for how in ("uniform", "none"))
    close(spread - centres, 2 * (2 / 4) ** 2 / 12, rtol=1e-5)


def test_a_folder_without_moments_and_a_damaged_one(trained, tmp_path):
    shutil.copytree(trained[0], tmp_path / "m")
    path = tmp_path / "m" / "moments.safetensors"
    whole = path.read_bytes()
    for bad in (whole[:-9], b"", b"no tensors at all"):
        path.write_bytes(bad)
        refuses("moments.safetensors cannot be read", "remove it", call=lambda: scoresde.load(tmp_path / "m"))
    path.unlink()
    path.symlink_to(trained[0] / "moments.safetensors")
    refuses("moments.safetensors", "link", call=lambda: scoresde.load(tmp_path / "m"))
    path.unlink()
    old = scoresde.load(tmp_path / "m")
    assert old.moments is None and run(old, 4, (3,), dtype=torch.float32, steps=5).isfinite().all()


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
