"""VDM's learned noise schedule: a monotone network, taught by the variance of the loss."""

from collections.abc import Callable
from typing import Annotated

import torch
from torch import Tensor, nn

from ..making import recorded
from ..sde import SDE
from ..settings import Count, OneOf, Positive, Range
from .times import TIMES, Times, at_level, by_weight, level_range
from .weights import Weighting

BETAS, TINY = (0.9, 0.99), 1e-8


class Schedule(nn.Module, Times):
    """A noise schedule that is learned: times with the density p(c) = F'(c) of a monotone network u = F(c).

        F = floor y + (1 - floor) (g(y) - g(0)) / (g(1) - g(0)),    g(y) = a y + sum_k b_k sigmoid(w_k y - m_k)

    with y = (c - c_min) / (c_max - c_min), c = log(sigma / alpha) and positive a, b, w.  Its inverse c = gamma(u), at u
    uniform in (0, 1), is the schedule.  The expectation of the loss, which divides by p, does not depend on it (Kingma
    et al., equation 18); its variance does, and what is learned is its least: with f the loss per unit of c,

        grad E[(f / p)^2] = -E[(f / p)^2 grad log p(c)]

    needs the losses of the rows and no derivative of the denoiser.  Each `observe` takes one step of Adam.

    The ends c_min and c_max are t_min and t_max of the SDE.  `Adaptive` has the same minimum (follows="loss"), which it
    knows in closed form from a histogram of the errors; this one has no bins, and is as smooth as its network.

    Kingma, Salimans, Poole, Ho (2021), Variational Diffusion Models, arXiv 2107.00630, section 4 and appendix H.

    Arguments:
        weight, base: as in `by_weight`.
        units: how many sigmoids.
        lr: of Adam, for the logarithms of a, b, w and for m.
        floor: the share that stays uniform in c.

    Raises:
        InputError: settings out of range.
    """

    @recorded
    def __init__(
        self,
        weight: Weighting = "simple",
        base: Annotated[str, OneOf(TIMES)] | Times = "log_snr",
        units: Count = 16,
        lr: Positive = 0.03,
        floor: Annotated[float, Range(above=0, high=1)] = 0.1,
    ):
        super().__init__()
        self.shape, self.lr, self.floor = by_weight(weight, base, "v", floor=0.0), lr, floor
        self.add_up: Callable[[Tensor], object] | None = None
        steep = torch.full((units,), 8.0, dtype=torch.float64)
        middles = steep * (torch.arange(units, dtype=torch.float64) + 0.5) / units
        first = [torch.zeros(1, dtype=torch.float64), torch.full_like(steep, -3.0), steep.log(), middles]
        self.register_buffer("values", torch.cat(first))
        self.register_buffer("moments", torch.zeros(2, len(self.values), dtype=torch.float64))
        self.register_buffer("step", torch.zeros((), dtype=torch.float64))

    def _curve(self, y: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """F and dF/dy at y (B,): (B,) each."""
        units = (len(values) - 1) // 3
        log_a, log_b, log_w, m = values.split([1, units, units, units])
        a, b, w = log_a.exp(), log_b.exp(), log_w.exp()
        ends = torch.sigmoid(w * y.new_tensor([[0.0], [1.0]]) - m)
        whole = a + (b * (ends[1] - ends[0])).sum()
        s = torch.sigmoid(w * y[:, None] - m)
        g, slope = a * y + (b * (s - ends[0])).sum(1), a + (b * w * s * (1 - s)).sum(1)
        keep = 1 - self.floor
        return self.floor * y + keep * g / whole, self.floor + keep * slope / whole

    def _place(self, sde: SDE, t: Tensor, t_min: float) -> Tensor:
        low, high = level_range(sde, t_min)
        return ((-sde.log_snr(t) / 2 - low) / (high - low)).to(self.values)

    def forward(self, sde: SDE, u: Tensor, t_min: float) -> Tensor:
        """The inverse of the distribution function, as every `Times` has it.

        Arguments:
            sde, u, t_min: as in `Times.__call__`.

        Returns:
            The times (B,).
        """
        (low, high), u = level_range(sde, t_min), u.to(self.values)
        nodes = torch.linspace(0, 1, 257).to(u)
        k = torch.searchsorted(self._curve(nodes, self.values)[0], u).clamp(1, 256)
        y = (nodes[k - 1] + nodes[k]) / 2
        for _ in range(6):  # Newton's, kept between two nodes
            there, slope = self._curve(y, self.values)
            y = (y + (u - there) / slope).clamp(nodes[k - 1], nodes[k])
        return at_level(sde, low + (high - low) * y, t_min)

    def log_density(self, sde: SDE, t: Tensor, t_min: float) -> Tensor:
        low, high = level_range(sde, t_min)
        return (self._curve(self._place(sde, t, t_min), self.values)[1] / (high - low)).log().to(t.device)

    @torch.no_grad()
    def observe(self, sde: SDE, t: Tensor, error: Tensor, t_min: float) -> None:
        """One step of Adam by what the model's errors are now.

        Arguments:
            sde: whose times they are.
            t: times (B,), drawn from this density.
            error: the mean square errors of v (B,) seen there; what is not finite is passed over.
            t_min: the first time of the distribution.
        """
        loss = (self.shape.log_unit(sde, t, t_min) - self.log_density(sde, t, t_min).to(t)).exp() * error.to(t)
        square = loss.to(self.values).square().nan_to_num(0, 0, 0)
        with torch.enable_grad():
            values = self.values.clone().requires_grad_()
            log_p = self._curve(self._place(sde, t, t_min), values)[1].log()
            (gradient,) = torch.autograd.grad(-(square * log_p).sum(), values)
        new = torch.cat([gradient, square.sum()[None]])
        if self.add_up is not None:
            self.add_up(new)
        gradient = new[:-1] / new[-1].clamp_min(torch.finfo(new.dtype).tiny)  # of the logarithm of E[(f / p)^2]
        self.step += 1
        for moment, value, decay in zip(self.moments, (gradient, gradient.square()), BETAS, strict=True):
            moment.lerp_(value, 1 - decay)
        first, second = (m / (1 - decay**self.step) for m, decay in zip(self.moments, BETAS, strict=True))
        self.values -= self.lr * first / (second.sqrt() + TINY)
