"""Figures by nearest neighbours: precision, recall, density, coverage, memorisation, copies."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ..errors import InputError
from .estimate import Estimate, interval, jackknife, parts, proportion, rows, student, wilson

CHUNK = 2**23  # entries of a block of distances: 64 MB in float64
SPARE = 16  # neighbours kept beyond k, for those that are left out


def neighbours(x: Tensor, y: Tensor, k: int = 5, groups: int = 20, seed: int = 0) -> dict[str, Estimate]:
    r"""Precision, recall, density and coverage of samples x of the distribution of y.

    With r(y_j) the distance of y_j to its k-th nearest other row of y, and r(x_i) likewise among x:

        precision  the share of x with |x_i - y_j| <= r(y_j) for some j        density   \sum_ij [that] / (k n)
        recall     the share of y with |y_j - x_i| <= r(x_i) for some i        coverage  the share of y_j with some
                                                                               x_i within r(y_j)

    Each is an estimate of its own expectation at these n, m and k, and moves with them: compare at the same sizes only.
    Standard errors are by the jackknife over pairs of groups of x and y, neighbours found anew; shares have Wilson's
    interval at the effective number of trials, density Student's.

    Kynkaanniemi et al. (2019), arXiv 1904.06991 (precision, recall); Naeem et al. (2020), arXiv 2002.09797.

    Arguments:
        x: the samples (n, *shape).
        y: the data (m, *shape).
        k: which neighbour.
        groups: of the jackknife.
        seed: of the groups.

    Returns:
        An `Estimate` by name.

    Raises:
        InputError: a k that is no positive whole number; rows of two shapes, too few, or not finite.
    """
    if not isinstance(k, int) or k < 1:
        raise InputError(f"k={k!r}: give a positive whole number of neighbours")
    x, y = rows(x, y, max(k + 2, groups))
    n, m = len(x), len(y)
    centre = y.mean(0)  # which keeps the squares small, and so the distances exact
    x, y = x - centre, y - centre
    group_x, group_y = (parts(len(v), groups, seed + side).to(x.device) for side, v in enumerate((x, y)))
    radii_x, radii_y = _radii(x, k, group_x, groups), _radii(y, k, group_y, groups)
    inside = _inside(x, y, radii_y)
    covered = _nearest(y, x, group_x, groups) <= radii_y
    found = {
        "precision": _share(inside > 0, group_x),
        "recall": _share(_inside(y, x, radii_x) > 0, group_y),
        "density": _share(inside, group_x) / k,
        "coverage": _share(covered, group_y),
    }
    method = f"jackknife of {groups} groups"
    out = {}
    for name, figures in found.items():
        value, stderr = jackknife(float(figures[0]), figures[1:])
        if name == "density":
            out[name] = interval(value, stderr, groups - 1, n, m, method)
        else:
            trials = n if name == "precision" else m
            out[name] = proportion(value, stderr, groups - 1, n, m, trials, f"{method}, Wilson")
    return out


def precision(x: Tensor, y: Tensor, k: int = 5, groups: int = 20, seed: int = 0) -> Estimate:
    """The share of the samples x that lie among the data y; see `neighbours`.

    Arguments:
        x, y, k, groups, seed: as in `neighbours`.

    Returns:
        An `Estimate`.
    """
    return neighbours(x, y, k, groups, seed)["precision"]


def recall(x: Tensor, y: Tensor, k: int = 5, groups: int = 20, seed: int = 0) -> Estimate:
    """The share of the data y that lie among the samples x; see `neighbours`.

    Arguments:
        x, y, k, groups, seed: as in `neighbours`.

    Returns:
        An `Estimate`.
    """
    return neighbours(x, y, k, groups, seed)["recall"]


def density(x: Tensor, y: Tensor, k: int = 5, groups: int = 20, seed: int = 0) -> Estimate:
    """How densely the samples x lie among the data y, 1 where they follow it; see `neighbours`.

    Arguments:
        x, y, k, groups, seed: as in `neighbours`.

    Returns:
        An `Estimate`.
    """
    return neighbours(x, y, k, groups, seed)["density"]


def coverage(x: Tensor, y: Tensor, k: int = 5, groups: int = 20, seed: int = 0) -> Estimate:
    """The share of the data y with a sample of x close by; see `neighbours`.

    Arguments:
        x, y, k, groups, seed: as in `neighbours`.

    Returns:
        An `Estimate`.
    """
    return neighbours(x, y, k, groups, seed)["coverage"]


def blocks(a: Tensor, b: Tensor) -> Iterator[tuple[int, Tensor]]:
    """(start, distances) of the rows start, start + 1, ... of a to all of b, in blocks of bounded memory."""
    size = max(1, CHUNK // len(b))
    for start in range(0, len(a), size):
        yield start, torch.cdist(a[start : start + size], b)


def _share(hits: Tensor, group: Tensor) -> Tensor:
    """The mean of hits (1 + G, n) over the rows: of all, and then without each group."""
    kept = torch.ones_like(hits, dtype=torch.float64)
    for g in range(len(hits) - 1):
        kept[1 + g, group == g] = 0
    return ((hits * kept).sum(1) / kept.sum(1)).cpu()


def _radii(y: Tensor, k: int, group: Tensor, groups: int) -> Tensor:
    """The distance of each row to its k-th nearest other one, (1 + G, m): of all rows, then without each group.

    Rows that are left out have -1, within which nothing lies.
    """
    count = min(k + SPARE, len(y) - 1)
    near, who = [], []
    for start, distance in blocks(y, y):
        index = torch.arange(len(distance), device=y.device)
        distance[index, start + index] = math.inf
        found = distance.topk(count, largest=False)
        near.append(found.values)
        who.append(group[found.indices])
    near, who = torch.cat(near), torch.cat(who)
    radii = [near[:, k - 1]]
    for g in range(groups):
        kept = who != g
        place = (kept.cumsum(1) == k).double().argmax(1)  # of the k-th that is kept; there are SPARE to choose from
        lacking = kept.sum(1) < k
        place[lacking] = count - 1
        radius = near.gather(1, place[:, None])[:, 0]
        radii.append(torch.where(group == g, -1.0, radius))
    return torch.stack(radii)


def _inside(x: Tensor, y: Tensor, radii: Tensor) -> Tensor:
    """In how many balls around y, of radii (1 + G, m), each row of x lies: (1 + G, n)."""
    out = x.new_zeros(len(radii), len(x))
    for start, distance in blocks(x, y):
        for g, radius in enumerate(radii):
            out[g, start : start + len(distance)] = (distance <= radius).sum(1).double()
    return out


def _nearest(y: Tensor, x: Tensor, group: Tensor, groups: int) -> Tensor:
    """The distance of each row of y to its nearest row of x, of all, then without each group: (1 + G, m)."""
    least = y.new_empty(groups, len(y))
    for start, distance in blocks(y, x):
        for g in range(groups):
            least[g, start : start + len(distance)] = distance[:, group == g].amin(1)
    first = least.topk(2, 0, largest=False)
    others = torch.where(torch.arange(groups, device=y.device)[:, None] == first.indices[0], *first.values.flip(0))
    return torch.cat([first.values[:1], others])


def nearest(x: Tensor, train: Tensor) -> Tensor:
    """The distances (n, 2) of each row of x (n, *shape) to the nearest and the second nearest of `train`, float64.

    Raises `InputError` for rows of two shapes, not finite, or fewer than 2 of train.
    """
    x, train = rows(x, train, 1)
    if len(train) < 2:
        raise InputError("train has 1 row: the second nearest needs at least 2")
    return torch.cat([d.topk(2, largest=False).values for _, d in blocks(x, train)])


def memorisation(x: Tensor, y: Tensor) -> Estimate:
    r"""The chance that a sample is nearer to the training data than held-out data is: 1/2 where it is as far.

        A = \sum_ij ([a_i < b_j] + [a_i = b_j] / 2) / nm

    x (n,) and y (m,) are the distances a of the samples and b of held-out data to their nearest training example, as
    `nearest(..)[:, 0]` gives them.  Towards 1 the samples repeat training data; below 1/2 they are farther than real
    ones.  The training data is taken as given.  `p_value` is Mann and Whitney's, of both sides; the interval Wilson's
    with the variance of DeLong et al. (1988).

    Meehan, Chaudhuri, Dasgupta (2020), arXiv 2004.05675.
    """
    a, b = (v.squeeze(1) for v in rows(x, y, 2))
    n, m = len(a), len(b)
    of_a, of_b = _above(a, b), 1 - _above(b, a)
    value = float(of_a.mean())
    stderr = math.sqrt(float(of_a.var() / n + of_b.var() / m))
    method = "DeLong, Wilson"
    more = {"p_value": mann_whitney(value, a, b)}
    return proportion(value, stderr, min(n, m) - 1, n, m, min(n, m), method, **more)


def _above(a: Tensor, b: Tensor) -> Tensor:
    """For each of a the share of b that is larger, an equal one for a half."""
    b = b.sort().values
    below, upto = torch.searchsorted(b, a.contiguous()), torch.searchsorted(b, a.contiguous(), right=True)
    return 1 - (below + upto).double() / (2 * len(b))


def mann_whitney(auc: float, a: Tensor, b: Tensor, sides: int = 2) -> float:
    """The p-value of an AUC of a (n,) against b (m,) if both have one distribution; normal, corrected for ties."""
    n, m = len(a), len(b)
    ties = torch.cat([a, b]).unique(return_counts=True)[1].double()
    variance = ((n + m + 1) - float((ties**3 - ties).sum()) / ((n + m) * (n + m - 1))) / (12 * n * m)
    if variance <= 0:
        return 1.0
    z = (auc - 0.5) / math.sqrt(variance)
    return math.erfc(abs(z) / math.sqrt(2)) if sides == 2 else math.erfc(z / math.sqrt(2)) / 2


def copies(x: Tensor, y: Tensor, ratio: float = 1 / 3) -> Estimate:
    """The share of x that is less than `ratio` times as far from its nearest training example as from its second.

    Wilson's interval; the criterion of Yoon et al. (2023) and of Gu et al. (2023), arXiv 2310.02664.

    Arguments:
        x: `nearest` of the samples (n, 2).
        y: that of held-out data (m, 2), whose own share is in `plain`.
        ratio: from 0 to 1.

    Returns:
        An `Estimate`.
    """
    n, m = len(x), len(y)
    share, real = (float((v[:, 0] < ratio * v[:, 1]).double().mean()) for v in (x, y))
    low, high = wilson(share, n, student(n - 1))
    return Estimate(share, math.sqrt(share * (1 - share) / n), low, high, n, m, "Wilson", plain=real)
