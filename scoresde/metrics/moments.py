"""The Frechet distance of two Gaussians that have the means and covariances of the samples and of the reference."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InputError
from .estimate import Estimate, interval, jackknife, parts, rows


@dataclass(frozen=True)
class Moments:
    """Counts, means and sums of squared deviations, in float64, of rows in groups.

    Rows come in batches and moments of other processes are merged, in any order, to the same result within rounding:

        n = n_1 + n_2      mean = mean_1 + d n_2 / n      M = M_1 + M_2 + d d^T n_1 n_2 / n      d = mean_2 - mean_1

    Chan, Golub, LeVeque (1979), Updating formulae and a pairwise algorithm for computing sample variances.

    Arguments:
        count: n (G,).
        mean: (G, D).
        square: M (G, D, D).
    """

    count: Tensor
    mean: Tensor
    square: Tensor

    @classmethod
    def of(cls, x: Tensor, group: Tensor | None = None, groups: int = 1) -> Moments:
        """The moments of rows.

        Arguments:
            x: (n, *shape).
            group: the number (n,) of each row's group; None: all are in the first.
            groups: how many there are.

        Returns:
            A `Moments` of the flattened rows.
        """
        x = x.detach().double().flatten(1)
        group = torch.zeros(len(x), dtype=torch.long) if group is None else group
        count, mean, square = [], [], []
        for g in range(groups):
            own = x[group.to(x.device) == g]
            count.append(float(len(own)))
            mean.append(own.mean(0) if len(own) else x.new_zeros(x.shape[1]))
            off = own - mean[-1]
            square.append(off.T @ off)
        return cls(x.new_tensor(count), torch.stack(mean), torch.stack(square))

    def merge(self, other: Moments) -> Moments:
        """The moments of the rows of both, this and the other, by group.  Raises `InputError` for other shapes."""
        if self.mean.shape != other.mean.shape:
            raise InputError(f"moments {tuple(self.mean.shape)} and {tuple(other.mean.shape)} (groups, D) do not merge")
        count, d = self.count + other.count, other.mean - self.mean
        share = (other.count / count.clamp(min=1))[:, None]
        outer = torch.einsum("gi,gj->gij", d, d) * (self.count[:, None] * share)[..., None]
        return Moments(count, self.mean + d * share, self.square + other.square + outer)

    def total(self, without: int | None = None) -> Moments:
        """The moments of all groups together, or of all `without` one, by its number: a single group."""
        kept = [g for g in range(len(self.count)) if g != without]
        count = self.count[kept].sum()
        mean = (self.count[kept, None] * self.mean[kept]).sum(0) / count
        d = self.mean[kept] - mean
        square = self.square[kept].sum(0) + torch.einsum("g,gi,gj->ij", self.count[kept], d, d)
        return Moments(count[None], mean[None], square[None])

    def gaussian(self) -> tuple[Tensor, Tensor]:
        """The mean (D,) and the unbiased covariance (D, D) of all rows.  Raises `InputError` for fewer than 2 rows."""
        whole = self.total()
        if float(whole.count) < 2:
            raise InputError(f"moments of {int(whole.count)} rows: a covariance needs at least 2")
        return whole.mean[0], whole.square[0] / (whole.count[0] - 1)


def frechet_gaussians(mean_x: Tensor, cov_x: Tensor, mean_y: Tensor, cov_y: Tensor) -> float:
    """The squared 2-Wasserstein distance of two Gaussians, in float64:

        |m_x - m_y|^2 + tr C_x + tr C_y - 2 tr (C_x C_y)^{1/2}

    With C = A A^T by eigenvalues, A without the directions that have none, the last trace is the sum of the singular
    values of A_x^T A_y: no root of rounding errors is taken, and covariances of n < D rows are exact.

    Dowson and Landau (1982), The Frechet distance between multivariate normal distributions.

    Arguments:
        mean_x, mean_y: (D,).
        cov_x, cov_y: (D, D).

    Returns:
        A number from 0 on.
    """
    root_x, root_y = (_root(c.double()) for c in (cov_x, cov_y))
    shift = float(((mean_x - mean_y).double() ** 2).sum())
    overlap = float(torch.linalg.svdvals(root_x.T @ root_y).sum()) if root_x.shape[1] and root_y.shape[1] else 0.0
    return max(0.0, shift + float(cov_x.trace() + cov_y.trace()) - 2 * overlap)


def _root(cov: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh((cov + cov.T) / 2)
    kept = values > len(values) * torch.finfo(values.dtype).eps * values[-1].clamp(min=0)
    return vectors[:, kept] * values[kept].sqrt()


def frechet(x: Tensor | Moments, y: Tensor | Moments, groups: int = 20, seed: int = 0) -> Estimate:
    """The Frechet distance of x and y, or of their `Moments` in groups; FID on Inception.

    `plain` is the formula of `frechet_gaussians` at these n and m, which is too large by about c/n.  `value` is that
    less its bias of order 1/n, by the jackknife over pairs of groups; Student's interval is around it, and holds the
    distance of the two populations.  It can be below zero where they are equal.  With fewer rows than D much of the
    bias stays (bias of higher orders in 1/n), and the interval is too high: take more rows, or fewer features.

    Heusel et al. (2017), arXiv 1706.08500; the bias: Chong and Forsyth (2020), arXiv 1911.07023.

    Arguments:
        x, y: rows (n, *shape) and (m, *shape), or their `Moments`.
        groups: of the jackknife, 3 at least, into which rows are dealt.
        seed: of the dealing.

    Returns:
        An `Estimate`.

    Raises:
        InputError: rows of two shapes, too few, or not finite; moments of other groups, or with an empty one.
    """
    if isinstance(x, Tensor) and isinstance(y, Tensor):
        x, y = rows(x, y, groups)
    x, y = (
        Moments.of(part, parts(len(part), groups, seed + side), groups) if isinstance(part, Tensor) else part
        for side, part in enumerate((x, y))
    )
    count = len(x.count)
    if len(y.count) != count or count < 3 or x.mean.shape[1] != y.mean.shape[1]:
        shapes = f"{tuple(x.mean.shape)} and {tuple(y.mean.shape)}"
        raise InputError(f"moments (groups, D) are {shapes}: give the same, of at least 3 groups")
    if float(x.count.min()) < 1 or float(y.count.min()) < 1:
        raise InputError("moments with an empty group: give fewer groups, or more rows")
    whole = frechet_gaussians(*x.gaussian(), *y.gaussian())
    left = [frechet_gaussians(*x.total(g).gaussian(), *y.total(g).gaussian()) for g in range(count)]
    value, stderr = jackknife(whole, torch.tensor(left, dtype=torch.float64), correct=True)
    n, m = int(x.count.sum()), int(y.count.sum())
    return interval(value, stderr, count - 1, n, m, f"jackknife of {count} groups, bias 1/n out", plain=whole)
