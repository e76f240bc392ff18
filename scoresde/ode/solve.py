"""Adaptive integration of a batch of ordinary differential equations; each row has its own step and its own end.

Rows that arrive leave the batch, so no evaluation is spent on them, and no row's steps depend on its batch mates.
"""

import warnings
from dataclasses import dataclass, fields
from typing import Annotated, Literal

import torch
from torch import Tensor

from .. import settings
from ..settings import OneOf, Positive, Range
from .adams import Adams
from .parts import Derivative, Method, State, Trial, choose, rms
from .tableaux import BS32, DOP853, DOPRI5, TSIT5

METHODS: dict[str, Method] = {"adams": Adams(), "bs32": BS32, "dopri5": DOPRI5, "tsit5": TSIT5, "dop853": DOP853}
LAST_STEPS = 4  # of BS32 when the evaluations run out
LAST_COST = LAST_STEPS * BS32.cost


@dataclass
class _Rows:
    """The rows under way: their `number`, time, end, next step length, last error, state, derivative and memory."""

    number: Tensor
    t: Tensor
    end: Tensor
    span: Tensor
    h: Tensor
    before: Tensor
    y: State
    k: State
    memory: State

    def keep(self, mask: Tensor) -> None:
        for name in (f.name for f in fields(self)):
            a = getattr(self, name)
            setattr(self, name, tuple(p[mask] for p in a) if isinstance(a, tuple) else a[mask])


@torch.no_grad()
def integrate(
    f: Derivative,
    y: State,
    t0: Tensor,
    t1: Tensor,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    method: str | Method = "adams",
    max_steps: int = 10_000,
    max_nfe: int | None = None,
    on_max_nfe: str = "error",
) -> tuple[State, Tensor]:
    """Integrates dy/dt = f(t, y, rows) from t0 to t1, in either direction, row by row.

    `y` is a tuple of tensors (B, ...); `t0`, `t1` are (B,).  `f(t, y, rows)` gets times (b,), the states of the rows
    still under way and their numbers `rows` (b,), and returns the derivatives.  A step is accepted when
    max over parts of rms(error / (atol + rtol max|y|)) <= 1; step sizes by a PI controller (Gustafsson, 1991).
    `method` is a name in `METHODS` or a `Method`.

    No row spends more than `max_nfe` evaluations.  A row that would is an error (`on_max_nfe="error"`), or it goes the
    rest of its way in 4 equal steps of Bogacki-Shampine's order 3, the last 12 of its evaluations, with one warning for
    all such rows ("finish").

    Returns the states at t1 and the evaluations spent on each row (B,).
    Raises `InputError` for a wrong argument; `FloatingPointError` when a row's derivative is not finite or its step
    underflows, when rows run out of evaluations, or when rows are still under way after `max_steps` steps.
    """
    method = check(method, rtol, atol, max_nfe, on_max_nfe)
    done, nfe = tuple(part.clone() for part in y), torch.zeros(len(t0), dtype=torch.long, device=t0.device)
    way, short = _start(f, method, y, t0, t1, nfe, rtol, atol), []
    for _ in range(max_steps):
        if max_nfe is not None:
            short += _out_of_budget(f, method, way, done, nfe, max_nfe, on_max_nfe)
        if not len(way.number):
            break
        left = (way.end - way.t).abs()
        final = 1.1 * way.h >= left  # stretched rather than followed by a sliver
        step = torch.where(final, left, way.h)
        t_new = torch.where(final, way.end, way.t + step * torch.sign(way.end - way.t))
        start = way.y

        def norm(error: State, y_new: State, start=start) -> Tensor:
            pairs = zip(start, y_new, strict=True)
            return rms(error, tuple(atol + rtol * torch.maximum(p.abs(), q.abs()) for p, q in pairs))

        trial = method.trial(f, way.t, t_new, way.y, way.k, way.memory, way.number, norm)
        nfe[way.number] += method.cost
        _check(trial.error, step, way)
        _advance(f, method, way, trial, step, t_new, final, done, nfe)
    if len(way.number):
        raise FloatingPointError(
            f"{len(way.number)} rows did not arrive in {max_steps} steps: loosen rtol={rtol}, atol={atol}"
        )
    if short:
        warnings.warn(
            f"{len(short)} of {len(nfe)} rows ran out of max_nfe={max_nfe} evaluations (rows {_some(short)}) and went "
            f"the rest of their way in {LAST_STEPS} fixed steps: their error may exceed rtol={rtol}, atol={atol}",
            stacklevel=3,
        )
    return done, nfe


