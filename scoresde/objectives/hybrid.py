"""The objectives of improved DDPM: the denoising loss and the bound of a chain, whose variances are learned."""

import dataclasses
from typing import ClassVar

import torch
from torch import Tensor

from ..data import Data
from ..denoiser import Cond, LearnedVariance, Wrapped, step_kl
from ..loss import DenoisingLoss, discrete
from ..making import recorded
from ..model.description import describe
from ..sde import expand
from ..settings import Positive
from ..spaces import Bins
from .denoising import Denoising


class Hybrid(Denoising):
    """L_simple + lambda L_vlb, where L_simple is the loss of `loss`, and L_vlb the bound of a chain of N steps:

        L_vlb = sum_i E KL(q(x_{i-1} | x_i, x_0), p(x_{i-1} | x_i)) / n = E_{i ~ p} KL_i / (p_i n),    of n dimensions

    (`step_kl`).  Of L_vlb D gets no gradient, so that it trains the variances alone; `simple=False` leaves L_simple
    out, and L_vlb then trains both.  The times are those of `loss` on the chain's grid: `loss.discrete`, of which p_i
    is known.  Times that follow the loss (`Adaptive` with follows="loss") are the paper's importance sampling.

    Of data with levels that are not dequantised the first step is the decoder -log P(v | x_1), the mass of N(D, Sigma)
    in the bin (`Bins.log_mass`).

    Nichol, Dhariwal (2021), Improved Denoising Diffusion Probabilistic Models, arXiv 2102.09672, section 3.

    Arguments:
        denoiser: a `LearnedVariance`.
        loss, data, dequantise: as in `Denoising`.
        chain: its steps and their schedule.
        vlb: lambda.
        simple: False: L_vlb alone.

    Raises:
        InputError: settings out of range.
    """

    trains: ClassVar[type] = LearnedVariance

    @recorded
    def __init__(
        self,
        denoiser: LearnedVariance,
        loss: DenoisingLoss,
        data: Data,
        dequantise: str = "uniform",
        chain: discrete = discrete(1000),  # noqa: B008
        vlb: Positive = 1e-3,
        simple: bool = True,
    ):
        times = loss.times.of if isinstance(loss.times, discrete) else loss.times
        on_chain = dataclasses.replace(loss, times=dataclasses.replace(chain, of=times))
        super().__init__(denoiser, on_chain, data, dequantise)
        self.said, self.chain, self.vlb, self.simple = loss, chain, vlb, simple

    def forward(self, drawn: tuple, turn: str = "") -> Tensor:
        x0, t, eps, cond = drawn
        seen = _Seen(self.product)
        simple = self.loss(seen, x0, t, eps, cond)
        mean, v = seen.first
        bound = self.bound(x0.to(mean), t.to(mean), mean.detach() if self.simple else mean, v)
        return self.vlb * bound + (simple if self.simple else 0)

    def bound(self, x0: Tensor, t: Tensor, mean: Tensor, v: Tensor) -> Tensor:
        """What a row adds to L_vlb: the term of its step over the chance of it.

        Arguments:
            x0: x_0 (B, *shape).
            t: times of the chain (B,).
            mean: D(x_t, t) (B, *shape).
            v: of the variance, (B, *shape).

        Returns:
            (B,), in nats a dimension.
        """
        sde, start, times = self.product.sde, self.loss.start(self.product.sde), self.loss.times
        s = times.before(sde, t, start)
        kl = step_kl(sde, t, s, x0, mean, v).flatten(1).mean(1)
        if self.data.levels and self.dequantise == "none":
            first = times.number(sde, t, start) == 1
            kl = torch.where(first, self._decoder(x0, t, s, mean, v), kl)
        chance = times.log_density(sde, t, start) - self.chain.log_density(sde, t, start)
        return self.chain.steps * kl * torch.exp(-chance)

    def _decoder(self, x0: Tensor, t: Tensor, s: Tensor, mean: Tensor, v: Tensor) -> Tensor:
        """-log P(v | x_t) (B,), nats a dimension; Sigma is between sigma_s^2 and sigma_t^2."""
        bins, sde = Bins.of(self.data), self.product.sde
        (_, sigma_t), (_, sigma_s) = sde.marginal(t), sde.marginal(s)
        std = expand(sigma_s, x0) * expand(sigma_t / sigma_s, x0) ** v
        return -bins.log_mass(bins.nearest(x0), mean, std) / x0[0].numel()

    def describe(self):
        return describe(self.product, self.data, self.said, self)


class _Seen(Wrapped):
    """A denoiser that keeps D and v of its first call."""

    first: tuple[Tensor, Tensor] | None = None

    def forward(self, x: Tensor, t: float | Tensor, cond: Cond = None) -> Tensor:
        mean, v = self.denoiser.with_variance(x, t, cond)
        self.first = self.first or (mean, v)
        return mean
