"""Averages over the steps by a power of the step, and how any is made of others.

theta_g(T) = sum_t w_t theta_t,    w_t = (t / T)^(g+1) - ((t - 1) / T)^(g+1)

gives the latest weights the most, and the more so the larger g is; its width is told by
sigma_rel = ((g+1) / ((g+2)^2 (g+3)))^(1/2), the standard deviation of t / T under w.

Karras et al. (2023), arXiv 2312.02696, section 3 and appendix C.
"""

import math
from collections.abc import Callable, Sequence
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from ..settings import Range

Width = Annotated[float, Range(0.01, 0.28)]
CHUNK = 8192  # steps
Profile = tuple[int, float]  # the step that it ends at, its gamma


def gamma_of(sigma_rel: float) -> float:
    """The power of a width, the largest root of (g+2)^2 (g+3) = (g+1) / sigma_rel^2; it falls to 0 at 12^(-1/2)."""
    a = sigma_rel**-2
    return float(np.roots([1, 7, 16 - a, 12 - a]).real.max())


def sigma_of(gamma: float) -> float:
    """The width sigma_rel of a power."""
    return math.sqrt((gamma + 1) / ((gamma + 2) ** 2 * (gamma + 3)))


def decay(gamma: float) -> Callable[[int], float]:
    """(1 - 1/step)^(gamma+1): by this share of itself an average goes on, to have the weights w."""
    return lambda step: (1 - 1 / step) ** (gamma + 1)


def profile(steps: Tensor, end: int, gamma: float) -> Tensor:
    """w_t (n,) of the steps (n,) in an average that ends at the step `end`; 0 beyond."""
    to = lambda t: (t.double() / end).clamp(0, 1) ** (gamma + 1)
    return to(steps) - to(steps - 1)


def coefficients(kept: Sequence[Profile], wanted: Profile) -> tuple[Tensor, float]:
    """How an average is made of those that were kept: x (k,) with the least |sum_k x_k w^k - w|^2 over all steps, of
    those that sum to 1, as w does: what is left then acts on how far the weights move, and not on the weights.

    Arguments:
        kept: the profiles of the averages that there are.
        wanted: that of the one to make.

    Returns:
        x, and |sum_k x_k w^k - w| / |w|.
    """
    last, columns = max(step for step, _ in (*kept, wanted)), (*kept, wanted)
    triangle = torch.zeros(0, len(columns), dtype=torch.float64)
    for first in range(1, last + 1, CHUNK):  # of all steps at once, the triangle of a QR decomposition
        steps = torch.arange(first, min(first + CHUNK, last + 1))
        rows = torch.stack([profile(steps, *column) for column in columns], 1)
        triangle = torch.linalg.qr(torch.cat([triangle, rows]), mode="r").R
    columns, goal = triangle[:, :-1], triangle[:, -1:]
    a, b = columns[:, :-1] - columns[:, -1:], goal - columns[:, -1:]
    x = torch.linalg.lstsq(a, b, rcond=1e-6, driver="gelsd").solution
    x = torch.cat([x, 1 - x.sum(0, keepdim=True)])
    return x[:, 0], float((columns @ x - goal).norm() / goal.norm())
