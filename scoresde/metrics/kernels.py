"""Distances by a kernel, without bias: MMD, KID, the energy distance."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InputError
from .estimate import Estimate, interval, rows

Kernel = Callable[[Tensor, Tensor], Tensor]
CHUNK = 2**24  # entries of a block of the kernel matrix: 128 MB in float64


@dataclass(frozen=True)
class Polynomial:
    """k(x, y) = (gamma x.y + coef)^degree: KID's kernel with degree 3 and coef 1.

    Arguments:
        degree: a whole number.
        gamma: None: 1/D.
        coef: a number.
    """

    degree: int = 3
    gamma: float | None = None
    coef: float = 1.0

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """The matrix (n, m) of x (n, D) and y (m, D)."""
        gamma = 1 / x.shape[1] if self.gamma is None else self.gamma
        return (gamma * (x @ y.T) + self.coef) ** self.degree


@dataclass(frozen=True)
class RBF:
    """k(x, y) = exp(-|x - y|^2 / 2 s^2) of the `bandwidth` s."""

    bandwidth: float

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """The matrix (n, m) of x (n, D) and y (m, D)."""
        return torch.exp(-(torch.cdist(x, y) ** 2) / (2 * self.bandwidth**2))


def median_rbf(y: Tensor, most: int = 2000) -> RBF:
    """The RBF kernel whose bandwidth is the median distance of two rows of y (m, *shape), of the first `most` rows.

    Of the reference alone, so that all samplers are measured by one kernel.  Raises `InputError` where that is 0.

    Gretton et al. (2012), A kernel two-sample test, section 8.
    """
    y = y[:most].double().flatten(1)
    bandwidth = float(torch.nn.functional.pdist(y).median()) if len(y) > 1 else 0.0
    if not bandwidth > 0:
        raise InputError("median_rbf: more than half of the distances in y are zero; give RBF(bandwidth) yourself")
    return RBF(bandwidth)


def mmd(x: Tensor, y: Tensor, kernel: Kernel | None = None) -> Estimate:
    r"""The squared maximum mean discrepancy of x and y, without bias, so it can be negative:

        \sum_{i != j} k(x_i, x_j) / n(n-1) + \sum_{i != j} k(y_i, y_j) / m(m-1) - 2 \sum_{ij} k(x_i, y_j) / nm

    The standard error is that of the jackknife, each row of x and of y left out; where both have one distribution it is
    too large, by up to sqrt 2.

    Gretton et al. (2012), A kernel two-sample test, lemma 6.

    Arguments:
        x, y: rows (n, *shape) and (m, *shape), 3 at least.
        kernel: kernel(a, b) gives the matrix (len(a), len(b)); None: `median_rbf(y)`.

    Returns:
        An `Estimate`.

    Raises:
        InputError: rows of two shapes, too few, or not finite; more than half of y alike, without a kernel.
    """
    kernel = median_rbf(y) if kernel is None else kernel
    x, y = rows(x, y, 3)
    n, m = len(x), len(y)
    xx, xy, yx, yy = _sums(kernel, x, y)
    own_x, own_y, across = xx.sum() / (n * (n - 1)), yy.sum() / (m * (m - 1)), xy.sum() / (n * m)
    value = own_x + own_y - 2 * across
    left_x = _left(xx) + own_y - 2 * (xy.sum() - xy) / ((n - 1) * m)
    left_y = own_x + _left(yy) - 2 * (xy.sum() - yx) / (n * (m - 1))
    variance = (n - 1) / n * ((left_x - left_x.mean()) ** 2).sum() + (m - 1) / m * ((left_y - left_y.mean()) ** 2).sum()
    return interval(float(value), math.sqrt(float(variance)), min(n, m) - 1, n, m, "jackknife")


def _left(sums: Tensor) -> Tensor:
    """The mean of k over pairs without row i, from the sums (n,) of each row with the others."""
    n = len(sums)
    return (sums.sum() - 2 * sums) / ((n - 1) * (n - 2))


def _sums(kernel: Kernel, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """For each row the sum of k with the others: of x in x (n,), x in y (n,), y in x (m,), y in y (m,)."""
    sums = [x.new_zeros(len(x)), x.new_zeros(len(x)), x.new_zeros(len(y)), x.new_zeros(len(y))]
    for place, a, b in ((0, x, x), (1, x, y), (3, y, y)):
        size = max(1, CHUNK // len(b))
        for start in range(0, len(a), size):
            block = kernel(a[start : start + size], b)
            if a is b:
                index = torch.arange(len(block), device=x.device)
                block[index, start + index] = 0
            else:
                sums[2] += block.sum(0)
            sums[place][start : start + size] = block.sum(1)
    return sums[0], sums[1], sums[2], sums[3]


def kid(x: Tensor, y: Tensor) -> Estimate:
    """The kernel (inception) distance of x (n, *shape) and y (m, *shape), on all rows at once.

    It is `mmd` with k(x, y) = (x.y / D + 1)^3.

    Binkowski et al. (2018), Demystifying MMD GANs, arXiv 1801.01401.
    """
    return mmd(x, y, Polynomial())


def energy(x: Tensor, y: Tensor) -> Estimate:
    """The energy distance 2 E|x - y| - E|x - x'| - E|y - y'| of x (n, *shape) and y (m, *shape), without bias.

    It is `mmd` with k(x, y) = -|x - y|.

    Szekely and Rizzo (2013), Energy statistics: a class of statistics based on distances.
    """
    return mmd(x, y, lambda a, b: -torch.cdist(a, b))
