"""Pictures beside what they should be, and beside others of the same: means over pictures, with their intervals."""

import math

import torch
from torch import Tensor

from ..errors import InputError
from .estimate import Estimate, interval, rows

CLOSEST = 1e-10  # the least mean square error that counts, of a peak of 1: 100 dB


def psnr(x: Tensor, y: Tensor, peak: float = 1.0) -> Estimate:
    """The peak signal-to-noise ratio in decibels, the mean over pictures of 10 log10(peak^2 / mean square error).

    A picture that is met exactly counts 100 dB.

    Arguments:
        x, y: pictures and what they should be, (n, *shape) each, row by row.
        peak: the width of the range of values.

    Returns:
        An `Estimate`, with Student's interval of the mean over pictures.

    Raises:
        InputError: rows of two shapes or numbers, fewer than 2, or not finite.
    """
    x, y = rows(x, y)
    if len(x) != len(y):
        raise InputError(f"x has {len(x)} rows and y {len(y)}: give one of each for every picture")
    return _mean(-10 * ((x - y).square().mean(1) / peak**2).clamp_min(CLOSEST).log10())


def diversity(samples: Tensor) -> Estimate:
    """How far samples of one thing are from each other: their standard deviation, the mean over entries and things.

    Arguments:
        samples: k samples of each of n things, (n, k, *shape), k at least 2.

    Returns:
        An `Estimate` in the units of the samples, with Student's interval of the mean over things.

    Raises:
        InputError: fewer than 2 samples or things.
    """
    if samples.ndim < 3 or len(samples) < 2 or samples.shape[1] < 2:
        raise InputError(
            f"samples {tuple(samples.shape)}: give (n, k, *shape), 2 things and 2 samples of each at least"
        )
    return _mean(samples.double().flatten(2).std(1).mean(1))


def _mean(values: Tensor) -> Estimate:
    n = len(values)
    stderr = float(values.std()) / math.sqrt(n)
    return interval(float(torch.mean(values)), stderr, n - 1, n, n, "Student's, of the mean over pictures")
