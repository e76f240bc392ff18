"""What an examination looks at: items of both splits under the same noise, and the closed-form denoisers of these."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from .. import noise
from ..data import Data, collate, stack
from ..denoiser import Cond, Denoiser
from ..denoiser.moments import Moments
from ..exact import Empirical
from ..sde import SDE, Marginal

LEVELS = 9
LOW, HIGH = 1 / 50, 20.0  # of the data's deviation: the noise levels that are looked at, as far as the SDE goes
POINTS, NUMBERS = 8192, 2**23  # training items that the closed forms know, and their numbers in all
KEPT = 2**24  # numbers that an answer to all levels may have: fewer items of large ones


class Gaussian(Denoiser):
    r"""The best affine denoiser of data with these moments, which is the optimum of Gaussian data:

        D(x) = m + Q diag(alpha s^2 / (alpha^2 s^2 + sigma^2)) Q^T (x - alpha m)

    (Wiener, 1949).  A network that is worse on held-out data than this has not learned the data.
    """

    def __init__(self, moments: Moments, sde: SDE):
        super().__init__(sde)
        self.moments = moments

    def forward(self, x, t, cond=None):
        alpha, sigma = map(float, self._level(t))
        m, s, basis = self.moments.mean, self.moments.deviations, self.moments.basis
        away = x.double().cpu() - alpha * m
        gain = alpha * s**2 / (alpha**2 * s**2 + sigma**2)
        found = m + self.moments.back(self.moments.turn(away, basis) * gain, basis)
        return found.to(x)


class Points(Denoiser):
    r"""The optimum of the training loss on finitely many items: `exact.Empirical`, of items that are blurred by w.

        D(x) = \sum_i p_i (x_i + alpha w^2 / v (x - alpha x_i)),    p_i = softmax(-|x - alpha x_i|^2 / 2v),
        v = alpha^2 w^2 + sigma^2

    w is the deviation of uniform noise within a bin, 0 for continuous data: then it returns training items.
    """

    def __init__(self, points: Tensor, sde: SDE, blur: float = 0.0):
        super().__init__(sde)
        self.sharp, self.blur = Empirical(points, sde), blur

    def forward(self, x, t, cond=None):
        alpha, sigma = map(float, self._level(t))
        v = (alpha * self.blur) ** 2 + sigma**2
        u = float(self.sde.time(math.log(alpha**2 / v)))  # the time with that noise
        mean = self.sharp(x * (float(self.sde.marginal(u)[0]) / alpha), u)
        return mean + (alpha * self.blur**2 / v) * (x - alpha * mean)


@dataclass(frozen=True)
class Some:
    """Items in the model's space, (n, *shape), with their conditions; `first` numbers the noise of the first one."""

    x0: Tensor
    cond: Mapping[str, Tensor]
    first: int

    def __len__(self) -> int:
        return len(self.x0)

    def rows(self, n: int) -> Some:
        """The first n of them."""
        return Some(self.x0[:n], {k: v[:n] for k, v in self.cond.items()}, self.first)


