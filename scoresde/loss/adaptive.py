"""A density of times that follows the running error of the model."""

from collections.abc import Callable
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from ..making import recorded
from ..sde import SDE
from ..settings import OneOf, Range
from .times import TIMES, Times, at_level, bin_of, by_weight, density, level_range, quantile
from .weights import Weighting


class Adaptive(nn.Module, Times):
    """Times where the loss is: p(c) ~ base(c) w(c) r(c) e(c), constant in each of `bins` bins of c = log(sigma/alpha).

    w, base and r = sigma^2 / (alpha^2 + sigma^2) are those of `by_weight`, and e comes from E_v, the running mean
    square error of v (one data dimension's) in each bin.  The running means start at 1 and are smoothed over
    neighbours.  A loss that divides by the density, as `DenoisingLoss` with a `base` does, keeps its expectation
    whatever the state.

    This is what a learned noise schedule is: in continuous time the bound depends on the schedule by its two ends only,
    and the schedule between them is a density over the log-SNR, learned to make the variance small (Kingma, Salimans,
    Poole, Ho, 2021, Variational Diffusion Models, arXiv 2107.00630, section 5.1 and appendix H).  Its ends are t_min
    and t_max of the SDE: a network that knows no SDE can be scored from any later t_min without training again, so the
    best end is chosen after training, by the bound.

    The state is two buffers, saved with the model.  Where several processes share a batch, `add_up` sums a tensor over
    them, in place.

    Arguments:
        weight, base: as in `by_weight`.
        bins: the number of bins.
        decay: the share of the running means that a step leaves.
        floor: the share of a uniform density that is mixed in, so that no level is ever lost.
        follows: "loss", e = sqrt(E[E_v^2]), the least variance of the loss (Nichol, Dhariwal, 2021, arXiv 2102.09672);
            "gradient", e = sqrt(E[E_v]), the size of the gradient by the network's answer, 2 w r (net - v).

    Raises:
        InputError: settings out of range.
    """

    @recorded
    def __init__(
        self,
        weight: Weighting = "likelihood",
        base: Annotated[str, OneOf(TIMES)] | Times = "uniform",
        bins: Annotated[int, Range(1, 10**6)] = 64,
        decay: Annotated[float, Range(above=0, below=1)] = 0.99,
        floor: Annotated[float, Range(above=0, high=1)] = 0.1,
        follows: Literal["loss", "gradient"] = "gradient",
    ):
        super().__init__()
        self.shape = by_weight(weight, base, "v", bins, floor=0.0)
        self.decay, self.floor, self.follows = decay, floor, follows
        self.add_up: Callable[[Tensor], object] | None = None
        self.register_buffer("total", torch.ones(bins, dtype=torch.float64))
        self.register_buffer("count", torch.ones(bins, dtype=torch.float64))

    def mass(self, sde: SDE, t_min: float) -> Tensor:
        """The probabilities (bins,) of the bins of an SDE's times from t_min on; float64, of sum 1."""
        p = self.shape.mass(sde, t_min).to(self.total) * (_smooth(self.total) / _smooth(self.count)).sqrt()
        return (1 - self.floor) * p / p.sum() + self.floor / len(p)

    def forward(self, sde: SDE, u: Tensor, t_min: float) -> Tensor:
        """The inverse of the distribution function, as every `Times` has it.

        Arguments:
            sde, u, t_min: as in `Times.__call__`.

        Returns:
            The times (B,).
        """
        c = quantile(self.mass(sde, t_min), *level_range(sde, t_min), u.to(self.total.device))
        return at_level(sde, c, t_min)

    def log_density(self, sde: SDE, t: Tensor, t_min: float) -> Tensor:
        return density(self.mass(sde, t_min), *level_range(sde, t_min), -sde.log_snr(t) / 2).log()

    @torch.no_grad()
    def observe(self, sde: SDE, t: Tensor, error: Tensor, t_min: float) -> None:
        """Takes what the model's errors are now.

        Arguments:
            sde: whose times they are.
            t: times (B,).
            error: the mean square errors of v (B,) seen there; what is not finite is passed over.
            t_min: the first time of the distribution.
        """
        t, error = t.to(self.total.device), error.to(self.total)
        k = bin_of(len(self.total), *level_range(sde, t_min), -sde.log_snr(t) / 2)
        seen = error.isfinite().to(error)
        error = error.nan_to_num(0, 0, 0)
        new = torch.zeros_like(torch.stack([self.total, self.count]))
        new[0].index_add_(0, k, error**2 if self.follows == "loss" else error)
        new[1].index_add_(0, k, seen)
        if self.add_up is not None:
            self.add_up(new)
        self.total.mul_(self.decay).add_(new[0])
        self.count.mul_(self.decay).add_(new[1])


def _smooth(a: Tensor) -> Tensor:
    """Each entry twice, and its neighbours."""
    left, right = torch.cat([a[:1], a[:-1]]), torch.cat([a[1:], a[-1:]])
    return left + 2 * a + right
