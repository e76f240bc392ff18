"""Times of models of few steps, found by trying: grids, and a search from the best of them."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ...denoiser import Denoiser
from ...errors import InputError
from ...sde import SDE
from ..loop import Sampler, sample
from ..steps.jump import Jump, Renoise
from ..steps.multistep import Adams

GRIDS = ("uniform_angle", "angle", "cosine_angle", "log_snr", "uniform", "quadratic", "karras")
MOVES = (0.1, 0.05, 0.02)  # of one time after the other, as shares of the angles
ROUNDS = 2  # of each
REFERENCE = Adams(steps=32, last="none")  # the teacher's own flow


class Tried(NamedTuple):
    """A sampler that was tried: its name, that of its grid, and the root mean square and median distances."""

    name: str
    grid: str
    sampler: Sampler
    rms: float
    median: float


class Judge:
    """How far samplers of a model of few steps end from where they should, by one seed's noises.

    By the distance from where the teacher's flow ends, of jumps along it; without a teacher, and of jumps to the data
    with noise in between, by the energy distance to held-out items, which is both figures then.

    Arguments:
        denoiser: the model of few steps, its conditions bound.
        shape: (n, *data shape).
        teacher: its teacher, bound to the same conditions; None.
        items: held-out items in the model's space; None.
        seed: of the noise.

    Raises:
        InputError: neither.
    """

    def __init__(
        self, denoiser: Denoiser, shape: Sequence[int], teacher: Denoiser | None, items: Tensor | None, seed: int
    ):
        if teacher is None and items is None:
            raise InputError("a model of few steps is judged by its teacher, or by held-out items: give one")
        self.denoiser, self.shape, self.seed = denoiser, tuple(shape), seed
        self.items = None if items is None else items.flatten(1).double().cpu()
        self.ends = None if teacher is None else self.drawn(teacher, REFERENCE)

    def drawn(self, denoiser: Denoiser, sampler: Sampler) -> Tensor:
        """Samples (n, *shape), float64, on the CPU.

        Arguments:
            denoiser, sampler: of `sample`.
        """
        return sample(denoiser, sampler, self.shape, self.seed, progress=False, store="cpu").double()

    def along(self, sampler: Sampler) -> bool:
        """Whether a sampler is judged by where the teacher's flow ends.

        Arguments:
            sampler: `Jump` or `Renoise`.
        """
        return self.ends is not None and (isinstance(sampler, Jump) or self.items is None)

    def __call__(self, name: str, grid: str, sampler: Sampler) -> Tried:
        try:
            x = self.drawn(self.denoiser, sampler)
        except FloatingPointError:
            return Tried(name, grid, sampler, math.inf, math.inf)
        if self.along(sampler):
            e = (x - self.ends).square().flatten(1).mean(1).sqrt()
            return Tried(name, grid, sampler, float(e.square().mean().sqrt()), float(e.median()))
        value = energy(x.flatten(1), self.items)
        return Tried(name, grid, sampler, value, value)


def energy(x: Tensor, y: Tensor) -> float:
    """2 E|X - Y| - E|X - X'| - E|Y - Y'| of the rows themselves (n, D) and (m, D): at least 0."""
    return float(2 * torch.cdist(x, y).mean() - torch.cdist(x, x).mean() - torch.cdist(y, y).mean())


def kinds(denoiser: Denoiser, teacher: Denoiser | None) -> dict[str, type[Jump] | type[Renoise]]:
    """The samplers that a model of few steps is tried with.

    Arguments:
        denoiser: the model.
        teacher: its teacher: then a model that jumps anywhere is tried along the flow alone.

    Raises `InputError` for a chain, which has its own times.
    """
    if not isinstance(denoiser.lands, str):
        raise InputError("the model has learned a chain of jumps, whose times are its own: there is nothing to tune")
    if denoiser.lands == "data":
        return {"renoise": Renoise}
    return {"jump": Jump} | ({"renoise": Renoise} if teacher is None else {})


def fit_jumps(
    denoiser: Denoiser,
    steps: int,
    shape: Sequence[int],
    teacher: Denoiser | None = None,
    items: Tensor | None = None,
    seed: int = 0,
    report: Callable[[Tried], None] | None = None,
) -> list[Tried]:
    """Samplers of so many jumps with times by a grid, and with times found by a search from the best grid.

    The search moves one time after the other, by the noises of seed + 1; figures are by those of `seed`.

    Arguments:
        denoiser, shape, teacher, items: as in `Judge`.
        steps: of the samplers.
        seed: of the noise.
        report: called with each that is tried.

    Returns:
        What was tried, the best first.

    Raises:
        InputError: as `Judge` does; a chain.
    """
    told = report or (lambda tried: None)
    judge, other = (Judge(denoiser, shape, teacher, items, s) for s in (seed, seed + 1))
    found = []
    for name, kind in kinds(denoiser, teacher).items():
        if steps == 1 and name == "renoise" and found:
            continue
        tried = []
        for grid in GRIDS if steps > 1 else GRIDS[:1]:
            tried.append(other(name, grid, kind(steps=steps, grid=grid)))
            told(tried[-1])
        best = min(tried, key=_error)
        found += [judge(t.name, t.grid, t.sampler) for t in tried]
        if steps > 1:
            found.append(judge(name, "its own", _moved(other, best, told).sampler))
    return sorted(found, key=_error)


def _error(tried: Tried) -> float:
    return math.sqrt(max(tried.rms, 0.0) * max(tried.median, 0.0))


def _moved(judge: Judge, best: Tried, told: Callable[[Tried], None]) -> Tried:
    """The best of moves of the times between the first and the last, in shares of the angles."""
    sde = judge.denoiser.sde
    shares = _shares(sde, best.sampler.times(sde))
    kind = type(best.sampler)
    for move in (move for move in MOVES for _ in range(ROUNDS)):
        for k in range(1, len(shares) - 1):
            for to in (shares[k] - move, shares[k] + move):
                if not shares[k + 1] + 1e-3 < to < shares[k - 1] - 1e-3:
                    continue
                other = [*shares[:k], to, *shares[k + 1 :]]
                tried = judge(best.name, "its own", kind(steps=len(shares) - 1, grid=_times(sde, other)))
                told(tried)
                if _error(tried) < _error(best):
                    best, shares = tried, other
                    break
    return best


def _shares(sde: SDE, times: Sequence[float]) -> list[float]:
    low, high = (float(sde.angle(t)) for t in (sde.t_min, sde.t_max))
    return [(float(sde.angle(t)) - low) / (high - low) for t in times]


def _times(sde: SDE, shares: Sequence[float]) -> tuple[float, ...]:
    low, high = (float(sde.angle(t)) for t in (sde.t_min, sde.t_max))
    inner = [float(sde.time(-2 * math.log(math.tan(low + (high - low) * u)))) for u in shares[1:-1]]
    return (sde.t_max, *inner, sde.t_min)