def check(method: str | Method, rtol: float, atol: float, max_nfe: int | None, on_max_nfe: str) -> Method:
    """The method, once all arguments of `integrate` are found good.  Raises `InputError`."""
    settings.check("rtol", rtol, Positive)
    settings.check("atol", atol, Positive)
    settings.check("method", method, Annotated[str, OneOf(METHODS)] | Method)
    settings.check("on_max_nfe", on_max_nfe, Literal["error", "finish"])
    least = 1 + (LAST_COST if on_max_nfe == "finish" else 0)
    settings.check("max_nfe", max_nfe, Annotated[int, Range(least)] | None)
    return METHODS[method] if isinstance(method, str) else method


def _start(f, method: Method, y: State, t0, t1, nfe: Tensor, rtol: float, atol: float) -> _Rows:
    """The rows that have a way to go, with their first derivative and step."""
    number = (t0 != t1).nonzero()[:, 0]
    t, end, y = t0[number], t1[number], tuple(p[number] for p in y)
    span = (end - t).abs()
    k = f(t, y, number) if len(number) else y
    nfe[number] += 1
    # Hairer et al. (1993), II.4, h_0
    scales = tuple(atol + rtol * p.abs() for p in y)
    ratio = rms(y, scales) / rms(k, scales).clamp_min(1e-30) if len(number) else span
    h = torch.minimum(method.first * ratio.clamp_min(1e-4), 0.1 * span)
    return _Rows(number, t, end, span, h, torch.ones_like(h), y, k, method.start(t, k))


def _advance(f, method: Method, way: _Rows, trial: Trial, step, t_new, final, done: State, nfe: Tensor) -> None:
    """Accepts or rejects the trial of each row, sets its next step, and lets the rows go that have arrived."""
    ok = trial.error <= 1
    arrived = ok & final
    growth = method.safety * trial.ahead.clamp_min(1e-10) ** (-1 / trial.next_order)
    growth = (growth * way.before ** (method.damping / trial.order)).clamp(0.2, method.longest)
    shrink = (method.safety * trial.error ** (-1 / trial.order)).clamp(0.1, 1)
    way.h = step * torch.where(ok, growth, shrink)
    way.before = torch.where(ok, trial.error.clamp_min(1e-4), way.before)
    way.t = torch.where(ok, t_new, way.t)
    way.y, way.memory = choose(ok, trial.y, way.y), choose(ok, trial.memory, way.memory)
    if trial.k is not None:
        way.k = choose(ok, trial.k, way.k)
    if bool(arrived.any()):
        for part, value in zip(done, way.y, strict=True):
            part[way.number[arrived]] = value[arrived]
        way.keep(~arrived)
        ok = ok[~arrived]
    if trial.k is None and bool(ok.any()):
        go = ok.nonzero()[:, 0]
        k = f(way.t[go], tuple(p[go] for p in way.y), way.number[go])
        way.k = tuple(p.index_copy(0, go, q) for p, q in zip(way.k, k, strict=True))
        nfe[way.number[go]] += 1


def _out_of_budget(f, method: Method, way: _Rows, done: State, nfe: Tensor, limit: int, then: str) -> list[int]:
    """Raises for rows that cannot afford another step and the last ones, or takes the last ones: their numbers."""
    out = nfe[way.number] + method.cost + method.after + (LAST_COST if then == "finish" else 0) > limit
    if not bool(out.any()):
        return []
    rows = way.number[out]
    if then == "error":
        raise FloatingPointError(
            f"rows {_some(rows.tolist())} ran out of max_nfe={limit} evaluations at the times "
            f"{_some(way.t[out].tolist())}: raise max_nfe, loosen rtol and atol, or say on_max_nfe='finish'"
        )
    t, end, y, k = way.t[out], way.end[out], tuple(p[out] for p in way.y), tuple(p[out] for p in way.k)
    for i in range(LAST_STEPS):
        t_new = end if i == LAST_STEPS - 1 else t + (end - t) / (LAST_STEPS - i)
        last = BS32.trial(f, t, t_new, y, k, (), rows, lambda error, y: y[0])
        t, y, k = t_new, last.y, last.k
    nfe[rows] += LAST_COST
    for part, value in zip(done, y, strict=True):
        part[rows] = value
    way.keep(~out)
    return rows.tolist()


def _some(numbers: list) -> str:
    """The first few, and how many more."""
    shown = ", ".join(f"{n:.4g}" for n in numbers[:5])
    return shown + (f" and {len(numbers) - 5} more" if len(numbers) > 5 else "")


def _check(error: Tensor, step: Tensor, way: _Rows) -> None:
    bad = ~torch.isfinite(error) | (step < 1e-13 * way.span)
    if bool(bad.any()):
        i = int(bad.nonzero()[0])
        t, row = float(way.t[i]), int(way.number[i])
        raise FloatingPointError(
            f"the solver stopped at time {t:.6g} of row {row}: error {float(error[i]):.3g}, "
            f"step {float(step[i]):.3g}; the derivative is not finite, or changes faster than the tolerance can follow"
        )
