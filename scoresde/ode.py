"""Adaptive Runge-Kutta for a batch of ordinary differential equations; each row has its own step and its own end.

Rows that arrive leave the batch, so no evaluation is spent on them, and no row's steps depend on its batch mates.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .errors import InputError

State = tuple[Tensor, ...]


@dataclass(frozen=True)
class Tableau:
    """An embedded pair: y_1 = y_0 + h sum b_i k_i with error h sum e_i k_i; the last stage is the next first one."""

    order: int
    a: tuple[tuple[float, ...], ...]
    c: tuple[float, ...]
    e: tuple[float, ...]


# Dormand, Prince (1980), A family of embedded Runge-Kutta formulae.
DOPRI5 = Tableau(
    order=5,
    a=(
        (1 / 5,),
        (3 / 40, 9 / 40),
        (44 / 45, -56 / 15, 32 / 9),
        (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
        (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
        (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
    ),
    c=(1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0),
    e=(71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40),
)


def _rows(h: Tensor, y: Tensor) -> Tensor:
    return h.to(y.dtype).reshape(-1, *[1] * (y.ndim - 1))


def _axpy(y: State, h: Tensor, weights: tuple[float, ...], ks: list[State]) -> State:
    """y + h sum_i w_i k_i, for every part of the state."""
    out = []
    for j, part in enumerate(y):
        used = [(w, k[j]) for w, k in zip(weights, ks, strict=False) if w != 0.0]
        total = used[0][1] * used[0][0]
        for w, k in used[1:]:
            total = total.add_(k, alpha=w)
        out.append(part + total.mul_(_rows(h, part)))
    return tuple(out)


def _norm(parts: State, scales: State) -> Tensor:
    """The largest over the parts of the row-wise root mean square of part / scale: (B,)."""
    norms = [(p / s).flatten(1).square().mean(1).sqrt() for p, s in zip(parts, scales, strict=True)]
    return torch.stack(norms).amax(0)


def _first_step(f0: State, y: State, span: Tensor, rtol: float, atol: float) -> Tensor:
    """The step in which an Euler step moves the state by 1 % of its scale (Hairer et al., 1993, II.4, h_0)."""
    scales = tuple(atol + rtol * p.abs() for p in y)
    ratio = _norm(y, scales) / _norm(f0, scales).clamp_min(1e-30)
    return torch.minimum(0.01 * ratio.clamp_min(1e-4), 0.1 * span.abs())


@torch.no_grad()
def integrate(
    f: Callable[..., State],
    y: State,
    t0: Tensor,
    t1: Tensor,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    tableau: Tableau = DOPRI5,
    max_steps: int = 10_000,
) -> tuple[State, Tensor]:
    """Integrates dy/dt = f(t, y, rows) from t0 to t1, in either direction, row by row.

    `y` is a tuple of tensors (B, ...); `t0`, `t1` are (B,).  `f(t, y, rows)` gets times (b,), the states of the rows
    still under way and their numbers `rows` (b,), and returns the derivatives.  A step is accepted when
    max over parts of rms(error / (atol + rtol max|y|)) <= 1; step sizes by a PI controller (Gustafsson, 1991).

    Returns the states at t1 and the evaluations spent on each row (B,).
    Raises `FloatingPointError` when a row's derivative is not finite or its step underflows, or when rows are still
    under way after `max_steps` steps.
    """
    if not (rtol > 0 and atol > 0):
        raise InputError(f"rtol={rtol!r}, atol={atol!r}: tolerances must be positive")
    done = tuple(part.clone() for part in y)
    rows = torch.arange(len(t0), device=t0.device)
    nfe = torch.zeros_like(rows)
    t, t1, direction = t0.clone(), t1.clone(), torch.sign(t1 - t0)
    k = f(t, y, rows)
    nfe += 1
    h = _first_step(k, y, t1 - t, rtol, atol)
    before = torch.ones_like(h)  # the error of the last accepted step, for the PI controller
    span = (t1 - t).abs()
    for _ in range(max_steps):
        if not len(rows):
            return done, nfe
        left = (t1 - t).abs()
        final = 1.1 * h >= left  # stretched rather than followed by a sliver
        step = torch.where(final, left, h) * direction
        ks = [k]
        for a, c in zip(tableau.a, tableau.c, strict=True):
            y_new = _axpy(y, step, a, ks)
            ks.append(f(torch.where(final & (c == 1.0), t1, t + c * step), y_new, rows))
        nfe[rows] += len(tableau.a)
        zero = tuple(torch.zeros_like(p) for p in y)
        scales = tuple(atol + rtol * torch.maximum(p.abs(), q.abs()) for p, q in zip(y, y_new, strict=True))
        error = _norm(_axpy(zero, step, tableau.e, ks), scales)
        ok = error <= 1
        _check(error, step, span, rows, t)
        growth = 0.85 * error.clamp_min(1e-10) ** (-1 / tableau.order)
        h = step.abs() * torch.where(
            ok, (growth * before ** (0.1 / tableau.order)).clamp(0.2, 10), growth.clamp(0.1, 1)
        )
        before = torch.where(ok, error.clamp_min(1e-4), before)
        t = torch.where(ok, torch.where(final, t1, t + step), t)
        y = tuple(torch.where(_rows(ok, p) != 0, q, p) for p, q in zip(y, y_new, strict=True))
        k = tuple(torch.where(_rows(ok, p) != 0, q, p) for p, q in zip(ks[0], ks[-1], strict=True))
        arrived = ok & final
        if bool(arrived.any()):
            for part, value in zip(done, y, strict=True):
                part[rows[arrived]] = value[arrived]
            keep = ~arrived
            y, k = tuple(p[keep] for p in y), tuple(p[keep] for p in k)
            t, t1, h, direction, before, rows, span = (a[keep] for a in (t, t1, h, direction, before, rows, span))
    raise FloatingPointError(f"{len(rows)} rows did not arrive in {max_steps} steps: loosen rtol={rtol}, atol={atol}")


def _check(error: Tensor, step: Tensor, span: Tensor, rows: Tensor, t: Tensor) -> None:
    bad = ~torch.isfinite(error) | (step.abs() < 1e-13 * span)
    if bool(bad.any()):
        i = int(bad.nonzero()[0])
        raise FloatingPointError(
            f"the solver stopped at time {float(t[i]):.6g} of row {int(rows[i])}: error {float(error[i]):.3g}, step "
            f"{float(step[i]):.3g}; the derivative is not finite, or changes faster than the tolerance can follow"
        )
