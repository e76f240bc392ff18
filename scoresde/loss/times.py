"""Distributions of times: how they are drawn, and the density that an importance weight divides by."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from ..errors import InputError
from ..sde import SDE
from ..settings import Checked, Fraction, OneOf, Positive, Range
from .weights import Weighting, named_weight

POWER, BELOW, WIDE = 1.5, -0.69, 1.33  # how `lognormal` follows the data
LEAST = -1.0, 1.5  # its mean and deviation: those of 8x8 digits


class Times(ABC):
    """A distribution of times on [t_min, t_max]: `times(sde, u, t_min)` draws, `log_density` says how densely.

    A weight says what is minimised, a density where it is looked at: a loss that divides by the density has the same
    expectation for all of them, and another variance.
    """

    @abstractmethod
    def __call__(self, sde: SDE, u: Tensor, t_min: float) -> Tensor:
        """The inverse of the distribution function.

        Arguments:
            sde: whose times they are.
            u: (B,), float64 in (0, 1).
            t_min: the first time.

        Returns:
            The times (B,).
        """

    @abstractmethod
    def log_density(self, sde: SDE, t: Tensor, t_min: float) -> Tensor:
        """The log-density per unit of c = log(sigma / alpha).

        In c and not in t, because c means the same for every SDE: p_c = p_t / c'(t), c' = g^2 / (2 sigma^2).  Infinite
        where t is an atom, which then weighs nothing.

        Arguments:
            sde: whose times they are.
            t: (B,).
            t_min: the first time.

        Returns:
            (B,), on the device of t.
        """


@dataclass(frozen=True)
class _Uniform(Times):
    """Uniform in t on [t_min, t_max]."""

    def __call__(self, sde: SDE, u: Tensor, t_min: float) -> Tensor:
        return t_min + (sde.t_max - t_min) * u

    def log_density(self, sde: SDE, t: Tensor, t_min: float) -> Tensor:
        _, sigma = sde.marginal(t)
        return -torch.log(sde.drift_diffusion(t)[1] / (2 * sigma**2) * (sde.t_max - t_min))


@dataclass(frozen=True)
class _LogSNR(Times):
    """Uniform in the log-SNR on [t_min, t_max]: the same noise levels for every SDE with the same ends."""

    def __call__(self, sde: SDE, u: Tensor, t_min: float) -> Tensor:
        low, high = level_range(sde, t_min)
        return at_level(sde, low + (high - low) * u, t_min)

    def log_density(self, sde: SDE, t: Tensor, t_min: float) -> Tensor:
        low, high = level_range(sde, t_min)
        return torch.full_like(t, -math.log(high - low))


@dataclass(frozen=True)
class _Highest(Times):
    """t_max alone, where x_t tells next to nothing: the answer that is learned is E[x_0 | what the model is told].

    So trained, a network is plain regression on its conditions, D(x_T, t_max, cond): one step of DDIM to t = 0.
    """

    def __call__(self, sde: SDE, u: Tensor, t_min: float) -> Tensor:
        return torch.full_like(u, sde.t_max)

    def log_density(self, sde: SDE, t: Tensor, t_min: float) -> Tensor:
        return torch.where(t >= sde.t_max, torch.inf, -torch.inf)


uniform, log_snr, highest = _Uniform(), _LogSNR(), _Highest()


@dataclass(frozen=True)
class lognormal(Checked, Times):
    """log(sigma / alpha) ~ N(mean, std^2), kept within [t_min, t_max] (Karras et al., 2022, arXiv 2206.00364).

    What falls outside is moved to the nearer end, an atom.  The larger and the smoother a picture is, the more noise it
    takes to hide its layout: what is None follows the data (`fitted`), and is that of 8x8 digits where there are none.
    """

    mean: float | None = -1.2
    std: Positive | None = 1.2

    @property
    def normal(self) -> tuple[float, float]:
        """Mean and standard deviation of log(sigma / alpha)."""
        return (LEAST[0] if self.mean is None else self.mean, LEAST[1] if self.std is None else self.std)

    def fitted(self, deviations: Tensor) -> "lognormal":
        """The same for data whose principal components have these standard deviations s, in the model's space.

        A component is told from noise of about its own size, at log(sigma / alpha) = log s.  With weights s^p / sum
        s^p, of mean m and variance v of log s,

            mean = m - 0.69      std^2 = v + 1.33^2

        p lies between 0, where each dimension counts alike, as in the likelihood, and 2, where each counts by its
        variance, as in the layout; it is 1.5, and never is the mean below -1 or the deviation below 1.5, as samples
        begin at much noise whatever the data.  The numbers were chosen by measure (docs/howto/objectives.md).

        Arguments:
            deviations: s (...), above 0.

        Returns:
            The distribution with what was None, to two digits, so that other machines find the same.
        """
        s = deviations.flatten().double()
        weight = s**POWER / (s**POWER).sum()
        mean = float((weight * s.log()).sum())
        variance = float((weight * s.log() ** 2).sum()) - mean**2
        found = round(max(LEAST[0], mean + BELOW), 2), round(max(LEAST[1], math.sqrt(variance + WIDE**2)), 2)
        return lognormal(found[0] if self.mean is None else self.mean, found[1] if self.std is None else self.std)

    def __call__(self, sde: SDE, u: Tensor, t_min: float) -> Tensor:
        mean, std = self.normal
        c = mean + std * math.sqrt(2) * torch.erfinv((2 * u - 1).clamp(-1 + 1e-12, 1 - 1e-12))
        return sde.time(-2 * c).clamp(t_min, sde.t_max)

    def log_density(self, sde: SDE, t: Tensor, t_min: float) -> Tensor:
        mean, std = self.normal
        z = (-sde.log_snr(t) / 2 - mean) / std
        inside = (t > t_min) & (t < sde.t_max)
        return torch.where(inside, -0.5 * z**2 - math.log(std * math.sqrt(2 * math.pi)), math.inf)


# By name: the distribution, and how its u are spread unless the loss says.
TIMES: dict[str, tuple[Times, str]] = {
    "uniform": (uniform, "iid"),
    "stratified": (uniform, "stratified"),
    "lognormal": (lognormal(), "stratified"),
    "log_snr": (log_snr, "stratified"),
    "highest": (highest, "iid"),
}


def named_times(times: str | Callable) -> Callable:
    """The distribution of that name, or the object itself.  Raises `InputError` for an unknown name."""
    if isinstance(times, str) and times not in TIMES:
        raise InputError(f"loss times {times!r} is unknown: choose one of {', '.join(TIMES)}")
    return TIMES[times][0] if isinstance(times, str) else times


def draw_of(times: str | Callable) -> str:
    """How the u of these times are spread by default, a name in `DRAWS`."""
    return TIMES[times][1] if isinstance(times, str) else "stratified"


@dataclass(frozen=True)
class by_weight(Checked, Times):
    """A density proportional to the weight: importance sampling for any SDE.

        p(c) ~ base(c) w(t(c)) r(c),    c = log(sigma / alpha)

    For "likelihood" over uniform times and the error of eps it is uniform in c, which for VP is the closed form of Song
    et al. (2021), arXiv 2101.09258.

    Arguments:
        weight: w, of |D - x_0|^2: a name in `WEIGHTS` or a function (sde, t) -> (B,).
        base: the distribution that the loss is an expectation over, as in `DenoisingLoss`: a name in `TIMES` or a
            `Times`.
        error: r = sigma^2 / alpha^2 for "eps", sigma^2 / (alpha^2 + sigma^2) for "v": it turns w into the weight of the
            mean square error of eps or of v, which are of one size at all noise levels (that of v more so: the error of
            eps vanishes at high noise).
        bins: the density is constant in each of so many equal intervals of c, and exactly so: the table costs no bias.
        floor: the fraction of it that is uniform, which bounds the ratio of any two densities (a defensive mixture,
            Hesterberg, 1995).
    """

    weight: Weighting = "likelihood"
    base: Annotated[str, OneOf(TIMES)] | Times = "uniform"
    error: Literal["eps", "v"] = "v"
    bins: Annotated[int, Range(1, 10**6)] = 512
    floor: Fraction = 0.1

    def mass(self, sde: SDE, t_min: float) -> Tensor:
        """The weights (bins,) of the bins of an SDE's times from t_min on, from their middles; float64, of sum 1."""
        low, high = level_range(sde, t_min)
        c = low + (high - low) * (torch.arange(self.bins, dtype=torch.float64) + 0.5) / self.bins
        log_mass = self.log_unit(sde, at_level(sde, c, t_min), t_min)
        return (1 - self.floor) * log_mass.softmax(0) + self.floor / self.bins

    def log_unit(self, sde: SDE, t: Tensor, t_min: float) -> Tensor:
        """log(base w r), of the loss per unit of c where the error is 1.

        Arguments:
            sde: whose times they are.
            t: (B,).
            t_min: the first time of the distribution.

        Returns:
            (B,).
        """
        c = -sde.log_snr(t) / 2
        log_r = 2 * c if self.error == "eps" else -torch.nn.functional.softplus(-2 * c)
        return named_weight(self.weight)(sde, t).log() + named_times(self.base).log_density(sde, t, t_min) + log_r

    def __call__(self, sde: SDE, u: Tensor, t_min: float) -> Tensor:
        return at_level(sde, quantile(self.mass(sde, t_min), *level_range(sde, t_min), u), t_min)

    def log_density(self, sde: SDE, t: Tensor, t_min: float) -> Tensor:
        return density(self.mass(sde, t_min), *level_range(sde, t_min), -sde.log_snr(t) / 2).log()


