"""The one sampling loop."""

import dataclasses
import functools
import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor

from .. import grids
from ..denoiser import Counted, Denoiser, Given, Source, bind, device_of, refuse_noise, self_conditioned
from ..errors import InputError
from ..noise import Ahead, Draws
from ..sde import SDE, Marginal
from ..settings import Checked, Count, OneOf, Range, Seed, Whole, checked
from . import hardware
from .begin import Begin, cut, first
from .shares import joined, share, together
from .watch import Asked, watched

Steps = Annotated[int, Range(1, 10**6)]
Placing = Annotated[str, OneOf(grids.GRIDS, ("fitted",))] | Callable | Sequence[float]


@dataclass(frozen=True)
class Sampler(Checked, ABC):
    """A step from x_t to x_s, a time grid and a last step.  A new sampler is a frozen dataclass with its own `step`.

    Arguments:
        steps: the number of intervals from t_max to `t_min`.
        grid: how they are placed: a name in `scoresde.grids.GRIDS`, a function (sde, steps, start, end) -> times, or
            the decreasing times themselves.
        last: what is returned: "tweedie" the denoised D(x, t_min), for one more evaluation; "mean" the last step
            without its noise; "none" x as it is.  Without it the noise of t_min stays in the samples
            (Jolicoeur-Martineau et al., 2020, arXiv 2009.05475).
        t_min: the last time; None: the SDE's, and with "tweedie" the later one at which sigma / alpha is half of a
            bin, of data with levels (`Denoiser.grain`).  Within a bin there is nothing to find, and what a network
            makes of its edges spills into the next level; D from there is about the middle of the bin.

    Raises:
        InputError: settings out of range.
    """

    memory: ClassVar[str | None] = None  # why no corrector may act between the steps, where none may

    steps: Steps = 50
    grid: Placing = "angle"
    last: Literal["tweedie", "mean", "none"] = "tweedie"
    t_min: Annotated[float, Range(0)] | None = None

    def times(self, sde: SDE) -> list[float]:
        """The decreasing times of a sampling under the SDE, t_max first.

        Raises `InputError` for a t_min at t_max or after it, and for a grid that is none.
        """
        if self.t_min is not None and self.t_min >= sde.t_max:
            raise InputError(f"t_min={self.t_min!r}: give a time before t_max={sde.t_max!r}", "t_min")
        end = sde.t_min if self.t_min is None else self.t_min
        return grids.times(self.placing(sde), sde, self.steps, sde.t_max, end)

    def placing(self, sde: SDE) -> Placing:
        """The grid that `times` takes under the SDE."""
        return self.grid

    def informed(self, denoiser: Denoiser) -> "Sampler":
        """This sampler, or one like it with what it takes from a denoiser beforehand: before `times` and `begin`."""
        return self

    def begin(self, sde: SDE, times: Sequence[Marginal]) -> Any:
        """The `state` of the first step under the SDE: what can be computed for all steps through the times at once.

        None by default.  A step has to do with None, and with times that were not announced here.
        """
        return None

    @abstractmethod
    def step(self, denoiser: Denoiser, x: Tensor, t: float, s: float, state: Any, noise: Draws):
        """One step from x_t to x_s, s < t.

        In a sampling t and s are `Marginal`s: floats that know their alpha, sigma, n and phi.  `denoiser.sde.at(t)` is
        the same for any number.

        Arguments:
            denoiser: the model, its conditions bound.
            x: x_t (B, *shape).
            t, s: the times, numbers.
            state: at first what `begin` returned, or None, and then what the step before returned.
            noise: noise(x) gives standard normal numbers like x, a new draw at each call.

        Returns:
            (x_s, state).
        """


def ending(sampler: Sampler, denoiser: Denoiser) -> float | None:
    """The sampler's last time, with that of the denoiser's grain where it says none; None: the SDE's."""
    sde, grain = denoiser.sde, denoiser.grain
    free = sampler.t_min is None and sampler.last == "tweedie" and isinstance(sampler.grid, str)
    if not free or not grain:
        return sampler.t_min
    late = float(sde.time(-2 * math.log(grain)))
    return late if sde.t_min < late < sde.t_max else None


def ended(sampler: Sampler, denoiser: Denoiser) -> Sampler:
    """The sampler with `ending` as its t_min."""
    t_min = ending(sampler, denoiser)
    return sampler if t_min == sampler.t_min else dataclasses.replace(sampler, t_min=t_min)


