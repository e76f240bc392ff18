"""The problems that the laws are tested on: every SDE, a user's own one among them, and exact mixtures of any shape."""

import pytest
import torch

from scoresde.conditions import Vector
from scoresde.denoiser import Denoiser
from scoresde.errors import InputError
from scoresde.exact import GaussianMixture
from scoresde.sde import EDM, SDE, VE, VP, Cosine, Linear, SubVP, expand


class Quadratic(SDE):
    """A user's own SDE, alpha = 1 - t^2 and sigma = t, by its two functions alone: everything else is derived."""

    t_max = 0.999

    def log_alpha(self, t):
        return torch.log1p(-(t**2))

    def log_sigma(self, t):
        return torch.log(t)


SDES: dict[str, SDE] = {
    "vp": VP(),
    "subvp": SubVP(),
    "ve": VE(),
    "cosine": Cosine(),
    "linear": Linear(),
    "edm": EDM(),
    "quadratic": Quadratic(),
}
SONG = ("vp", "subvp", "ve")
SHAPES = [(2,), (1, 4, 4), (2, 3, 3, 3)]

each_sde = pytest.mark.parametrize("sde", SDES.values(), ids=SDES)
each_song_sde = pytest.mark.parametrize("sde", [SDES[name] for name in SONG], ids=SONG)
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def mixture(sde, shape=(2,), components=3, seed=0, dtype=torch.float64) -> GaussianMixture:
    """An exact mixture of about unit variance, with unequal weights and a standard deviation for every coordinate."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.arange(1, components + 1, dtype=torch.float64)
    means = torch.randn(components, *shape, generator=generator, dtype=torch.float64)
    stds = 0.3 + 0.4 * torch.rand(components, *shape, generator=generator, dtype=torch.float64)
    return GaussianMixture(weights.to(dtype), means.to(dtype), stds.to(dtype), sde)


def moments(model: GaussianMixture, t=None):
    """The exact mean (D,) and covariance (D, D) of the flattened mixture at t (of the data for None)."""
    alpha, sigma = (1.0, 0.0) if t is None else model.sde.marginal(t)
    weights, means, stds = model.log_weights.exp(), alpha * model.means.flatten(1), model.stds.flatten(1)
    mean = weights @ means
    centred = means - mean
    within = torch.diag(weights @ (alpha**2 * stds**2 + sigma**2))
    return mean, within + (weights[:, None] * centred).T @ centred


def levels(sde, n, margin=0.0):
    """n times that spread over the noise levels of the SDE, less `margin` of the log-SNR range at each end."""
    high, low = (float(sde.log_snr(t)) for t in (sde.t_min, sde.t_max))
    cut = margin * (high - low)
    return sde.time(torch.linspace(high - cut, low + cut, n, dtype=torch.float64))


def noisy(model: GaussianMixture, n=None, seed=1):
    """x (B, *shape) at the times t (B,), each row at its own noise level; B is the last data dimension by default."""
    x0 = model.sample(n or model.means.shape[-1], seed=seed)
    t = levels(model.sde, len(x0), margin=0.1)
    eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(seed), dtype=x0.dtype)
    return model.sde.perturb(x0, t, eps), t


class Around(Denoiser):
    """The exact denoiser of N(mean, std^2) on vectors, its mean a condition with a row for each sample."""

    def __init__(self, sde, std=0.3, size=2):
        super().__init__(sde)
        self.std, self.conditions = std, {"mean": Vector(size, drop=0.0)}

    def forward(self, x, t, cond):
        mean = cond["mean"].to(x)
        alpha, sigma = (expand(a, x) for a in self.sde.marginal(t))
        return mean + alpha * self.std**2 / (alpha**2 * self.std**2 + sigma**2) * (x - alpha * mean)


def close(actual, expected, rtol=1e-9, atol=1e-9):
    """Equal shapes and |actual - expected| <= atol + rtol |expected|, everywhere."""
    expected = torch.as_tensor(expected)
    assert actual.shape == expected.shape, f"shape {tuple(actual.shape)}, expected {tuple(expected.shape)}"
    torch.testing.assert_close(actual.double(), expected.double(), rtol=rtol, atol=atol)


def refuses(*parts, call):
    """`call` raises an InputError, of one line that has all the parts."""
    with pytest.raises(InputError) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text
    for part in parts:
        assert str(part) in text, text


class Stop(Exception):
    """What ends a training."""


def stop_at(last: int):
    """A report of a training that ends it at a step."""

    def stop(step, **figures):
        if step == last:
            raise Stop

    return stop
