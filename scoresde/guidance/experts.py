"""A denoiser of several, each for an interval of noise levels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from ..conditions import Kind
from ..denoiser import Cond, Denoiser
from ..errors import InputError
from ..settings import Range, brief, checked
from .base import known_to, merged, picked, same_sde

Level = Annotated[float, Range(0, math.inf)]
Expert = tuple[Denoiser, tuple[Level, Level]]


class Experts(Denoiser):
    """D(x, t) = D_i(x, t) of the expert whose interval has the noise level, low_i < sigma / alpha <= high_i.

    The intervals tile 0 to infinity; the first has 0 too.  Rows of a batch at different times go to their own experts,
    and a model that has several intervals is called once.  D is as good a posterior mean as the experts are: there is a
    likelihood, of the flow that all of them make together.  Its moments are those of the first expert that knows them,
    its `grain` that of the expert at the least noise.

    Balaji et al. (2022), eDiff-I, arXiv 2211.01324; as a refiner Podell et al. (2023), SDXL, arXiv 2307.01952.

    Arguments:
        experts: pairs (denoiser, (low, high)) in any order, of one SDE, one shape and one space; each is told those of
            the given conditions that it knows.

    Raises:
        InputError: intervals with a hole between them or that overlap; models of two SDEs, of items of two shapes or
            values, of two kinds of noise, bound to two numbers of samples, or with conditions of one name and two
            kinds.
    """

    @checked
    def __init__(self, experts: Sequence[Expert]):
        pairs = sorted(experts, key=lambda pair: pair[1])
        self.ends = _ends([interval for _, interval in pairs])
        models = [model for model, _ in pairs]
        super().__init__(models[0].sde)
        for model in models[1:]:
            _same(models[0], model)
        unique = list(dict.fromkeys(models))
        self.experts = nn.ModuleList(unique)
        self.which = tuple(unique.index(model) for model in models)  # of each interval
        self.conditions, self.made = merged(unique), _all_made(unique)
        self.moments = next((model.moments for model in models if model.moments is not None), None)
        self.grain, self.source = models[0].grain, models[0].source
        self.exact = all(model.exact for model in models)
        self.bound = _bound(models)

    def forward(self, x, t, cond=None):
        return self._asked(lambda model, rows, t: model(x[rows], t, _told(model, cond, rows)), x, t)

    def with_variance(self, x, t, cond=None):
        return self._asked(lambda model, rows, t: model.with_variance(x[rows], t, _told(model, cond, rows)), x, t)

    def log_posterior(self, x0, x, t, cond=None):
        ask = lambda model, rows, t: model.log_posterior(x0[rows], x[rows], t, _told(model, cond, rows))
        return self._asked(ask, x, t)

    def select(self, rows):
        return self if self.bound is None else self._with([picked(model, rows) for model in self.experts], len(rows))

    def _with(self, models: Sequence[Denoiser], bound: int) -> Experts:
        own = self.__class__.__new__(self.__class__)
        own.__dict__.update(self.__dict__)
        own.__dict__["_modules"] = {**self._modules, "experts": nn.ModuleList(models)}
        own.bound = bound
        return own

    def _asked(self, ask: Callable[[Denoiser, Any, Any], Any], x: Tensor, t: float | Tensor) -> Any:
        """The answers of the experts, ask(model, rows, times of these), each in the rows that are its own."""
        alpha, sigma = self._level(t)
        if not isinstance(sigma, Tensor) or not sigma.ndim:
            place = sum(bool(sigma > end * alpha) for end in self.ends)
            return ask(self.experts[self.which[place]], slice(None), t)
        place = sum((sigma > end * alpha).long() for end in self.ends) if self.ends else torch.zeros_like(sigma).long()
        owner = torch.tensor(self.which, device=place.device)[place].to(x.device)
        own = [(owner == i).nonzero()[:, 0] for i in range(len(self.experts))]
        some = [(model, rows) for model, rows in zip(self.experts, own, strict=True) if len(rows)]
        if len(some) == 1:
            return ask(some[0][0], slice(None), t)
        found = [ask(model.select(rows), rows, t[rows.to(t.device)]) for model, rows in some]
        return _joined(found, torch.cat([rows for _, rows in some]).argsort())


@checked
def refined(denoiser: Denoiser, refiner: Denoiser, below: Annotated[float, Range(above=0)]) -> Experts:
    """A model with another one, its refiner, for little noise: `Experts` of two.

    Arguments:
        denoiser: for sigma / alpha above `below`.
        refiner: for the rest.
        below: where the one hands over to the other.

    Returns:
        The two as one denoiser.

    Raises:
        InputError: as `Experts` does.
    """
    return Experts([(refiner, (0.0, below)), (denoiser, (below, math.inf))])


def _ends(intervals: Sequence[tuple[float, float]]) -> tuple[float, ...]:
    """The levels between sorted intervals.  Raises `InputError` where they do not tile 0 to infinity."""
    if not intervals:
        raise InputError("experts=[]: give one or more, as (denoiser, (low, high))", "experts")
    reached = 0.0
    for low, high in intervals:
        if not low < high:
            raise InputError(f"experts: the interval {_words(low, high)} is empty: give low below high", "experts")
        if low != reached:
            what = "no expert is for" if low > reached else "two experts are for"
            words = f"{what} sigma / alpha from {_words(*sorted((low, reached)))}: give intervals that tile 0 to inf"
            raise InputError(f"experts: {words}", "experts")
        reached = high
    if reached != math.inf:
        words = f"no expert is for sigma / alpha from {_words(reached, math.inf)}: give intervals that tile 0 to inf"
        raise InputError(f"experts: {words}", "experts")
    return tuple(float(high) for _, high in intervals[:-1])


def _words(low: float, high: float) -> str:
    return f"{low:g} to {high:g}"


def _same(first: Denoiser, other: Denoiser) -> None:
    """Raises `InputError` for two models that are not of the same thing."""
    same_sde(first, other, "experts: one")
    if first.source != other.source:
        raise InputError(f"experts: one was trained with {first.source}, another with {other.source}", "experts")
    for name in ("shape", "levels"):
        a, b = (getattr(model, name, None) for model in (first, other))
        if None not in (a, b) and a != b:
            raise InputError(f"experts: one is of items of {name} {brief(a)}, another of {brief(b)}", "experts")
    a, b = (getattr(model, "space", None) for model in (first, other))
    if a is not None and b is not None and not all(_alike(getattr(a, k), getattr(b, k)) for k in ("scale", "shift")):
        raise InputError("experts: they see their data in two scales: train them on the same data", "experts")


def _alike(a: Any, b: Any) -> bool:
    a, b = (torch.as_tensor(value, dtype=torch.float64).cpu() for value in (a, b))
    return a.shape == b.shape and torch.equal(a, b)


def _all_made(models: Sequence[Denoiser]) -> dict[str, Kind]:
    found: dict[str, Kind] = {}
    for model in models:
        for name, kind in model.made.items():
            if found.setdefault(name, kind) != kind:
                raise InputError(f"experts: their training told them {name} as {kind} and as {found[name]}", "experts")
    return found


def _bound(models: Sequence[Denoiser]) -> int | None:
    numbers = {model.bound for model in models} - {None}
    if len(numbers) > 1:
        raise InputError(f"experts are bound to {' and '.join(map(str, sorted(numbers)))} samples", "experts")
    return next(iter(numbers), None)


def _told(model: Denoiser, cond: Cond, rows: Tensor | slice) -> Cond:
    return {name: value[rows] for name, value in known_to(model, cond).items()} or None


def _joined(parts: list[Any], order: Tensor) -> Any:
    """Answers of some rows each as one, in order: tensors, pairs of them, or None where one has none."""
    if any(part is None for part in parts):
        return None
    if isinstance(parts[0], tuple):
        return tuple(_joined(list(each), order) for each in zip(*parts, strict=True))
    return torch.cat(parts)[order]