@checked
def sample(
    denoiser: Denoiser,
    sampler: Sampler,
    shape: Sequence[Count],
    seed: Seed = 0,
    cond: Given = None,
    callback: Callable[[int, float, Tensor, Tensor], None] | None = None,
    offset: Whole = 0,
    progress: bool | Callable[..., None] = True,
    execution: hardware.Execution | None = None,
    begin: Begin = None,
    **short: Any,
) -> Tensor:
    """n samples of the denoiser's model, whose noise is a function of (seed, sample, step).

    Arguments:
        denoiser: in evaluation mode, if it has dropout (`denoiser.eval()`).
        sampler: its steps, its grid of times and its last step.
        shape: (n, *data shape).
        seed, offset: the noise of sample i is that of the number offset + i, whatever is computed beside it.
        cond: the model's conditions by name, a row for each sample or one for all (`denoiser.conditions` says which).
        callback: callback(step, t, x, x0_hat) runs after every step, with the time reached, the state and the latest
            denoised estimate, for each chunk in turn; it must not change them.  One that has a method
            `start(t, x, x0_hat)`, as `Trajectory` has, is told x_T too, for one more evaluation.
        progress: the samples done and the time left are shown, on standard error, where that takes 2 seconds or more;
            a function (done, words) gets them instead, after every step: words() are for reading.
        execution: how it is run.
        begin: (x_0, t), x_0 of `shape` in the model's space: the samples begin at x_t = alpha_t x_0 + sigma_t eps, with
            the noise eps that they have at t_max otherwise, and take those times of the sampler that are before t;
            None: at pure noise.
        short: the fields of an `Execution` in its place: batch_size=100, dtype=torch.float64, compile=True, ...

    Returns:
        A tensor of `shape`, in the model's space.

    Raises:
        InputError: wrong arguments.
        FloatingPointError: a sample is not finite.
        OutOfMemoryError: torch's, if one sample at a time is too much.  An error of one process is raised in all.
    """
    n, *item = (int(d) for d in shape)
    how = hardware.execution_of(execution, short)
    batch_size = n if how.batch_size is None else how.batch_size
    device = device_of(denoiser) if how.device is None else how.device
    if offset + n > 2**32:
        raise InputError(f"offset={offset}: {n} samples from there pass 2^32, the last with noise of its own")
    denoiser = bind(denoiser, cond, n)
    hardware.check(how.compile, how.cuda_graphs, how.autocast, device)
    like = torch.empty(0, *item, dtype=how.dtype or torch.get_default_dtype(), device=device)
    sampler = ended(sampler, denoiser).informed(denoiser)
    times = denoiser.sde.along(cut(sampler.times(denoiser.sde), shape, begin))
    ranks = joined() if how.processes else (0, 1)
    with watched(progress, ranks[0], len(share(n, *ranks)), len(times) - 1) as watch:
        asked = Asked(denoiser, watch, times) if watch and len(times) == 2 else denoiser

        def chunk(start: int, stop: int, report: Callable | None) -> Tensor:
            index = torch.arange(offset + start, offset + stop, device=device)
            if watch:
                watch.over(stop - start)
            part = asked.select(torch.arange(start, stop, device=device))
            rows = like.new_empty(stop - start, *item) if begin is None else begin[0][start:stop].to(like)
            x = _chunk(part, sampler, times, rows, seed, index, report, watch, begin is not None)
            if watch:
                watch.done()
            return x

        draw = hardware.Fitting(denoiser, chunk, batch_size, callback)
        with hardware.network(denoiser, how.compile, how.cuda_graphs, how.autocast):
            return together(draw, n, batch_size, like, device if how.store is None else how.store, ranks)


class _Refused:
    """Stands where a step's noise would, and raises `InputError` when it is asked for any."""

    silent = False

    def __init__(self, sampler: Sampler, source: Source):
        self.refuse = functools.partial(refuse_noise, source, f"{type(sampler).__name__}, which adds noise,")

    def __call__(self, x: Tensor | None = None) -> None:
        self.refuse()

    transition = __call__
    seed = index = step = property(__call__)  # for Brownian paths


@torch.no_grad()
def _chunk(denoiser, sampler, times, like, seed, index, callback, watch, begun) -> Tensor:
    own = self_conditioned(denoiser)
    model = own if callback is None else Counted(own)
    x = first(denoiser.source, like, index, seed)
    x = (times[0].alpha * like + times[0].sigma * x if begun else denoiser.sde.prior(x)).to(like)
    state, ahead = sampler.begin(denoiser.sde, times), Ahead(seed, index, len(times))
    refused = None if denoiser.source.plain else _Refused(sampler, denoiser.source)
    if begin := getattr(callback, "start", None):
        begin(float(times[0]), x, denoiser(x, times[0]))
    for i, (t, s) in enumerate(itertools.pairwise(times)):
        silent = sampler.last == "mean" and i == len(times) - 2
        try:
            x, state = sampler.step(model, x, t, s, state, refused or Draws(seed, index, i + 1, silent, ahead))
        except ZeroDivisionError as error:
            if all(end.alpha and end.sigma for end in (t, s)):
                raise
            words = f"alpha={s.alpha:.4g}, sigma={s.sigma:.4g} at the time {s:.4g}: the step there divides by 0"
            raise FloatingPointError(f"{words} ({sampler})") from error
        if callback is not None:
            # Adaptive solvers evaluate the rows still under way last: not all of them.
            whole = model.x0 is not None and model.x0.shape == x.shape
            callback(i, float(s), x, model.x0 if whole else denoiser(x, s))
        if watch is not None:
            watch.at((i + 1) / len(times))  # the last evaluation is still to come
    if sampler.last == "tweedie":
        x = model(x, times[-1])
    # A sum is finite if all is, unless it overflows.
    if not math.isfinite(x.sum()) and (bad := int((~torch.isfinite(x)).flatten(1).any(1).sum())):
        raise FloatingPointError(
            f"{bad} of {len(x)} samples of {sampler} are not finite: the model or the steps diverged"
        )
    return x