TIMES["by_weight"] = (by_weight(), "stratified")


def level_range(sde: SDE, t_min: float) -> tuple[float, float]:
    """c = log(sigma / alpha) at t_min and at t_max.  Raises `InputError` where it is infinite."""
    low, high = (-sde.log_snr(torch.tensor([t_min, sde.t_max], dtype=torch.float64)) / 2).tolist()
    if not math.isfinite(high - low):
        raise InputError(f"t_min={t_min!r}: the log-SNR of {sde} is infinite at an end; give a larger t_min")
    return low, high


def at_level(sde: SDE, c: Tensor, t_min: float) -> Tensor:
    """The times at which log(sigma / alpha) is c."""
    return sde.time(-2 * c).clamp(t_min, sde.t_max)


def quantile(mass: Tensor, low: float, high: float, u: Tensor) -> Tensor:
    """The inverse distribution function at u (B,) of the masses (K,), sum 1, of K equal bins on [low, high]."""
    ends = mass.cumsum(0)
    k = torch.searchsorted(ends, u, right=True).clamp(max=len(mass) - 1)
    within = ((u - ends[k] + mass[k]) / mass[k]).clamp(0, 1)
    return low + (high - low) * (k + within) / len(mass)


def density(mass: Tensor, low: float, high: float, c: Tensor) -> Tensor:
    """The density at c (B,) of the same."""
    return mass.to(c.device)[bin_of(len(mass), low, high, c)] * len(mass) / (high - low)


def bin_of(bins: int, low: float, high: float, c: Tensor) -> Tensor:
    """The number (B,) of the bin that holds c (B,)."""
    return ((c - low) * (bins / (high - low))).long().clamp(0, bins - 1)
