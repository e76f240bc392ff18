"""A record of the way from noise to data."""

import torch
from torch import Tensor

from ..errors import InputError


class Trajectory:
    """Keeps the start x_T of a sampling, every `every`-th state after it, and the last one: a `callback` for `sample`.

        record = Trajectory(every=5)
        sample(denoiser, sampler, (16, 2), batch_size=4, callback=record)
        record.times, record.x, record.x0

    `times` has the T times, t_max first, `x` is x_t (T, B, *shape) and `x0` (T, B, *shape) the latest denoised estimate
    at each, on the CPU: D(x_T, t_max) at the start, for one more evaluation, and then the sampler's own.  Chunks of a
    sampling, and further calls of `sample` with the same times, follow each other along B.  (A function that hands its
    calls on to a Trajectory hands on no start.)

    Raises `InputError` for an `every` that is not a positive whole number, and, when it is read, for chunks that were
    not sampled at the same times.
    """

    def __init__(self, every: int = 1):
        if not isinstance(every, int) or every < 1:
            raise InputError(f"every={every!r}: give a positive whole number")
        self.every = every
        self._chunks: list[list[tuple[float, Tensor, Tensor]]] = []
        self._step, self._passing = -1, False

    def start(self, t: float, x: Tensor, x0: Tensor) -> None:
        """Begins a chunk.

        Arguments:
            t: t_max.
            x: x_T (B, *shape).
            x0: D(x_T, t_max) (B, *shape).
        """
        self._chunks.append([(t, *(v.detach().to("cpu", copy=True) for v in (x, x0)))])
        self._step, self._passing = -1, False

    def __call__(self, step: int, t: float, x: Tensor, x0: Tensor) -> None:
        """Takes the state after a step.

        Arguments:
            step: its number, from 0 in each chunk.
            t: the time reached.
            x: x_t (B, *shape).
            x0: the latest denoised estimate (B, *shape).
        """
        if step <= self._step or not self._chunks:
            self._chunks.append([])
            self._passing = False
        if self._passing:
            self._chunks[-1].pop()
        # A state that the next one replaces stays where it is: copying it to the host would hold up the loop.
        self._step, self._passing = step, (step + 1) % self.every != 0
        self._chunks[-1].append(
            (t, *(v.detach() if self._passing else v.detach().to("cpu", copy=True) for v in (x, x0)))
        )

    @property
    def times(self) -> list[float]:
        """The times of the states kept, decreasing.  Raises `InputError` for chunks that were sampled at others."""
        times = [[t for t, _, _ in chunk] for chunk in self._chunks]
        if any(other != times[0] for other in times):
            raise InputError("the chunks of this Trajectory were sampled at different times: take a new one for each")
        return times[0] if times else []

    @property
    def x(self) -> Tensor:
        """The states x_t (T, B, *shape)."""
        return self._stacked(1)

    @property
    def x0(self) -> Tensor:
        """The denoised estimates (T, B, *shape)."""
        return self._stacked(2)

    def _stacked(self, part: int) -> Tensor:
        if not self.times:
            raise InputError("this Trajectory is empty: hand it to sample(..., callback=record) first")
        return torch.cat([torch.stack([kept[part].cpu() for kept in chunk]) for chunk in self._chunks], 1)
