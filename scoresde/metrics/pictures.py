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
    x, y = _paired(x, y)
    return _mean(-10 * ((x - y).square().mean(1) / peak**2).clamp_min(CLOSEST).log10())


def ssim(x: Tensor, y: Tensor, peak: float = 1.0) -> Estimate:
    """The structural similarity, a mean over windows, channels and pictures.

        (2 m_x m_y + c_1) (2 s_xy + c_2) / ((m_x^2 + m_y^2 + c_1) (s_x^2 + s_y^2 + c_2)),  c_1 = (0.01 peak)^2, c_2 =
        (0.03 peak)^2

    with means m, variances s^2 and covariances s_xy under a Gaussian window of 1.5 pixels, 11 wide, or as wide as the
    picture is, if that is less (an odd number); of windows that lie within the picture.  1: the same pictures.

    Wang, Bovik, Sheikh, Simoncelli (2004), Image Quality Assessment: From Error Visibility to Structural Similarity.

    Arguments:
        x, y: pictures and what they should be, (n, C, *space) each, row by row, with 1 to 3 axes of space.
        peak: the width of the range of values.

    Returns:
        An `Estimate`, with Student's interval of the mean over pictures.

    Raises:
        InputError: rows of two shapes or numbers, fewer than 2, or not finite; no axis of space.
    """
    shape = tuple(x.shape[1:])
    if not 2 <= len(shape) <= 4:
        raise InputError(f"x {tuple(x.shape)}: give (n, channels, *space) with 1 to 3 axes of space", "x")
    x, y = (part.reshape(-1, 1, *shape[1:]) for part in _paired(x, y))
    width = min(11, *(n - 1 + n % 2 for n in shape[1:]))
    place = torch.arange(width, dtype=x.dtype) - (width - 1) / 2
    window = torch.exp(-place.square() / (2 * 1.5**2))
    m_x, m_y, xx, yy, xy = (_windowed(part, window / window.sum()) for part in (x, y, x * x, y * y, x * y))
    c_1, c_2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    whole = (2 * m_x * m_y + c_1) * (2 * (xy - m_x * m_y) + c_2)
    whole = whole / ((m_x**2 + m_y**2 + c_1) * (xx - m_x**2 + yy - m_y**2 + c_2))
    return _mean(whole.flatten(1).mean(1).reshape(-1, shape[0]).mean(1))


def _windowed(x: Tensor, window: Tensor) -> Tensor:
    """The weighted means of x (B, 1, *space) in all windows within it."""
    for axis in range(2, x.ndim):
        x = (x.unfold(axis, len(window), 1) * window).sum(-1)
    return x


def _paired(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Both as rows of float64.  Raises `InputError` unless there is one of each for every picture."""
    x, y = rows(x, y)
    if len(x) != len(y):
        raise InputError(f"x has {len(x)} rows and y {len(y)}: give one of each for every picture")
    return x, y


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
