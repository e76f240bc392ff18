"""Distances by optimal transport: sliced and exact Wasserstein."""

import math

import torch
from torch import Tensor

from ..errors import InputError
from .estimate import Estimate, interval, jackknife, parts, rows, student

SLICES = 64  # projections at a time


def sliced_wasserstein(
    x: Tensor, y: Tensor, projections: int = 256, groups: int = 20, seed: int = 0, p: int = 2
) -> Estimate:
    r"""The sliced p-Wasserstein distance of x and y, over K random directions u:

        SW_p^p = 1/K \sum_u W_p^p(u.x, u.y)          W_p^p = \int_0^1 |F^{-1}(q) - G^{-1}(q)|^p dq, by sorting

    `plain` is the figure of these samples.  `value` is without its bias of order 1/n, by the jackknife on SW_p^p, zero
    where that is below zero; the interval holds the distance of the two populations, over all directions.

    Bonneel et al. (2015), Sliced and Radon Wasserstein barycenters of measures.

    Arguments:
        x, y: rows (n, *shape) and (m, *shape).
        projections: K.
        groups: of the jackknife.
        seed: of the directions and the groups.
        p: the order, from 1 up.

    Returns:
        An `Estimate`.

    Raises:
        InputError: rows of two shapes, fewer than groups, or not finite; p below 1.
    """
    _order(p)
    x, y = rows(x, y, groups)
    group_x, group_y = (parts(len(v), groups, seed + side).to(x.device) for side, v in enumerate((x, y)))
    generator = torch.Generator().manual_seed(seed)
    u = torch.randn(projections, x.shape[1], dtype=torch.float64, generator=generator)
    u = (u / u.norm(dim=1, keepdim=True)).to(x.device)
    found = torch.cat([_slices(x @ part.T, y @ part.T, group_x, group_y, groups, p) for part in u.split(SLICES)], 1)
    whole, left = found[0], found[1:].mean(1).cpu()
    value, stderr = jackknife(float(whole.mean()), left, correct=True)
    if x.shape[1] > 1 and projections > 1:  # other directions would have given another mean
        stderr = math.hypot(stderr, float(whole.std()) / math.sqrt(projections))
    return _rooted(
        value, stderr, groups, p, len(x), len(y), f"jackknife of {groups} groups, bias 1/n out", whole.mean()
    )


def _rooted(value, stderr, groups, p, n, m, method, plain) -> Estimate:
    """The p-th root of an Estimate of a p-th power; its interval is the root of the power's, cut at zero."""
    root = lambda power: max(0.0, float(power)) ** (1 / p)
    reach = student(groups - 1) * stderr
    # The slope of the root is without bound at zero: half the rooted interval there says what is known.
    low, high = root(value - reach), root(value + reach)
    return Estimate(root(value), (high - low) / (2 * student(groups - 1)), low, high, n, m, method, root(plain))


def _slices(a: Tensor, b: Tensor, group_a: Tensor, group_b: Tensor, groups: int, p: int) -> Tensor:
    """W_p^p of the columns of a (n, K) and b (m, K): (1 + G, K), of all rows and then without each group."""
    (a, order_a), (b, order_b) = a.sort(0), b.sort(0)
    labels_a, labels_b = group_a[order_a], group_b[order_b]
    out = [_sorted_power(a, b, p)]
    for g in range(groups):
        left = [v.T[(labels != g).T].reshape(v.shape[1], -1).T for v, labels in ((a, labels_a), (b, labels_b))]
        out.append(_sorted_power(*left, p))
    return torch.stack(out)


def _sorted_power(a: Tensor, b: Tensor, p: int) -> Tensor:
    """W_p^p of sorted columns (n, K) and (m, K): the quantile functions are steps, their joint ends whole numbers."""
    n, m = len(a), len(b)
    if n == m:
        return ((a - b).abs() ** p).mean(0)
    ends = torch.cat([torch.arange(1, n + 1) * m, torch.arange(1, m + 1) * n]).unique()
    width = torch.diff(ends, prepend=ends.new_zeros(1)).double() / (n * m)
    i, j = ((ends - 1) // m).to(a.device), ((ends - 1) // n).to(a.device)
    return (width.to(a.device)[:, None] * (a[i] - b[j]).abs() ** p).sum(0)


def wasserstein(x: Tensor, y: Tensor, p: int = 2, groups: int = 10, seed: int = 0) -> Estimate:
    r"""The p-Wasserstein distance of two sets of points x and y, exactly:

        W_p^p = min over couplings of \sum_ij \pi_ij |x_i - y_j|^p

    By sorting in one dimension; else by an assignment (scipy), for which the larger set is cut to as many rows as the
    smaller, at random, unless POT (`import ot`) is there.  In more than a few dimensions it is far above the distance
    of the populations (by about n^(-1/D)): the interval, by the jackknife, is for its expectation at these sizes.  The
    work grows as n^3.

    Villani (2009), Optimal transport: old and new; Fournier, Guillin (2015), arXiv 1312.2128.

    Arguments:
        x, y: (n, *shape) and (m, *shape).
        p: the order, from 1 up.
        groups: of the jackknife.
        seed: of the groups and the rows that are kept.

    Returns:
        An `Estimate`.

    Raises:
        InputError: rows of two shapes, fewer than groups, or not finite; a p below 1.
    """
    x, y = rows(x, y, groups)
    if x.shape[1] > 1 and len(x) != len(y) and _pot() is None:
        least = min(len(x), len(y))
        generator = torch.Generator().manual_seed(seed)
        x, y = (v[torch.randperm(len(v), generator=generator)[:least].to(v.device)] for v in (x, y))
    group_x, group_y = (parts(len(v), groups, seed).to(x.device) for v in (x, y))
    whole = _exact(x, y, p)
    left = torch.tensor([_exact(x[group_x != g], y[group_y != g], p) for g in range(groups)], dtype=torch.float64)
    value, stderr = jackknife(whole, left)
    return interval(value, stderr, groups - 1, len(x), len(y), f"jackknife of {groups} groups")


def _pot():
    try:
        import ot

        return ot
    except ImportError:
        return None


def _exact(x: Tensor, y: Tensor, p: int) -> float:
    _order(p)
    if x.shape[1] == 1:
        return float(_sorted_power(x.sort(0).values, y.sort(0).values, p)) ** (1 / p)
    cost = (torch.cdist(x, y) ** p).cpu().numpy()
    if len(x) == len(y):
        from scipy.optimize import linear_sum_assignment

        rows, columns = linear_sum_assignment(cost)
        return float(cost[rows, columns].mean()) ** (1 / p)
    weights = ([1 / len(x)] * len(x), [1 / len(y)] * len(y))
    return float(_pot().emd2(*weights, cost, numItermax=10**7)) ** (1 / p)


def _order(p: float) -> None:
    if p < 1:
        raise InputError(f"p={p!r}: the order of a Wasserstein distance is at least 1")
