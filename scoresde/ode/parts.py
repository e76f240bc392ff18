"""What every solver needs: states of several parts, row-wise steps and norms, and the interface of a method."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

State = tuple[Tensor, ...]
Derivative = Callable[[np.ndarray, State, Tensor], State]
Norm = Callable[[State, State], np.ndarray]


class Trial(NamedTuple):
    """A step that may be accepted.

    The new state `y` and its derivative `k` (None: to be evaluated once the step is accepted); the `error` (b,) in
    units of the tolerance, which scales with h^order; `ahead` (b,) and `next_order`, the same for the step after an
    accepted one; and the `memory` that an accepted step leaves.
    """

    y: State
    k: State | None
    error: np.ndarray
    order: int | np.ndarray
    ahead: np.ndarray
    next_order: int | np.ndarray
    memory: Any


class Method(ABC):
    """A step of all rows at once, each row with its own length.

    States are tensors wherever they are; what steers the steps (times, errors, orders, weights) is on the host, arrays
    of numpy in float64.  A trial takes `cost` evaluations of every row, and `after` more once it is accepted.  The next
    step is `safety` times the one that would just meet the tolerance, times the last error to the power
    `damping` / order, and at most `longest` times the last one.  In the first step Euler's method moves the state by
    the part `first` of its scale.
    """

    cost: int
    after: int = 0
    safety: ClassVar[float] = 0.85
    damping: ClassVar[float] = 0.1
    first: ClassVar[float] = 0.1
    longest: ClassVar[float] = 5.0

    def start(self, t: np.ndarray, k: State) -> Any:
        """The memory of rows before their first step from the times t (b,) with the derivatives k, if there is one."""
        return None

    @abstractmethod
    def trial(self, f: Derivative, t, t_new, y: State, k: State, memory: Any, rows: Tensor, norm: Norm) -> Trial:
        """The step from (t, y) with the derivative k to t_new, which may be accepted or not.

        Arguments:
            f: f(t, y, rows), the derivatives.
            t, t_new: both ends (b,).
            y, k: the state and its derivative, parts (b, ...).
            memory: what `start` or an accepted trial left.
            rows: the numbers (b,) of the rows, which f gets.
            norm: norm(error, y_new) measures errors: (b,) of parts (b, ...), and (n, b) of n at once, (n, b, ...).

        Returns:
            A `Trial`.
        """

    def keep(self, memory: Any, left: np.ndarray) -> Any:
        """The memory of the rows that are left, where the mask (b,) is true."""
        return memory

    def merge(self, ok: np.ndarray, new: Any, old: Any) -> Any:
        """The memory of rows of which some took their step.

        Arguments:
            ok: a mask (b,).
            new, old: the memory of those where it is true, and of the others.

        Returns:
            The memory of all.
        """
        return new


def on(device: torch.device, a: np.ndarray) -> Tensor:
    """An array as a tensor on a device, in float32 where that has no float64."""
    single = device.type == "mps" and a.dtype == np.float64
    return torch.from_numpy(a.astype(np.float32) if single else a).to(device)


def log(error: np.ndarray) -> np.ndarray:
    """The logarithm, of 1e-10 at least: powers of errors are taken by it, which is ten times faster than by numpy's."""
    return np.log(np.maximum(error, 1e-10))


def shaped(h: np.ndarray | Tensor, y: Tensor) -> Tensor:
    """h (b,) typed, placed and shaped to multiply the rows of y."""
    return torch.as_tensor(h).to(y.dtype).to(y.device).reshape(-1, *[1] * (y.ndim - 1))


def rms(parts: State, scales: State) -> Tensor:
    """The row-wise root mean square of part / scale, the largest over parts: (b,), and (n, b) of parts (n, b, ...)."""
    norms = []
    for p, s in zip(parts, scales, strict=True):
        ratio = (p / s).flatten(1 + p.ndim - s.ndim)
        norms.append(torch.linalg.vector_norm(ratio, dim=-1) / ratio.shape[-1] ** 0.5)
    return norms[0] if len(norms) == 1 else torch.stack(norms).amax(0)


def choose(mask: np.ndarray, yes: State, no: State, axis: int = 0) -> State:
    """The rows of `yes` where the mask (b,) is true, those of `no` elsewhere; rows lie along the axis."""
    rows = on(yes[0].device, mask)
    return tuple(torch.where(rows.reshape(-1, *[1] * (p.ndim - axis - 1)), p, q) for p, q in zip(yes, no, strict=True))
