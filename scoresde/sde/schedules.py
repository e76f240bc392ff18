"""Noise schedules with ends and a temperature, and any SDE with its noise moved, as larger pictures ask for."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from ..errors import InputError
from ..settings import Checked, Positive, Range, Scale
from .base import SDE, as_time
from .known import Cosine

COSINE = Cosine()


@dataclass(frozen=True)
class Sigmoid(SDE):
    """Variance preserving, alpha^2 a piece of a sigmoid, stretched to go from 1 at t = 0 to 0 at t = 1.

    With u = (start + (end - start) t) / tau, a and b its values at t = 0 and 1:

        alpha^2 = (S(b) - S(u)) / (S(b) - S(a)),    S(u) = 1 / (1 + exp(-u))

    Chen (2023), On the Importance of Noise Scheduling for Diffusion Models, arXiv 2301.10972; Jabri, Fleet, Chen
    (2022), arXiv 2212.11972.

    Arguments:
        start, end: the piece.
        tau: a temperature: the smaller, the shorter the time between clean and noisy.
        t_min, t_max: the ends of time.

    Raises:
        InputError: end <= start; whatever `SDE` raises.
    """

    start: float = -3.0
    end: float = 3.0
    tau: Positive = 1.0
    t_min: Scale = 1e-5
    t_max: Positive = 0.999
    alpha_ends: ClassVar[float] = 1.0

    def __post_init__(self):
        super().__post_init__()
        if not self.start < self.end:
            raise InputError(f"end={self.end!r}: give more than start={self.start!r}", "end")

    @property
    def _ends(self) -> tuple[float, float]:
        return self.start / self.tau, self.end / self.tau

    # S(u) - S(v) = sinh((u - v) / 2) / (2 cosh(u / 2) cosh(v / 2)), which keeps its digits where u is near v.

    def log_alpha(self, t):
        a, b = self._ends
        return 0.5 * (_log_sinh((b - a) * (1 - t)) + _log_cosh(a) - _log_sinh(b - a) - _log_cosh(a + (b - a) * t))

    def log_sigma(self, t):
        a, b = self._ends
        return 0.5 * (_log_sinh((b - a) * t) + _log_cosh(b) - _log_sinh(b - a) - _log_cosh(a + (b - a) * t))

    def time(self, log_snr):
        # q = snr cosh(b/2) / cosh(a/2) = sinh((b - u) / 2) / sinh((u - a) / 2)
        (a, b), log_snr = self._ends, as_time(log_snr)
        log_q = log_snr + _log_cosh(b) - _log_cosh(a)
        half = torch.full_like(log_q, (b - a) / 2)
        past = torch.log1p(torch.exp(half + math.log(-math.expm1(a - b)) - torch.logaddexp(log_q, -half)))
        return (past / (b - a)).clamp(self.t_min, self.t_max)


def _softplus(u: Tensor) -> Tensor:
    return torch.nn.functional.softplus(u, threshold=40.0)


def _log_sinh(u: float | Tensor) -> Tensor:
    """log(2 sinh(u / 2)) of u > 0."""
    u = torch.as_tensor(u, dtype=torch.float64)
    return u / 2 + torch.log(-torch.expm1(-u))


def _log_cosh(u: float | Tensor) -> Tensor:
    """log(2 cosh(u / 2))."""
    u = torch.as_tensor(u, dtype=torch.float64)
    return _softplus(-u) + u / 2


@dataclass(frozen=True)
class CosinePower(SDE):
    """Variance preserving, alpha^2 a piece of a power of the cosine, stretched to go from 1 at t = 0 to 0 at t = 1.

    With u = pi / 2 (start + (end - start) t), a and b its values at t = 0 and 1, and C(u) = cos(u)^(2 tau):

        alpha^2 = (C(u) - C(b)) / (C(a) - C(b))

    start 0, end 1 and tau 1 are `Cosine`.  Chen (2023), arXiv 2301.10972.

    Arguments:
        start, end: the piece, of 0 to 1.
        tau: the power.
        t_min, t_max: the ends of time.

    Raises:
        InputError: end <= start; whatever `SDE` raises.
    """

    start: Annotated[float, Range(0, below=1)] = 0.2
    end: Annotated[float, Range(above=0, high=1)] = 1.0
    tau: Positive = 1.0
    t_min: Scale = 1e-3
    t_max: Positive = 0.999
    alpha_ends: ClassVar[float] = 1.0

    def __post_init__(self):
        super().__post_init__()
        if not self.start < self.end:
            raise InputError(f"end={self.end!r}: give more than start={self.start!r}", "end")

    @property
    def _last(self) -> float:
        """log(cos b / cos a)."""
        return math.log(math.cos(math.pi / 2 * self.end) / math.cos(math.pi / 2 * self.start))

    def _fallen(self, t: Tensor) -> Tensor:
        """log(cos u / cos a), which keeps its digits near t = 0."""
        a, width = math.pi / 2 * self.start, math.pi / 2 * (self.end - self.start)
        near = torch.sin(width * t) * torch.sin(2 * a + width * t) / math.cos(a) ** 2
        far = torch.log(torch.cos(a + width * t) / math.cos(a))
        return torch.where(near < 0.5, 0.5 * torch.log1p(-near.clamp(max=0.5)), far)

    def log_alpha(self, t):
        above, power = self._fallen(t), 2 * self.tau
        if self.end < 1:
            above = above + torch.log(-torch.expm1(power * (self._last - above))) / power
        return 0.5 * power * above - 0.5 * math.log(-math.expm1(power * self._last))

    def log_sigma(self, t):
        power = 2 * self.tau
        return 0.5 * (torch.log(-torch.expm1(power * self._fallen(t))) - math.log(-math.expm1(power * self._last)))


@dataclass(frozen=True)
class Shifted(SDE):
    """An SDE with the log-SNR moved by 2 log b, and its alpha^2 + sigma^2 as it was: variance preserving stays so.

        log SNR'(t) = log SNR(t) + 2 log b,    alpha'^2 + sigma'^2 = alpha^2 + sigma^2

    Two papers ask for this.  Neighbouring pixels of larger pictures tell the same, so that the same noise hides less
    of them: a schedule found at d_0 pixels a side serves d of them with b = d_0 / d (Hoogeboom, Heek, Salimans, 2023,
    simple diffusion, arXiv 2301.11093).  And b is the scale of the input, x_t = alpha b x_0 + sigma eps, divided by
    what brings its variance back (Chen, 2023, arXiv 2301.10972): a network that is told c = log(sigma / alpha), and
    whose input is scaled by the rule, sees no difference.

    Arguments:
        sde: the one that is moved; its ends of time are kept.
        scale: b; below 1: more noise at every time.
    """

    sde: SDE = COSINE
    scale: Positive = 0.5

    def __post_init__(self):
        Checked.__post_init__(self)
        for name in ("t_min", "t_max", "grid", "alpha_ends"):
            object.__setattr__(self, name, getattr(self.sde, name))
        super().__post_init__()

    def log_alpha(self, t):
        # alpha^2 = n^2 / (1 + 1 / SNR)
        log_snr = self.sde.log_snr(t)
        moved = _softplus(-log_snr) - _softplus(-log_snr - 2 * math.log(self.scale))
        return self.sde.log_alpha(t) + 0.5 * moved

    def log_sigma(self, t):
        log_snr = self.sde.log_snr(t)
        moved = _softplus(log_snr) - _softplus(log_snr + 2 * math.log(self.scale))
        return self.sde.log_sigma(t) + 0.5 * moved

    def time(self, log_snr):
        return self.sde.time(as_time(log_snr) - 2 * math.log(self.scale))
