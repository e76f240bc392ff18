"""Laws of a Gaussian's moments, of mixtures, of rows, and of the data of a trained model."""

import math
import shutil

import numpy as np
import pytest
import torch
from problems import close, each_sde, mixture, moments, refuses

import scoresde
from scoresde.denoiser.moments import Moments
from scoresde.exact import Empirical, GaussianMixture
from scoresde.grids import information
from scoresde.model.kept import moments as kept
from scoresde.sampling import GaussianAdams, ProbabilityFlow, sample
from scoresde.sde import VP


def run(model, n, shape, dtype=torch.float64, **settings):
    return sample(model, GaussianAdams(last="none", **settings), (n, *shape), dtype=dtype)


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
