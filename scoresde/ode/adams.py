"""Adams predictor-corrector with variable steps and variable order, each row its own."""

from dataclasses import dataclass
from functools import cache
from typing import Annotated, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..settings import Checked, Range
from .parts import Method, State, Trial, choose, log, on


@cache
def _gauss(n: int) -> tuple[np.ndarray, np.ndarray]:
    """1 - s at the Gauss-Legendre points s on (0, 1), (n, 1); the weights of a function, and of (s - 1) times it."""
    points, mass = np.polynomial.legendre.leggauss(n)
    rest = (1 - points) / 2
    return rest[:, None], np.stack([mass / 2, -rest * mass / 2])


def lagrange_integrals(nodes: Tensor, used: Tensor) -> Tensor:
    """int_0^1 l_i(s) ds of the Lagrange polynomials l_i through the nodes in use, (..., m); 0 for the other nodes.

    By Gauss-Legendre quadrature, exact for their degree.
    """
    m = nodes.shape[-1]
    rest, mass = (torch.from_numpy(a) for a in _gauss(m // 2 + 1))
    rest, mass = rest[:, 0], mass[0]
    pair = used.unsqueeze(-1) & used.unsqueeze(-2) & ~torch.eye(m, dtype=torch.bool)
    apart = torch.where(pair, nodes.unsqueeze(-1) - nodes.unsqueeze(-2), 1.0)
    ahead = 1 - rest - nodes.unsqueeze(-1)  # (..., m, points)
    factors = torch.where(pair.unsqueeze(-1), ahead.unsqueeze(-3) / apart.unsqueeze(-1), 1.0)
    return torch.where(used, factors.prod(-2) @ mass, 0.0)


class Past(NamedTuple):
    """What rows remember: the order `q` of the next step, how many values of f are `known` (b,), the times (n, b) of
    the latest n, the newest first, and their scaled differences phi_j (n, b, ...), for each part of the state."""

    q: np.ndarray
    known: np.ndarray
    times: np.ndarray
    phi: State


@dataclass(frozen=True)
class Adams(Checked, Method):
    """One evaluation a step: predict, evaluate, correct, with steps and orders that follow each row's error.

    With P_j the polynomial through f at t_n and the j - 1 times before it, and Q_j through those and the new point,

        y* = y_n + int P_q dt    f* = f(t_{n+1}, y*)    y_{n+1} = y_n + int Q_q dt    error = int (Q_q - Q_{q-1}) dt

    (f* is what later steps remember).  The integrals run from t_n to t_{n+1}, for any spacing of the times.  A row
    starts with q = 1; the next q is that of q - 1, q, q + 1 whose error allows the longest step, at most `top`.
    y_{n+1} has the local error of order q + 2; a rejected step costs one evaluation.

    In Newton's form, with phi_j = (t_n - t_{n-1}) .. (t_n - t_{n-j}) f[t_n, .., t_{n-j}] and, at t_{n+1}, phi'_j:

        phi'_0 = f*    phi'_{j+1} = phi'_j - b_j phi_j    b_j = prod_{k<j} (t_{n+1} - t_{n-k}) / (t_n - t_{n-k-1})
        int P_q = h sum_{j<q} b_j phi_j int r_j ds        int Q_q = h (f* + sum_{j<q} w_j phi'_{j+1} int (s - 1) r_j ds)

    for s from 0 to 1, r_j = prod_{k<j} (1 - (1 - s) w_k), w_k = h / (t_{n+1} - t_{n-k}).

    Shampine, Gordon (1975), Computer Solution of Ordinary Differential Equations (there with a second evaluation);
    Hairer, Norsett, Wanner (1993), Solving Ordinary Differential Equations I, section III.5 and III.7.
    """

    top: Annotated[int, Range(1, 16)] = 8
    cost: ClassVar[int] = 1
    safety: ClassVar[float] = 0.65
    damping: ClassVar[float] = 0.2
    first: ClassVar[float] = 0.003
    longest: ClassVar[float] = 10.0

    def start(self, t, k):
        one = np.ones(len(t), dtype=np.int64)
        return Past(one, one, t[None], tuple(p[None] for p in k))

    def trial(self, f, t, t_new, y, k, memory, rows, norm):
        q, known, times, phi = memory
        h, row, used = t_new - t, np.arange(len(q)), np.arange(len(times))[:, None] < q
        ratio, predict, correct = self._weights(times, t_new)
        star = [_times(ratio, p) for p in phi]
        y_star = tuple(p + _times(predict * used, a).sum(0) for p, a in zip(y, star, strict=True))
        k_new = f(t_new, y_star, rows)
        new = tuple(torch.cat([p[None], p - a.cumsum(0)]) for p, a in zip(k_new, star, strict=True))
        weights = np.concatenate([h[None], correct * used])
        y_new = tuple(p + _times(weights, a).sum(0) for p, a in zip(y, new, strict=True))

        # The error of order j is correct[j - 1] phi'_j.
        orders = q + np.arange(-1, 2)[:, None]
        j = np.minimum(np.maximum(orders - 1, 0), len(times) - 1)
        errors = norm(tuple(a[1:] for a in new), y_new)[j, row] * np.abs(correct)[j, row]
        possible = (orders >= 1) & (orders <= known)
        reach = np.where(possible, -log(errors) / (orders + 1), -np.inf)  # log of the step that is allowed
        best = reach.argmax(0)
        q_new = q + best - 1
        # While all of a short past is in use, no error of a higher order is known: try it.
        q_next = np.minimum(q_new + ((q == known) & (q_new == q)), self.top)
        times = np.concatenate([t_new[None], times])[: self.top]
        after = Past(q_next, np.minimum(known + 1, self.top), times, tuple(a[: self.top] for a in new))
        return Trial(y_new, k_new, errors[1], q + 1, errors[best, row], q_new + 1, after)

    @staticmethod
    def _weights(times: np.ndarray, t_new: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """b_j, h int r_j ds and h w_j int (s - 1) r_j ds, each (n, b)."""
        n, h, apart = len(times), t_new - times[0], t_new - times
        w, (rest, mass) = h / apart, _gauss(n // 2 + 1)
        ratio, r = np.ones((n, len(h))), np.ones((n, len(rest), len(h)))
        ratio[1:] = apart[:-1] / (times[0] - times[1:])
        r[1:] = 1 - w[:-1, None] * rest
        for j in range(1, n):  # eight times faster than numpy's cumprod
            ratio[j] *= ratio[j - 1]
            r[j] *= r[j - 1]
        whole = h * (mass @ r)
        return ratio, whole[:, 0], w * whole[:, 1]

    def keep(self, memory, left):
        q, known, times, phi = memory
        rows = on(phi[0].device, left)
        return Past(q[left], known[left], times[:, left], tuple(p[:, rows] for p in phi))

    def merge(self, ok, new, old):
        times, phi = old.times, old.phi
        if len(times) < len(new.times):  # the oldest of the rows that stay is nothing yet
            times = np.concatenate([times, 2 * times[-1:] - new.times[:1]])
            phi = tuple(torch.cat([p, torch.zeros_like(p[:1])]) for p in phi)
        q, known, times = (np.where(ok, *pair) for pair in zip(new[:3], (old.q, old.known, times), strict=True))
        return Past(q, known, times, choose(ok, new.phi, phi, axis=1))


def _times(weights: np.ndarray, parts: Tensor) -> Tensor:
    """weights (n, b) times parts (n, b, ...)."""
    return on(parts.device, weights).to(parts.dtype).reshape(*weights.shape, *[1] * (parts.ndim - 2)) * parts
