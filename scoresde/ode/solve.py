"""Adaptive integration of a batch of ordinary differential equations; each row has its own step and its own end.

Rows that arrive leave the batch, so no evaluation is spent on them, and no row's steps depend on its batch mates.
"""

import warnings
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor

from .. import settings
from ..settings import OneOf, Positive, Range
from .adams import Adams
from .parts import Derivative, Method, State, Trial, choose, log, on, rms
from .tableaux import BS32, DOP853, DOPRI5, TSIT5

METHODS: dict[str, Method] = {"adams": Adams(), "bs32": BS32, "dopri5": DOPRI5, "tsit5": TSIT5, "dop853": DOP853}
LAST_STEPS = 4  # of BS32 when the evaluations run out
LAST_COST = LAST_STEPS * BS32.cost


@dataclass
class _Rows:
    """The rows under way: their number, sign of the direction, time, end, next step length and last error (b,), on the
    host; their state, derivative and memory, and the `index` of their number, where the states are."""

    number: np.ndarray
    sign: np.ndarray
    t: np.ndarray
    end: np.ndarray
    h: np.ndarray
    before: np.ndarray
    index: Tensor
    y: State
    k: State
    memory: Any

    def keep(self, left: np.ndarray, method: Method) -> None:
        rows = on(self.index.device, left)
        for name in ("number", "sign", "t", "end", "h", "before"):
            setattr(self, name, getattr(self, name)[left])
        self.index, self.memory = self.index[rows], method.keep(self.memory, left)
        self.y, self.k = tuple(p[rows] for p in self.y), tuple(p[rows] for p in self.k)


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

    A step is accepted when max over parts of rms(error / (atol + rtol max|y|)) <= 1; step sizes by a PI controller
    (Gustafsson, 1991).

    Arguments:
        f: f(t, y, rows) gets times (b,), the states of the rows still under way and their numbers `rows` (b,), and
            returns the derivatives.
        y: a tuple of tensors (B, ...).
        t0, t1: both ends of the way (B,).
        rtol, atol: the tolerance, relative and absolute.
        method: a name in `METHODS` or a `Method`.
        max_steps: the most steps, taken or not, of a row.
        max_nfe: the most evaluations of a row; None: no bound.
        on_max_nfe: a row that needs more is an "error", or goes the rest of its way in 4 equal steps of
            Bogacki-Shampine's order 3, the last 12 of its evaluations, with one warning for all such rows ("finish").

    Returns:
        The states at t1, and the evaluations spent on each row (B,).

    Raises:
        InputError: a wrong argument.
        FloatingPointError: a row's derivative is not finite or its step underflows, rows run out of evaluations, or are
            still under way after max_steps steps.
    """
    method = check(method, rtol, atol, max_nfe, on_max_nfe)
    done, nfe, device = tuple(part.clone() for part in y), np.zeros(len(t0), dtype=np.int64), y[0].device
    times = lambda t, y, rows: f(on(t0.device, t).to(t0.dtype), y, rows)
    span = np.abs(_host(t1) - _host(t0))
    way, short = _start(times, method, y, _host(t0), _host(t1), nfe, rtol, atol), []
    for _ in range(max_steps):
        if max_nfe is not None:
            short += _out_of_budget(times, method, way, done, nfe, max_nfe, on_max_nfe)
        if not len(way.number):
            break
        left = (way.end - way.t) * way.sign
        final = 1.1 * way.h >= left  # stretched rather than followed by a sliver
        step = np.where(final, left, way.h)
        t_new = np.where(final, way.end, way.t + step * way.sign)
        start = way.y

        def norm(error: State, y_new: State, start=start) -> np.ndarray:
            pairs = zip(start, y_new, strict=True)
            return _host(rms(error, tuple(torch.maximum(p.abs(), q.abs()).mul_(rtol).add_(atol) for p, q in pairs)))

        trial = method.trial(times, way.t, t_new, way.y, way.k, way.memory, way.index, norm)
        nfe[way.number] += method.cost
        _check(trial.error, step, way, span)
        _advance(times, method, way, trial, step, t_new, final, done, nfe)
    if rows := len(way.number):
        raise FloatingPointError(f"{rows} rows did not arrive in {max_steps} steps: loosen rtol={rtol}, atol={atol}")
    if short:
        warnings.warn(
            f"{len(short)} of {len(nfe)} rows ran out of max_nfe={max_nfe} evaluations (rows {_some(short)}) and went "
            f"the rest of their way in {LAST_STEPS} fixed steps: their error may exceed rtol={rtol}, atol={atol}",
            stacklevel=3,
        )
    return done, on(device, nfe)


def check(method: str | Method, rtol: float, atol: float, max_nfe: int | None, on_max_nfe: str) -> Method:
    """The method, once all arguments of `integrate` are found good.

    Arguments:
        method, rtol, atol, max_nfe, on_max_nfe: as in `integrate`.

    Returns:
        A `Method`.

    Raises:
        InputError: one that is not.
    """
    settings.check("rtol", rtol, Positive)
    settings.check("atol", atol, Positive)
    settings.check("method", method, Annotated[str, OneOf(METHODS)] | Method)
    settings.check("on_max_nfe", on_max_nfe, Literal["error", "finish"])
    least = 1 + (LAST_COST if on_max_nfe == "finish" else 0)
    settings.check("max_nfe", max_nfe, Annotated[int, Range(least)] | None)
    return METHODS[method] if isinstance(method, str) else method


def _host(a: Tensor) -> np.ndarray:
    return a.detach().to("cpu", torch.float64).numpy()


def _start(f, method: Method, y: State, t0: np.ndarray, t1: np.ndarray, nfe: np.ndarray, rtol, atol) -> _Rows:
    """The rows that have a way to go, with their first derivative and step."""
    number = (t0 != t1).nonzero()[0]
    index = on(y[0].device, number)
    t, end, y = t0[number], t1[number], tuple(p[index] for p in y)
    k = f(t, y, index) if len(number) else y
    nfe[number] += 1
    # Hairer et al. (1993), II.4, h_0
    scales = tuple(atol + rtol * p.abs() for p in y)
    ratio = _host(rms(y, scales) / rms(k, scales).clamp_min(1e-30)) if len(number) else t
    h = np.minimum(method.first * np.maximum(ratio, 1e-4), 0.1 * np.abs(end - t))
    return _Rows(number, np.sign(end - t), t, end, h, np.ones_like(h), index, y, k, method.start(t, k))


def _advance(f, method: Method, way: _Rows, trial: Trial, step, t_new, final, done: State, nfe: np.ndarray) -> None:
    """Accepts or rejects the trial of each row, sets its next step, and lets the rows go that have arrived."""
    ok = trial.error <= 1
    before = np.maximum(trial.error, 1e-4)
    growth = method.damping / trial.order * log(way.before) - log(trial.ahead) / trial.next_order
    growth = np.minimum(np.maximum(method.safety * np.exp(growth), 0.2), method.longest)
    if ok.all():
        way.h, way.before, way.t = step * growth, before, t_new
        way.y, way.memory, way.k = trial.y, trial.memory, way.k if trial.k is None else trial.k
    else:
        shrink = np.minimum(np.maximum(method.safety * np.exp(-log(trial.error) / trial.order), 0.1), 1)
        way.h, way.t = step * np.where(ok, growth, shrink), np.where(ok, t_new, way.t)
        way.before = np.where(ok, before, way.before)
        way.y, way.memory = choose(ok, trial.y, way.y), method.merge(ok, trial.memory, way.memory)
        way.k = way.k if trial.k is None else choose(ok, trial.k, way.k)
    if final.any() and (arrived := ok & final).any():
        _put(done, way, arrived, way.y)
        way.keep(~arrived, method)
        ok = ok[~arrived]
    if trial.k is None and ok.any():
        go = on(way.index.device, ok.nonzero()[0])
        k = f(way.t[ok], tuple(p[go] for p in way.y), way.index[go])
        way.k = tuple(p.index_copy(0, go, q) for p, q in zip(way.k, k, strict=True))
        nfe[way.number[ok]] += 1


def _put(done: State, way: _Rows, which: np.ndarray, y: State) -> None:
    """Puts down the states y of the rows in the mask."""
    rows = on(way.index.device, which)
    for part, value in zip(done, y, strict=True):
        part[way.index[rows]] = value[rows]


def _out_of_budget(f, method: Method, way: _Rows, done: State, nfe: np.ndarray, limit: int, then: str) -> list[int]:
    """Raises for rows that cannot afford another step and the last ones, or takes the last ones: their numbers."""
    out = nfe[way.number] + method.cost + method.after + (LAST_COST if then == "finish" else 0) > limit
    if not out.any():
        return []
    number = way.number[out]
    if then == "error":
        raise FloatingPointError(
            f"rows {_some(number.tolist())} ran out of max_nfe={limit} evaluations at the times "
            f"{_some(way.t[out].tolist())}: raise max_nfe, loosen rtol and atol, or say on_max_nfe='finish'"
        )
    rows = on(way.index.device, out)
    t, end, y, k = way.t[out], way.end[out], tuple(p[rows] for p in way.y), tuple(p[rows] for p in way.k)
    for i in range(LAST_STEPS):
        t_new = end if i == LAST_STEPS - 1 else t + (end - t) / (LAST_STEPS - i)
        last = BS32.trial(f, t, t_new, y, k, None, way.index[rows], _not_measured)
        t, y, k = t_new, last.y, last.k
    nfe[number] += LAST_COST
    for part, value in zip(done, y, strict=True):
        part[way.index[rows]] = value
    way.keep(~out, method)
    return number.tolist()


def _not_measured(error: State, y: State) -> np.ndarray:
    return np.zeros(len(y[0]))


def _some(numbers: list) -> str:
    """The first few, and how many more."""
    shown = ", ".join(f"{n:.4g}" for n in numbers[:5])
    return shown + (f" and {len(numbers) - 5} more" if len(numbers) > 5 else "")


def _check(error: np.ndarray, step: np.ndarray, way: _Rows, span: np.ndarray) -> None:
    bad = ~np.isfinite(error) | (step < 1e-13 * span[way.number])
    if bad.any():
        i = int(bad.argmax())
        raise FloatingPointError(
            f"the solver stopped at time {way.t[i]:.6g} of row {way.number[i]}: error {error[i]:.3g}, "
            f"step {step[i]:.3g}; the derivative is not finite, or changes faster than the tolerance can follow"
        )
