"""Measures orders of convergence: in the strong sense on a mixture's flow, in the weak sense exactly on a Gaussian."""

import functools
import itertools
import math

import torch
from problems import SDES, mixture

from scoresde.exact import GaussianMixture
from scoresde.sampling import ProbabilityFlow, sample


def stop(sde, log_snr: float) -> float:
    """The time at which log-SNR is about this, or t_min if that comes first."""
    return max(sde.t_min, float(sde.time(log_snr)))


@functools.cache
def limit(name: str, rows: int):
    """The mixture under an SDE, where its flow is stopped, and the end points of the flow from fixed starts."""
    model = mixture(SDES[name])
    t_min = stop(model.sde, 10.0)
    fine = ProbabilityFlow(rtol=1e-12, atol=1e-12, last="none", t_min=t_min)
    return model, t_min, sample(model, fine, (rows, 2), dtype=torch.float64)


def flow_error(name: str, entry, steps: int, rows: int = 16, **settings) -> float:
    """The root-mean-square distance from the end point of a mixture's flow, in float64."""
    model, t_min, end = limit(name, rows)
    x = sample(model, entry(steps, last="none", t_min=t_min, **settings), (rows, 2), dtype=torch.float64)
    return float((x - end).square().mean().sqrt())


class _OneHot:
    """Noise whose k-th draw is 1 in row k and 0 elsewhere: the rows of a linear recursion are its coefficients."""

    def __init__(self):
        self.draw = 1

    def __call__(self, x):
        self.draw += 1
        z = torch.zeros_like(x)
        z[self.draw] = 1.0
        return z

    transition = __call__


def end_moments(sde, sampler) -> tuple[float, float, float, float]:
    """The mean and variance at the sampler's end, and the exact ones, for Gaussian data and the exact x_T: no chance.

    The denoiser is affine, so x_end = mean + sum_k c_k z_k over all draws, with variance sum_k c_k^2.
    """
    one = torch.ones(1, dtype=torch.float64)
    model = GaussianMixture(one, one[:, None], 0.5 * one, sde)
    times = sampler.times(sde)
    (alpha, sigma), noise, state = (float(a) for a in sde.marginal(times[0])), _OneHot(), None
    x = torch.zeros(2 + 3 * len(times), 1, dtype=torch.float64)  # row 0: no noise; row 1: that of the start
    x[1] = math.hypot(0.5 * alpha, sigma)
    x += alpha
    for t, s in itertools.pairwise(times):
        x, state = sampler.step(model, x, t, s, state, noise)
    alpha, sigma = (float(a) for a in sde.marginal(times[-1]))
    return float(x[0]), float((x[1:] - x[0]).square().sum()), alpha, alpha**2 / 4 + sigma**2


def weak_error(name: str, entry, steps: int, **settings) -> float:
    """|error of the mean| + |error of the variance| of `end_moments`."""
    sde = SDES[name]
    sampler = entry(steps, last="none", t_min=stop(sde, 6.0), **settings)
    mean, variance, exact_mean, exact_variance = end_moments(sde, sampler)
    return abs(mean - exact_mean) + abs(variance - exact_variance)


def order(coarse: float, fine: float) -> float:
    """The order that an error shows when the steps are doubled."""
    return math.log2(coarse / fine)
