"""Dequantisation by the noise of t_min, kept in the bin or not."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...noise import Stream, normal, uniform
from ...sde import SDE
from ...settings import Count, Scale
from ...spaces import Bins
from ..paths import start_time
from .dequantisation import Dequantiser


@dataclass(frozen=True)
class TruncatedNormal(Dequantiser):
    """y = alpha x_v + sigma eps at t_min, eps normal but kept in the bin, |eps| < tau = alpha width / (2 sigma):

        log P(v) >= E[log p_{t_min}(y) - log q(y)],     q(y) = N(y; alpha x_v, sigma^2) / prod_i erf(tau_i / sqrt 2)

    with P(v) the mass of p_{t_min} in the bin scaled by alpha.  It is what the model saw at t_min if it was trained on
    the bins' centres, so that nothing needs training; tau = 3 or so makes it a tight fit (`matching_time`).  -log q is
    taken at the sample, not as its mean (`entropy`): where p is near q their noises cancel.

    Zheng, Lu, Chen, Zhu (2023), Improved Techniques for Maximum Likelihood Estimation for Diffusion ODEs, arXiv
    2305.03935.

    Arguments:
        sde: that of the model.
        t_min: the density given must be that of the same; None: the SDE's own.
    """

    sde: SDE
    t_min: Scale | None = None
    draws: Count = 1

    def draw(self, raw, data, index, seed, i):
        x, alpha, sigma, tau = self._bin(raw, data)
        mass = torch.erf(tau / math.sqrt(2))
        u = uniform(x, index, seed, *Stream.DEQUANTISER(draw=i))
        eps = math.sqrt(2) * torch.erfinv((2 * u - 1) * mass)
        log_q = -0.5 * eps**2 - 0.5 * math.log(2 * math.pi) - math.log(sigma) - mass.log()
        return alpha * x + sigma * eps, log_q.flatten(1).sum(1), x.new_zeros(len(x))

    def entropy(self, raw: Tensor, data: Any) -> Tensor:
        """That of q(. | v) (B,), in nats, for raw levels v (B, *shape) of the data set `data`; Z = erf(tau / sqrt 2):

        sum of log(sqrt(2 pi e) sigma Z) - tau N(tau; 0, 1) / Z
        """
        _, _, sigma, tau = self._bin(raw, data)
        mass = torch.erf(tau / math.sqrt(2))
        edge = tau * torch.exp(-0.5 * tau**2) / math.sqrt(2 * math.pi)
        return (0.5 * math.log(2 * math.pi * math.e) + math.log(sigma) + mass.log() - edge / mass).flatten(1).sum(1)

    def _bin(self, raw: Tensor, data: Any) -> tuple[Tensor, float, float, Tensor]:
        levels = Bins.of(data)
        x = levels.place(raw)
        alpha, sigma = (float(a) for a in self.sde.marginal(start_time(self.sde, self.t_min)))
        return x, alpha, sigma, (alpha / sigma * levels.half_widths(x)) * torch.ones_like(x)


@dataclass(frozen=True)
class Decoder(Dequantiser):
    """y = alpha x_v + sigma eps at t_min, anywhere, and the exact posterior of the level given y:

        log P(v) >= E[log p_{t_min}(y) + log P(v | y) - log N(y; alpha x_v, sigma^2)]

    with P(v | y) normalised over the levels (`Bins.log_prob`): P(v) is then a true probability over all levels, their
    sum is 1.  For models trained on the bins' centres.

    Kingma, Salimans, Poole, Ho (2021), Variational Diffusion Models, arXiv 2107.00630.

    Arguments:
        sde: that of the model.
        t_min: the density given must be that of the same; None: the SDE's own.
    """

    sde: SDE
    t_min: Scale | None = None
    draws: Count = 1

    def draw(self, raw, data, index, seed, i):
        levels = Bins.of(data)
        x = levels.place(raw)
        alpha, sigma = self.sde.marginal(start_time(self.sde, self.t_min))
        eps = normal(x, index, seed, *Stream.DEQUANTISER(draw=i))
        log_q = (-0.5 * eps**2 - 0.5 * math.log(2 * math.pi) - math.log(sigma)).flatten(1).sum(1)
        y = alpha * x + sigma * eps
        return y, log_q, levels.log_prob(raw, y, alpha, sigma)

    def entropy(self, raw: Tensor) -> float:
        """That of q(. | v), D/2 log(2 pi e sigma^2), for raw levels v (B, *shape), in nats."""
        sigma = float(self.sde.marginal(start_time(self.sde, self.t_min))[1])
        return raw[0].numel() * (0.5 * math.log(2 * math.pi * math.e) + math.log(sigma))


def matching_time(sde: SDE, data: Any, tau: float = 3.0) -> float:
    """The time at which half of a bin is tau standard deviations of the noise, alpha width / (2 sigma) = tau.

    Where `TruncatedNormal` and `Decoder` are to be used.

    Arguments:
        sde: that of the model.
        data: the data set, or what has its `space`; of its bins the narrowest counts.
        tau: half a bin in standard deviations.

    Returns:
        A time, not below t_min.

    Raises:
        InputError: a data set without levels.
    """
    width = torch.as_tensor(Bins.of(data).width).abs().min()
    return float(sde.time(2 * math.log(2 * tau / float(width))))
