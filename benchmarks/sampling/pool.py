"""Problems whose flow has an exact end: random mixtures of Gaussians, and trained networks."""

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

import scoresde
from scoresde import noise
from scoresde.sampling import ProbabilityFlow, Sampler

SDE = scoresde.VP()
DIMENSIONS = (2, 2, 4, 8, 16, 64, 128, 256)


class Mixture(scoresde.exact.GaussianMixture):
    """The same by products of matrices where all rows have one time, which is ten times faster."""

    def forward(self, x, t):
        if torch.is_tensor(t) and t.ndim:
            return super().forward(x, t)
        at, kind, x = self.sde.at(float(t)), x.dtype, x.double()
        spread = self.stds**2
        inverse = 1 / (at.alpha**2 * spread + at.sigma**2)
        square = (at.alpha**2 * self.means**2 * inverse - inverse.log()).sum(1)
        logits = self.log_weights - (x**2 @ inverse.T - 2 * at.alpha * x @ (self.means * inverse).T + square) / 2
        share, gain = logits.softmax(1), at.alpha * spread * inverse
        return (share @ (self.means * (1 - at.alpha * gain)) + x * (share @ gain)).to(kind)


def draw(seed: int, dimensions: int) -> Mixture:
    """A mixture of 2 to 16 modes, their deviations 0.04 to 0.7 of that of a mean's coordinate, scaled to unit variance.

    The means are independent, or in few directions, or of a power law over the coordinates, or in clusters.
    """
    g = np.random.default_rng(seed)
    modes, kind = int(g.integers(2, 17)), int(g.integers(0, 4))
    means = g.normal(size=(modes, dimensions))
    if kind == 1:
        few = min(dimensions, int(g.integers(1, 9)))
        means = g.normal(size=(modes, few)) @ g.normal(size=(few, dimensions)) / math.sqrt(few)
    elif kind == 2:
        means = means * np.arange(1, dimensions + 1) ** -g.uniform(0.2, 0.8)
    elif kind == 3:
        centres = g.normal(size=(max(2, modes // 3), dimensions))
        means = centres[g.integers(0, len(centres), modes)] + 0.4 * means
    weights = g.dirichlet(np.full(modes, 2.0)) + 0.01
    stds = np.exp(g.uniform(math.log(0.04), math.log(0.7), size=(modes, 1))) * np.ones((1, dimensions))
    if g.random() < 0.5:
        stds = stds * np.exp(0.4 * g.normal(size=(modes, dimensions)))
    share = weights / weights.sum()
    mean = (share @ means).mean()
    deviation = math.sqrt((share @ (means**2 + stds**2)).mean() - mean**2)
    return Mixture(*(torch.from_numpy(v) for v in (weights, (means - mean) / deviation, stds / deviation)), SDE)


@dataclass
class Problem:
    """A denoiser and what is drawn: `n` samples of `shape`; `thin`: too slow for every peer at every budget."""

    name: str
    denoiser: scoresde.Denoiser
    shape: tuple[int, ...]
    n: int
    thin: bool = False
    t_min: float = 1e-3

    def start(self) -> Tensor:
        """x_T as `scoresde.sample` draws it."""
        like = torch.empty(self.n, *self.shape, dtype=torch.float64)
        return self.denoiser.sde.prior(noise.normal(like, torch.arange(self.n), 0, 0, 0))

    def ours(self, sampler: Sampler) -> tuple[Tensor, int]:
        """The end points of one of our samplers, from `start()`, without a last step, and its evaluations."""
        sampler, counted = dataclasses.replace(sampler, last="none", t_min=self.t_min), scoresde.Counted(self.denoiser)
        return scoresde.sample(counted, sampler, (self.n, *self.shape), dtype=torch.float64), counted.calls

    def flow(self) -> Tensor:
        """The exact end points."""
        return self.ours(ProbabilityFlow(rtol=1e-9, atol=1e-9))[0]


def mixtures(seed: int) -> list[Problem]:
    """Eight mixtures of 2 to 256 dimensions."""
    rows = {d: 1024 if d < 100 else 512 for d in DIMENSIONS}
    return [Problem(f"{i + 1}: {d}-D", draw(seed + i, d), (d,), rows[d]) for i, d in enumerate(DIMENSIONS)]


def network(folder: str) -> Problem:
    """A trained network, in float64, which does not limit how near the end one can come."""
    denoiser = scoresde.load(folder).double()
    image = len(denoiser.shape) > 1
    return Problem(denoiser.data.name, denoiser, tuple(denoiser.shape), 64 if image else 256, thin=True)