class Material:
    """Up to n items of each split, in the space of the data given, and noise of `LEVELS` levels.

    Arguments:
        sde: of x_t.
        data: as it is given now, whatever a model was trained with.
        names: the conditions that items come with.
        n: items of each split.
        seed: of all noise.
        dequantise: "uniform" within the bin, as training has it, or "none".
        device: where they are kept.
    """

    def __init__(
        self,
        sde: SDE,
        data: Data,
        names: Iterable[str] = (),
        n: int = 256,
        seed: int = 0,
        dequantise: str = "uniform",
        device: torch.device | str = "cpu",
    ):
        self.sde, self.data, self.names, self.seed = sde, data, [k for k in names if k in data.conditions], seed
        self.jitter, self.device = dequantise == "uniform" and bool(data.levels), device
        self.size = math.prod(data.shape)
        self.n = min(n, max(16, KEPT // (LEVELS * self.size)))
        s = self.deviation
        low, high = (math.exp(-float(sde.log_snr(t)) / 2) for t in (sde.t_min, sde.t_max))
        ends = max(low, LOW * s), min(high, HIGH * s)
        if not ends[0] < ends[1]:
            ends = low, high
        self.r = torch.logspace(*map(math.log10, ends), LEVELS, dtype=torch.float64)
        self.levels: list[Marginal] = sde.along(sde.time(-2 * self.r.log()).tolist())

    @cached_property
    def points(self) -> Tensor:
        """The training items that the closed forms know, evenly chosen: (N, *shape), in the model's space."""
        n = len(self.data.train)
        index = np.arange(k := min(n, POINTS, max(512, NUMBERS // self.size))) * n // k
        return self.data.encode(stack(self.data.train, index))

    @property
    def blur(self) -> float:
        """The deviation of the noise of dequantisation."""
        return (
            float(torch.as_tensor(self.data.space.width).double().square().mean() / 12) ** 0.5 if self.jitter else 0.0
        )

    @cached_property
    def moments(self) -> Moments:
        """Of the training items given."""
        return Moments.of(self.points, self.blur**2)

    @cached_property
    def deviation(self) -> float:
        """The root mean square of the deviations of all directions."""
        return float(self.moments.deviations.expand(self.moments.directions).square().mean().sqrt())

    @cached_property
    def test(self) -> Some:
        return self._some("test", 1 << 20)

    @cached_property
    def train(self) -> Some:
        return self._some("train", 0)

    def _some(self, split: str, first: int) -> Some:
        items = getattr(self.data, split)
        count = min(self.n, len(items))
        limit = min(len(items), len(self.points)) if split == "train" else len(items)
        index = np.arange(count) * limit // max(1, count)
        if split == "train":  # of those that the closed forms know
            index = index * len(items) // limit
        batch = collate(items, index, self.names)
        u = noise.uniform(batch.x.float(), torch.arange(first, first + count), self.seed, 0) if self.jitter else None
        cond = {k: self.data.conditions[k].rows(k, v, count).to(self.device) for k, v in batch.cond.items()}
        return Some(self.data.encode(batch.x, u).to(self.device), cond, first)

    def forget(self, name: str) -> None:
        """The items come without a condition from now on."""
        self.names.remove(name)
        for split in ("test", "train"):
            some = getattr(self, split)
            self.__dict__[split] = Some(some.x0, {k: v for k, v in some.cond.items() if k != name}, some.first)

    def noisy(self, some: Some, k: int, n: int | None = None) -> tuple[Tensor, Tensor]:
        """x_t at level k of the first n items, and its noise."""
        x0 = some.x0[:n]
        index = torch.arange(some.first, some.first + len(x0), device=x0.device)
        eps = noise.normal(x0, index, self.seed, 1, k)
        return self.levels[k].alpha * x0 + self.levels[k].sigma * eps, eps

    @torch.no_grad()
    def answers(self, denoiser: Denoiser, some: Some, cond: Cond = None, levels: Iterable[int] | None = None) -> Tensor:
        """D of the items at all levels, (L, n, *shape), told their own conditions, or `cond` in place of them."""
        given = some.cond if cond is None else cond
        given = {k: v for k, v in given.items() if k in denoiser.conditions}
        levels = range(LEVELS) if levels is None else levels
        return torch.stack([denoiser(self.noisy(some, k)[0], self.levels[k], given or None) for k in levels])

    def error(self, answers: Tensor, some: Some) -> Tensor:
        """|D - x_0|^2 / size of each level and item: (L, n), float64."""
        return (answers.double() - some.x0.double()).flatten(2).square().mean(2).cpu()

    @cached_property
    def weight(self) -> Tensor:
        """(1 + r^2) / r^2 by level (L, 1): |D - x_0|^2 times this is the error of v at alpha = 1, of order 1 at all."""
        return ((1 + self.r**2) / self.r**2)[:, None]

    @cached_property
    def linear(self) -> dict[str, Tensor]:
        """Errors (L, n) of the best affine denoiser, on both splits."""
        return self._errors(Gaussian(self.moments, self.sde))

    @cached_property
    def optimal(self) -> dict[str, Tensor]:
        """Errors (L, n) of the optimum on the training items, on both splits."""
        return self._errors(Points(self.points.to(self.device), self.sde, self.blur))

    def _errors(self, denoiser: Denoiser) -> dict[str, Tensor]:
        pairs = {"test": self.test, "train": self.train}
        return {name: self.error(self.answers(denoiser, some), some) for name, some in pairs.items()}
