"""Times on a grid: the chains of DDPM and of NCSN."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from ..sde import SDE
from ..settings import Checked, Fraction, OneOf, Range
from .times import TIMES, Times, at_level, level_range, named_times


def linear(steps: int) -> Tensor:
    """log alpha_bar (steps,) of DDPM's chain: beta_i linear from 0.1 / steps to 20 / steps.

    alpha_bar_i = prod_{j <= i} (1 - beta_j).  Ho, Jain, Abbeel (2020), arXiv 2006.11239: of 1000 steps, 1e-4 to 0.02.
    """
    beta = torch.linspace(0.1, 20.0, steps, dtype=torch.float64) / steps
    return torch.log1p(-beta.clamp_max(0.999)).cumsum(0)


def cosine(steps: int) -> Tensor:
    """log alpha_bar (steps,) of improved DDPM's chain, each beta at most 0.999:

        alpha_bar_i = f(i) / f(0),    f(i) = cos(pi / 2 (i / steps + 0.008) / 1.008)^2

    Nichol, Dhariwal (2021), arXiv 2102.09672, equation 17.
    """
    angle = (torch.arange(steps + 1, dtype=torch.float64) / steps + 0.008) / 1.008 * math.pi / 2
    ratio = (angle[1:].cos() / angle[:-1].cos()).square()
    return torch.log(ratio.clamp_min(1e-3)).cumsum(0)


CHAINS = {"linear": linear, "cosine": cosine}


@dataclass(frozen=True)
class discrete(Checked, Times):
    """Times on a grid t_1 < ... < t_N, all alike or as another distribution has it, for any SDE.

    A step of the chain goes from t_i to t_{i-1}, the first from t_1 to t_0 = t_min.  The grid is that of noise levels:
    what a chain of alpha_bar says, alpha^2 / sigma^2 = alpha_bar / (1 - alpha_bar), is met exactly wherever the SDE has
    that level; the levels beyond its ends are at its ends.

    The density is that of a histogram, each time's mass spread over its cell in c (between the middles to its
    neighbours), so that a ratio of two on the same grid is that of their masses.

    Arguments:
        steps: N.
        schedule: "uniform": t_i = t_min + (t_max - t_min) i / N; "geometric": sigma / alpha is a geometric sequence
            from that of t_min to that of t_max (Song, Ermon, 2019, arXiv 1907.05600); "linear", "cosine": the products
            of `linear` and `cosine`.
        of: the distribution that the masses follow, each the density at the middle of its cell times the cell's width:
            a name in `TIMES` or a `Times`, `Adaptive` say; None: all alike.
        floor: the share of the mass that stays alike, with an `of`.
    """

    steps: Annotated[int, Range(2, 10**6)] = 1000
    schedule: Literal["uniform", "geometric", "linear", "cosine"] = "uniform"
    of: Annotated[str, OneOf(TIMES)] | Times | None = None
    floor: Fraction = 0.1

    def grid(self, sde: SDE, t_min: float) -> Tensor:
        """t_0 = t_min, t_1, ..., t_N of an SDE `sde`: (steps + 1,) in float64."""
        if self.schedule == "uniform":
            return torch.linspace(t_min, sde.t_max, self.steps + 1, dtype=torch.float64)
        if self.schedule == "geometric":
            c = torch.linspace(*level_range(sde, t_min), self.steps, dtype=torch.float64)
        else:
            log_alpha2 = CHAINS[self.schedule](self.steps)
            c = (torch.log(-torch.expm1(log_alpha2)) - log_alpha2) / 2
        return torch.cat([torch.tensor([t_min], dtype=torch.float64), at_level(sde, c, t_min)])

    def mass(self, sde: SDE, t_min: float) -> Tensor:
        """The chances (steps,) of an SDE's t_1, ..., t_N, from t_min on; float64, of sum 1."""
        even = torch.full((self.steps,), 1 / self.steps, dtype=torch.float64)
        if self.of is None:
            return even
        edges = self._edges(sde, t_min)
        middles = at_level(sde, (edges[1:] + edges[:-1]) / 2, t_min)
        p = named_times(self.of).log_density(sde, middles, t_min).exp().cpu() * edges.diff()
        return (1 - self.floor) * p / p.sum() + self.floor * even

    def _edges(self, sde: SDE, t_min: float) -> Tensor:
        """The ends of the cells in c, (steps + 1,)."""
        low, high = level_range(sde, t_min)
        c = -sde.log_snr(self.grid(sde, t_min)[1:]) / 2
        ends = c.new_tensor([low]), (c[1:] + c[:-1]) / 2, c.new_tensor([high])
        return torch.cat(ends)

    def number(self, sde: SDE, t: Tensor, t_min: float) -> Tensor:
        """i of the time t_i in whose cell t lies, 1..steps.

        Arguments:
            sde: whose times they are.
            t: (B,).
            t_min: the first time of the distribution.

        Returns:
            (B,).
        """
        edges = self._edges(sde, t_min).to(t.device)
        return torch.searchsorted(edges[1:-1], -sde.log_snr(t) / 2, right=True) + 1

    def before(self, sde: SDE, t: Tensor, t_min: float) -> Tensor:
        """t_{i-1}, where the step from t_i = t goes.

        Arguments:
            sde: whose times they are.
            t: (B,).
            t_min: the first time of the distribution.

        Returns:
            (B,).
        """
        return self.grid(sde, t_min).to(t.device)[self.number(sde, t, t_min) - 1]

    def __call__(self, sde: SDE, u: Tensor, t_min: float) -> Tensor:
        i = torch.searchsorted(self.mass(sde, t_min).cumsum(0).to(u.device), u, right=True).clamp_max(self.steps - 1)
        return self.grid(sde, t_min)[1:].to(u.device)[i]

    def log_density(self, sde: SDE, t: Tensor, t_min: float) -> Tensor:
        widths = self._edges(sde, t_min).diff().clamp_min(1e-12)  # of levels that are at one end together
        return (self.mass(sde, t_min) / widths).log().to(t.device)[self.number(sde, t, t_min) - 1]
