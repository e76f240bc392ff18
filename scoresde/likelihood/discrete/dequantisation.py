"""From a density of the model's space to the probability of discrete data: what carries a level into its bin."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ...noise import Stream, uniform
from ...sde import widest
from ...settings import Checked, Count
from ...spaces import Bins
from ..brief import Result

PARTS = ("prior", "volume", "divergence", "diffusion", "reconstruction")


@dataclass(frozen=True, repr=False)
class Discrete(Result):
    """A lower bound on log P(v) of discrete data in nats: `log_prob` = `model` + `bin` + `dequantisation` + `decoder`.

    Arguments:
        log_prob: the bound (B,).
        model: log p of the model's space (B,), the mean over the draws.
        bin: log of the volume of a bin there, that is log|det dx/dy| - D log(levels).
        dequantisation: the draws' entropy (B,) (of a sample, -log q) less that of the uniform law in the bin, and with
            several draws the gain of log-mean-exp over the mean.
        decoder: log P(v | y) (B,), 0 where y cannot leave its bin.
        stderr: that of the model's log p (B,), at most, were the draws of one row wrong alike; None if it gives none.
        parts: what `model` is the sum of, (B,) each by name, where its function says so.
    """

    log_prob: Tensor
    model: Tensor
    bin: float
    dequantisation: Tensor
    decoder: Tensor
    stderr: Tensor | None = None
    parts: dict[str, Tensor] = field(default_factory=dict)


class Dequantiser(Checked, ABC):
    """q(y | v): how a level v becomes a point y of the model's space, for a bound on log P(v) by k draws:

        log 1/k sum_i p(y_i) P(v | y_i) / q(y_i | v),        y_i ~ q(. | v)

    the evidence bound for k = 1, tighter on average with each more (Burda, Grosse, Salakhutdinov, 2016, Importance
    Weighted Autoencoders, arXiv 1509.00519).  With k > 1 the log-densities should be exact: log-mean-exp takes errors
    that differ from draw to draw for gains.  Probes of the same seed share most of theirs (on digits one probe made the
    gain of 4 draws 0.066 bits/dim, eight probes 0.059); the noise of an `elbo` is not shared.

    Arguments:
        draws: k.
    """

    draws: int

    @abstractmethod
    def draw(self, raw: Tensor, data: Any, index: Tensor, seed: int, i: int) -> tuple[Tensor, Tensor, Tensor]:
        """One draw of y for each row.

        Arguments:
            raw: levels v (B, *shape).
            data: the data set, or what has its `space`.
            index: the numbers (B,) of the samples.
            seed, i: the draw is a function of them and of the sample's number.

        Returns:
            y (B, *shape), log q(y | v) (B,) and log P(v | y) (B,).

        Raises:
            InputError: a data set without levels.
        """

    def log_prob(
        self, log_density: Callable[[Tensor], Any], raw: Tensor, data: Any, index: Tensor, seed: int = 0
    ) -> Discrete:
        """The bound for raw items of a data set with levels.

        Arguments:
            log_density: gives log p of y (B, *shape): a tensor (B,), or an object with `log_prob` (and perhaps `stderr`
                and parts), such as `Likelihood` or `Bound`, on any device; it is called once for each draw.
            raw, data, index, seed: as in `draw`.

        Returns:
            A `Discrete`.

        Raises:
            InputError: a data set without levels.
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
    """A `Bound` with a discrete decoder, one given levels, as a `Discrete`: its data are points, without a volume.

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
        y = data.encode(raw, uniform(raw.float(), index, seed, *Stream.BIN(draw=i)))
        y = y.to(widest(y.device))
        zero = y.new_zeros(len(y))
        return y, zero - Bins.of(data).log_volume(raw.shape[1:]), zero


@dataclass(frozen=True)
class ImportanceWeighted(Uniform):
    """log 1/k sum_i p(y_i) + log(volume), the y_i uniform in the bin: `draws` k of `Uniform`, whose first is its own.

    Ho, Chen, Srinivas, Duan, Abbeel (2019), Flow++, arXiv 1902.00275, section 4.1; Burda et al. (2016).
    """

    draws: Count = 8
