"""Adams predictor-corrector with variable steps and variable order, each row its own."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, ClassVar

import numpy as np
import torch
from torch import Tensor

from ..settings import Checked, Range
from .parts import Method, State, Trial


@lru_cache
def _gauss(n: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    points, mass = np.polynomial.legendre.leggauss(n)
    return tuple(torch.as_tensor(a, dtype=dtype, device=device) for a in ((points + 1) / 2, mass / 2))


def lagrange_integrals(nodes: Tensor, used: Tensor) -> Tensor:
    """int_0^1 l_i(s) ds of the Lagrange polynomials l_i through the nodes in use, (..., m); 0 for the other nodes.

    By Gauss-Legendre quadrature, exact for their degree.
    """
    m = nodes.shape[-1]
    points, mass = _gauss(m // 2 + 1, nodes.dtype, nodes.device)
    others = used.unsqueeze(-2) & ~torch.eye(m, dtype=torch.bool, device=nodes.device)
    pair = used.unsqueeze(-1) & others
    apart = torch.where(pair, nodes.unsqueeze(-1) - nodes.unsqueeze(-2), 1.0)
    ahead = points - nodes.unsqueeze(-1)  # (..., m, points)
    factors = torch.where(pair.unsqueeze(-1), ahead.unsqueeze(-3) / apart.unsqueeze(-1), 1.0)
    return torch.where(used, factors.prod(-2) @ mass, 0.0)


def _weigh(h: Tensor, weights: Tensor, past: Tensor) -> Tensor:
    """h sum_i w_i f_i: h (b,), weights (b, m), past (b, m, ...)."""
    weights = (h[:, None] * weights).to(past.dtype)
    return torch.bmm(weights[:, None], past.flatten(2)).reshape(past[:, 0].shape)


@dataclass(frozen=True)
class Adams(Checked, Method):
    """One evaluation a step: with P_j the polynomial through f at t_n and the j - 1 times before it, and Q_j through
    those and the new point,

        y* = y_n + int P_q dt    f* = f(t_{n+1}, y*)    y_{n+1} = y_n + int Q_q dt    error = int (Q_q - Q_{q-1}) dt

    (predict, evaluate, correct: f* is what later steps remember).  The integrals run from t_n to t_{n+1}, for any
    spacing of the times.  A row starts with q = 1; the next q is that of q - 1, q, q + 1 whose error allows the longest
    step, at most `top`.  y_{n+1} has the local error of order q + 2; a rejected step costs one evaluation.

    Shampine, Gordon (1975), Computer Solution of Ordinary Differential Equations (there with a second evaluation);
    Hairer, Norsett, Wanner (1993), Solving Ordinary Differential Equations I, section III.5 and III.7.
    """

    top: Annotated[int, Range(1, 16)] = 8
    cost: ClassVar[int] = 1
    safety: ClassVar[float] = 0.65
    damping: ClassVar[float] = 0.2
    first: ClassVar[float] = 0.003
    longest: ClassVar[float] = 10.0

    def start(self, t: Tensor, k: State) -> State:
        times = t.new_zeros(len(t), self.top - 1)
        q = torch.ones_like(t, dtype=torch.long)
        past = (p.new_zeros(len(t), self.top - 1, *p.shape[1:]) for p in k)
        return (q, q, times, *past)

    def trial(self, f, t, t_new, y, k, memory, rows, norm):
        q, known, times, *past = memory  # `known` times, t among them
        h = t_new - t
        times = torch.cat([t[:, None], times], 1)
        past = [torch.cat([new[:, None], old], 1) for new, old in zip(k, past, strict=True)]
        nodes = (times - t[:, None]) / h[:, None]
        index = torch.arange(self.top, device=t.device)
        predict = lagrange_integrals(nodes, index < q[:, None])
        k_new = f(t_new, tuple(p + _weigh(h, predict, m) for p, m in zip(y, past, strict=True)), rows)

        every = [torch.cat([new[:, None], m], 1) for new, m in zip(k_new, past, strict=True)]
        correct = self._correctors(nodes, q)
        y_new = tuple(p + _weigh(h, correct[:, 2], m) for p, m in zip(y, every, strict=True))
        gaps = correct.diff(dim=1)
        errors = [norm(tuple(_weigh(h, gaps[:, i], m) for m in every), y_new) for i in range(3)]
        errors = torch.stack(errors, 1)  # of the orders q - 1, q, q + 1
        orders = q[:, None] + torch.arange(-1, 2, device=t.device)
        possible = (orders >= 1) & (orders <= known[:, None])
        reach = errors.clamp_min(1e-10) ** (-1 / (orders + 1).clamp_min(1))
        best = torch.where(possible, reach, -1.0).argmax(1, keepdim=True)
        ahead, q_new = errors.gather(1, best)[:, 0], orders.gather(1, best)[:, 0]
        order = q_new + 1
        # While all of a short past is in use, no error of a higher order is known: try it.
        q_new = torch.where((q == known) & (q_new == q), q + 1, q_new).clamp_max(self.top)
        keep = (q_new, (known + 1).clamp_max(self.top), times[:, :-1], *(m[:, :-1] for m in past))
        return Trial(y_new, k_new, errors[:, 1], q + 1, ahead, order, keep)

    def _correctors(self, nodes: Tensor, q: Tensor) -> Tensor:
        """The weights of Q_{q-2}, .., Q_{q+1}: (b, 4, top + 1), the new point's first."""
        nodes = torch.cat([torch.ones_like(nodes[:, :1]), nodes], 1)[:, None].expand(-1, 4, -1)
        last = q[:, None] + torch.arange(-2, 2, device=q.device)
        used = torch.arange(self.top + 1, device=q.device) <= last[..., None]
        return lagrange_integrals(nodes, used)
