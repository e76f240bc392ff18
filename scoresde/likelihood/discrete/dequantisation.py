"""From a density of the model's space to the probability of discrete data: what carries a level into its bin."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ...noise import normal, uniform
from ...sde import SDE, widest
from ...settings import Checked, Count, Scale
from ...spaces import Bins
from ..brief import Result
from ..paths import start_time

_DRAW = 1 << 22  # the numbers of the draws start here, apart from those of bounds and samplers; uniform ones at 0
PARTS = ("prior", "volume", "divergence", "diffusion", "reconstruction")


@dataclass(frozen=True, repr=False)
class Discrete(Result):
    """A lower bound on log P(v) of discrete data in nats: `log_prob` = `model` + `bin` + `dequantisation` + `decoder`.

    `model` (B,): log p of the model's space, the mean over the draws.  `bin`: log of the volume of a bin there, that
    is log|det dx/dy| - D log(levels).  `dequantisation` (B,): the draws' entropy (of a sample, -log q) less that of
    the uniform law in the bin, and with several draws the gain of log-mean-exp over the mean.  `decoder` (B,):
    log P(v | y), 0 where y cannot leave its bin.  `parts`: what `model` is the sum of, where its function says so.
    `stderr` (B,): that of the model's log p, at most, were the draws of one row wrong alike; None if it gives none.
    """

    log_prob: Tensor
    model: Tensor
    bin: float
    dequantisation: Tensor
    decoder: Tensor
    stderr: Tensor | None = None
    parts: dict[str, Tensor] = field(default_factory=dict)


class Dequantiser(Checked, ABC):
    """q(y | v): how a level v becomes a point y of the model's space.  For `draws` k of them the bound on log P(v) is

        log 1/k sum_i p(y_i) P(v | y_i) / q(y_i | v),        y_i ~ q(. | v)

    the evidence bound for k = 1, tighter on average with each more (Burda, Grosse, Salakhutdinov, 2016, Importance
    Weighted Autoencoders, arXiv 1509.00519).  With k > 1 the log-densities should be exact: log-mean-exp takes errors
    that differ from draw to draw for gains.  Probes of the same seed share most of theirs (on digits one probe made
    the gain of 4 draws 0.066 bits/dim, eight probes 0.059); the noise of an `elbo` is not shared.
    """

    draws: int

    @abstractmethod
    def draw(self, raw: Tensor, data: Any, index: Tensor, seed: int, i: int) -> tuple[Tensor, Tensor, Tensor]:
        """y (B, *shape), log q(y | v) (B,) and log P(v | y) (B,): draw number i for the samples `index`."""

    def log_prob(
        self, log_density: Callable[[Tensor], Any], raw: Tensor, data: Any, index: Tensor, seed: int = 0
    ) -> Discrete:
        """The bound for raw items (B, *shape) of a data set with levels, the sample numbers `index` (B,).

        `log_density(y)` gives log p of y (B, *shape): a tensor (B,), or an object with `log_prob` (and perhaps `stderr`
        and parts), such as `Likelihood` or `Bound`, on any device; it is called once for each draw.  Raises
        `InputError` for a data set without levels.
        """
        volume = Bins.of(data).log_volume(raw.shape[1:])
        model, gain, decoder, errors, parts = [], [], [], [], []
        for i in range(self.draws):
            y, log_q, log_p = self.draw(raw, data, index, seed, i)
            found = log_density(y)
            model.append(getattr(found, "log_prob", found).to(log_q))
            gain.append(-log_q - volume)
            decoder.append(log_p)
            errors.append(getattr(found, "stderr", None))
            parts.append({k: getattr(found, k).to(log_q) for k in PARTS if torch.is_tensor(getattr(found, k, None))})
        model, gain, decoder = (torch.stack(a) for a in (model, gain, decoder))
        each = model + gain + decoder
        total = torch.logsumexp(each, 0) - math.log(self.draws)
        mean_model, mean_decoder = model.mean(0), decoder.mean(0)
        stderr = None if errors[0] is None else (each.softmax(0) * torch.stack(errors).to(each)).sum(0)
        averaged = {k: torch.stack([p[k] for p in parts]).mean(0) for k in parts[0]}
        return Discrete(
            total + volume, mean_model, volume, total - mean_model - mean_decoder, mean_decoder, stderr, averaged
        )


def discrete_bound(bound: Any, data: Any) -> Discrete:
    """A `Bound` with a discrete decoder (`levels` given) as a `Discrete`: its data are points, which no volume widens.

    `model` is prior + diffusion, `decoder` the reconstruction; `dequantisation` takes the volume of the bin back.
    """
    volume = Bins.of(data).log_volume(data.shape)
    model = bound.prior + bound.diffusion
    parts = {"prior": bound.prior, "diffusion": bound.diffusion}
    back = torch.full_like(model, -volume)
    return Discrete(bound.log_prob, model, volume, back, bound.reconstruction, bound.stderr, parts)


@dataclass(frozen=True)
class Uniform(Dequantiser):
    """y uniform in the bin: log P(v) >= E log p(y) + log(volume of the bin).

    Theis, van den Oord, Bethge (2016), arXiv 1511.01844.
    """

    draws: Count = field(default=1, init=False)

    def draw(self, raw, data, index, seed, i):
        y = data.encode(raw, uniform(raw.float(), index, seed, 1, i))
        y = y.to(widest(y.device))
        zero = y.new_zeros(len(y))
        return y, zero - Bins.of(data).log_volume(raw.shape[1:]), zero


@dataclass(frozen=True)
class ImportanceWeighted(Uniform):
    """log 1/k sum_i p(y_i) + log(volume), the y_i uniform in the bin: `draws` k of `Uniform`, whose first is its own.

    Ho, Chen, Srinivas, Duan, Abbeel (2019), Flow++, arXiv 1902.00275, section 4.1; Burda et al. (2016).
    """

    draws: Count = 8


@dataclass(frozen=True)
class TruncatedNormal(Dequantiser):
    """y = alpha x_v + sigma eps at t_min, eps normal but kept in the bin, |eps| < tau = alpha width / (2 sigma):

        log P(v) >= E[log p_{t_min}(y) - log q(y)],     q(y) = N(y; alpha x_v, sigma^2) / prod_i erf(tau_i / sqrt 2)

    with P(v) the mass of p_{t_min} in the bin scaled by alpha.  It is what the model saw at t_min if it was trained on
    the bins' centres, so that nothing needs training; tau = 3 or so makes it a tight fit (`matching_time`).  The
    density given must be that of the same `t_min` (the SDE's own for None).  -log q is taken at the sample, not as
    its mean (`entropy`): where p is near q their noises cancel.

    Zheng, Lu, Chen, Zhu (2023), Improved Techniques for Maximum Likelihood Estimation for Diffusion ODEs,
    arXiv 2305.03935.
    """

    sde: SDE
    t_min: Scale | None = None
    draws: Count = 1

    def draw(self, raw, data, index, seed, i):
        x, alpha, sigma, tau = self._bin(raw, data)
        mass = torch.erf(tau / math.sqrt(2))
        u = uniform(x, index, seed, 1, _DRAW + i)
        eps = math.sqrt(2) * torch.erfinv((2 * u - 1) * mass)
        log_q = -0.5 * eps**2 - 0.5 * math.log(2 * math.pi) - math.log(sigma) - mass.log()
        return alpha * x + sigma * eps, log_q.flatten(1).sum(1), x.new_zeros(len(x))

    def entropy(self, raw: Tensor, data: Any) -> Tensor:
        """That of q(. | v), (B,): sum of log(sqrt(2 pi e) sigma Z) - tau N(tau; 0, 1) / Z, Z = erf(tau / sqrt 2)."""
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
    sum is 1.  For models trained on the bins' centres; the density given must be that of the same `t_min`.

    Kingma, Salimans, Poole, Ho (2021), Variational Diffusion Models, arXiv 2107.00630.
    """

    sde: SDE
    t_min: Scale | None = None
    draws: Count = 1

    def draw(self, raw, data, index, seed, i):
        levels = Bins.of(data)
        x = levels.place(raw)
        alpha, sigma = self.sde.marginal(start_time(self.sde, self.t_min))
        eps = normal(x, index, seed, 1, _DRAW + i)
        log_q = (-0.5 * eps**2 - 0.5 * math.log(2 * math.pi) - math.log(sigma)).flatten(1).sum(1)
        y = alpha * x + sigma * eps
        return y, log_q, levels.log_prob(raw, y, alpha, sigma)

    def entropy(self, raw: Tensor) -> float:
        """That of q(. | v), D/2 log(2 pi e sigma^2)."""
        sigma = float(self.sde.marginal(start_time(self.sde, self.t_min))[1])
        return raw[0].numel() * (0.5 * math.log(2 * math.pi * math.e) + math.log(sigma))


def matching_time(sde: SDE, data: Any, tau: float = 3.0) -> float:
    """The time at which half of a bin is `tau` standard deviations of the noise, alpha width / (2 sigma) = tau.

    Of the narrowest bin, not below t_min: where `TruncatedNormal` and `Decoder` are to be used.
    """
    width = torch.as_tensor(Bins.of(data).width).abs().min()
    return float(sde.time(2 * math.log(2 * tau / float(width))))
