"""A figure with its uncertainty, and the intervals that the metrics share."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InputError

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A figure of the samples x against the reference y, with its uncertainty.

    Arguments:
        value: the figure.
        stderr: its standard error.
        low, high: its 95 % interval.
        n, m: the rows of x and of y.
        method: names the interval.
        plain: the usual plug-in figure where `value` is corrected for its bias, else the same.
        p_value: that of the hypothesis that x and y have one distribution, where the metric tests it.
    """

    value: float
    stderr: float
    low: float
    high: float
    n: int
    m: int
    method: str
    plain: float
    p_value: float | None = None

    def __contains__(self, truth: float) -> bool:
        return self.low <= truth <= self.high

    def __str__(self) -> str:
        tested = "" if self.p_value is None else f", p {self.p_value:.2g}"
        words = f"{self.value:.4g} +- {self.stderr:.2g} (95 % {self.low:.4g} to {self.high:.4g}{tested})"
        return f"{words}, n {self.n} against {self.m}"


def rows(x: Tensor, y: Tensor, least: int = 2) -> tuple[Tensor, Tensor]:
    """x (n, *shape) and y (m, *shape) as float64 matrices (n, D) and (m, D).

    Raises `InputError` if they have other shapes than each other, fewer than `least` rows, or NaN or infinite values.
    """
    pair = []
    for name, rows in (("x", x), ("y", y)):
        if not isinstance(rows, Tensor) or rows.ndim < 1:
            raise InputError(f"{name} is a {type(rows).__name__}: give a tensor (n, *shape)")
        flat = rows.detach().double().reshape(len(rows), -1) if len(rows) else rows.double()
        if len(flat) < least:
            raise InputError(f"{name} has {len(flat)} rows: this metric needs at least {least}")
        if not bool(torch.isfinite(flat).all()):
            raise InputError(f"{name} has NaN or infinite values: a distance to them is not defined")
        pair.append(flat)
    if x.shape[1:] != y.shape[1:]:
        raise InputError(f"x has rows of shape {tuple(x.shape[1:])} and y of {tuple(y.shape[1:])}: give the same")
    return pair[0], pair[1].to(pair[0].device)


def parts(n: int, groups: int, seed: int = 0) -> Tensor:
    """A group 0..groups-1 for each of n rows, drawn at random, of sizes that differ by at most one: (n,)."""
    if not isinstance(groups, int) or groups < 3:
        raise InputError(f"groups={groups!r}: give a whole number, at least 3")
    if n < groups:
        raise InputError(f"{n} rows cannot be dealt to groups={groups}: give fewer groups, or more rows")
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    group = torch.empty(n, dtype=torch.long)
    group[order] = torch.arange(n) % groups
    return group


def jackknife(whole: float, left: Tensor, correct: bool = False) -> tuple[float, float]:
    r"""The value and the standard error from figures `left` (G,), each without one of G groups of x and y.

        var = (G - 1) / G  \sum_g (left_g - mean left)^2        corrected value = G whole - (G - 1) mean left

    The groups of x and y are left out in pairs, which are as independent as the rows.  In expectation the variance is
    not too small for any symmetric figure, smooth or not (Efron and Stein, 1981, The jackknife estimate of variance).
    The correction takes the bias of order 1/n out: it extrapolates from the sizes n (1 - 1/G) and n to infinity.
    """
    count, mean = len(left), float(left.mean())
    spread = math.sqrt((count - 1) / count * float(((left - mean) ** 2).sum()))
    return (count * whole - (count - 1) * mean if correct else whole), spread


def student(degrees: float) -> float:
    """The number of standard errors to each side that hold 95 % of Student's distribution."""
    from scipy.special import stdtrit  # a quarter of a second, which `import scoresde` need not wait for

    return float(stdtrit(degrees, 0.5 + LEVEL / 2))


def interval(value: float, stderr: float, degrees: float, n: int, m: int, method: str, **more) -> Estimate:
    """The Estimate with value -+ t stderr, where t is of `degrees` of freedom."""
    reach = student(degrees) * stderr
    return Estimate(value, stderr, value - reach, value + reach, n, m, method, more.pop("plain", value), **more)


def wilson(p: float, n: float, z: float) -> tuple[float, float]:
    """Wilson's score interval (1927) of a proportion p of n independent trials, which is right near 0 and 1 too.

    centre = (p + z^2 / 2n) / (1 + z^2 / n)      half width = z / (1 + z^2 / n) sqrt(p (1 - p) / n + z^2 / 4n^2)
    """
    scale = 1 + z**2 / n
    centre, half = (p + z**2 / (2 * n)) / scale, z / scale * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half))


def proportion(p: float, stderr: float, degrees: float, n: int, m: int, trials: float, method: str, **more) -> Estimate:
    """The Estimate of a proportion by Wilson's interval at the effective number of trials q (1 - q) / stderr^2.

    That number is at most `trials`, and q = (p trials + 2) / (trials + 4), so that the interval is neither a point nor
    everything where p is 0 or 1 in this sample (q is that of Agresti and Coull, 1998).
    """
    q = (p * trials + 2) / (trials + 4)
    effective = min(trials, q * (1 - q) / stderr**2) if stderr > 0 else trials
    low, high = wilson(p, max(effective, 1.0), student(degrees))
    return Estimate(p, stderr, low, high, n, m, method, p, **more)
