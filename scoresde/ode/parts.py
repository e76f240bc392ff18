"""What every solver needs: states of several parts, row-wise steps and norms, and the interface of a method."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

State = tuple[Tensor, ...]
Derivative = Callable[[Tensor, State, Tensor], State]
Norm = Callable[[State, State], Tensor]


class Trial(NamedTuple):
    """A step that may be accepted.

    The new state `y` and its derivative `k` (None: to be evaluated once the step is accepted); the `error` (b,) in
    units of the tolerance, which scales with h^order; `ahead` (b,) and `next_order`, the same for the step after an
    accepted one; and the `memory` that an accepted step leaves.
    """

    y: State
    k: State | None
    error: Tensor
    order: int | Tensor
    ahead: Tensor
    next_order: int | Tensor
    memory: State


class Method(ABC):
    """A step of all rows at once, each row with its own length.

    A trial takes `cost` evaluations of every row, and `after` more once it is accepted.  The next step is `safety`
    times the one that would just meet the tolerance, times the last error to the power `damping` / order, and at most
    `longest` times the last one.  In the first step Euler's method moves the state by the part `first` of its scale.
    """

    cost: int
    after: int = 0
    safety: ClassVar[float] = 0.85
    damping: ClassVar[float] = 0.1
    first: ClassVar[float] = 0.1
    longest: ClassVar[float] = 5.0

    def start(self, t: Tensor, k: State) -> State:
        """The memory of rows before their first step from the times t (b,): tensors with a row for each."""
        return ()

    @abstractmethod
    def trial(self, f: Derivative, t, t_new, y: State, k: State, memory: State, rows: Tensor, norm: Norm) -> Trial:
        """The step from (t, y) with the derivative k to t_new; `norm(error, y_new)` measures errors (b,)."""


def shaped(h: Tensor, y: Tensor) -> Tensor:
    """h (b,) in the type of y, shaped to multiply its rows."""
    return h.to(y.dtype).reshape(-1, *[1] * (y.ndim - 1))


def rms(parts: State, scales: State) -> Tensor:
    """The largest over the parts of the row-wise root mean square of part / scale: (b,)."""
    norms = [(p / s).flatten(1).square().mean(1).sqrt() for p, s in zip(parts, scales, strict=True)]
    return torch.stack(norms).amax(0)


def choose(mask: Tensor, yes: State, no: State) -> State:
    """The rows of `yes` where the mask (b,) is true, those of `no` elsewhere."""
    return tuple(torch.where(mask.reshape(-1, *[1] * (p.ndim - 1)), p, q) for p, q in zip(yes, no, strict=True))
