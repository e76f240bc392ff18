"""The rule of data with levels: the network answers with probabilities, and the noisy element is weighed exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from ..errors import InputError
from ..sde import expand
from ..settings import Checked, Range
from ..spaces import Bins
from .base import rows

COARSE = 8.0  # widths of a bin: with more noise than that it is taken for a Gaussian of its variance (error below 1e-4)


@dataclass(frozen=True)
class levels(Checked):
    r"""The network predicts how probable each level of an element is, and D is the mean of what remains possible:

        D = sum_k w_k m_k / sum_k w_k,    w_k = e^{l_k} P_k,    P_k = \int_{bin k} N(x / alpha; y, (sigma/alpha)^2) dy

    with l_k the network's logits, (K, *shape) for an item, and m_k the mean of y in bin k under that Gaussian.  It is
    the posterior mean of elements that are independent given what the network saw, each with a density that is constant
    in each bin, or with `spread=False` is on the bins' centres alone (P_k = N(x / alpha; x_k, (sigma/alpha)^2)).

    What little noise leaves of an element, in which bin it is and where in it, is arithmetic and is not learned; the
    network learns how likely the levels are, as the other elements tell.  Edges of bins are sharp at every noise.

    Dieleman et al. (2022), Continuous diffusion for categorical data, arXiv 2211.15089, section 3.1, has the mean over
    levels; Graves et al. (2023), Bayesian Flow Networks, arXiv 2308.07037, section 5, the bins.  Neither weighs the
    noisy element itself in.

    Arguments:
        levels: K.
        scale, shift: bin k is scale (k + [0, 1)) / K + shift, as in `Bins`; `levels.of(space)` takes them from there.
        spread: whether the data are spread over their bins (`dequantise="uniform"`), or stand on the centres.
    """

    levels: Annotated[int, Range(2, 65536)]
    scale: float = 2.0
    shift: float = -1.0
    spread: bool = True

    @classmethod
    def of(cls, held: Any, spread: bool = True) -> levels:
        """That of data.

        Arguments:
            held: a space with levels, or what has one: a data set, a model.
            spread: as the class takes it.

        Returns:
            The rule.

        Raises:
            InputError: no levels, or columns of different bins.
        """
        space = getattr(held, "space", held)
        if getattr(space, "levels", None) is None:
            raise InputError(f"rule=levels: {getattr(held, 'name', 'the data')} has no levels; choose rule=v", "rule")
        bins = Bins.of(space)
        if torch.is_tensor(bins.scale) or torch.is_tensor(bins.shift):
            raise InputError("rule=levels: the columns have bins of their own; choose rule=v", "rule")
        return cls(bins.levels, bins.scale, bins.shift, spread)

    @property
    def outputs(self) -> int:
        """Tensors like x in the network's answer: K."""
        return self.levels

    def __call__(self, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """alpha, sigma (...) to (c_skip, c_out, c_in), each of their shape: the network sees x / n."""
        return torch.zeros_like(alpha), torch.ones_like(alpha), (alpha**2 + sigma**2) ** -0.5

    def mean(self, x: Tensor, alpha: float | Tensor, sigma: float | Tensor, answer: Tensor) -> Tensor:
        """D of noisy x and the network's answer.

        Arguments:
            x: (B, *shape).
            alpha, sigma: numbers, () or (B,).
            answer: the logits (B, K C, *space) beside x (B, C, *space).

        Returns:
            (B, *shape), in the type of x.
        """
        with torch.autocast(x.device.type, enabled=False):  # a place among 256 levels has more digits than bfloat16
            return self._mean(x, alpha, sigma, answer)

    def _mean(self, x: Tensor, alpha: float | Tensor, sigma: float | Tensor, answer: Tensor) -> Tensor:
        unit = self.scale / self.levels
        logits = answer.reshape(len(x), self.levels, *x.shape[1:]).to(x.dtype)
        place = (expand(1 / (alpha * unit), x) * x - self.shift / unit).unsqueeze(1)  # bin k is k to k + 1
        tau = expand(rows(sigma / alpha / abs(unit), x, x.dtype), x).unsqueeze(1)
        if not self.spread:
            return unit * self._of_centres(place, tau, logits) + self.shift
        coarse = self._of_centres(place, tau, logits)
        fine = _of_bins(place, tau.clamp_max(COARSE), logits)
        return unit * torch.where(tau[:, 0] > COARSE, coarse, fine) + self.shift

    def _of_centres(self, place: Tensor, tau: Tensor, logits: Tensor) -> Tensor:
        """The mean in units of bins; a bin that is spread is a Gaussian of its variance 1/12."""
        own, centres = 1 / 12 if self.spread else 0.0, _along(self.levels, place) + 0.5
        variance = tau.square() + own
        weights = torch.addcmul(logits, (place - centres).square(), -0.5 / variance).softmax(1)
        mean = torch.tensordot(weights, centres.flatten(), ([1], [0]))
        return mean if not self.spread else mean + (own / variance * (place - mean.unsqueeze(1)))[:, 0]


def _of_bins(place: Tensor, tau: Tensor, logits: Tensor) -> Tensor:
    """place + tau sum_k e^{l_k} (phi(e_k) - phi(e_{k+1})) / sum_k e^{l_k} (Phi(e_{k+1}) - Phi(e_k)).

    e_k = (k - place) / tau.  Outside all bins both sums are multiplied by exp(d^2 / 2), d the distance to them.
    """
    count = logits.shape[1]
    e = (_along(count + 1, place) - place) / tau
    beyond = (e[:, :1] > 0) | (e[:, -1:] < 0)
    far, size = torch.where(beyond, e.abs().amin(1, keepdim=True), 0.0).detach(), e.abs()
    density = torch.exp(-0.5 * (size - far) * (size + far))
    tail = 0.5 * torch.special.erfcx(size / math.sqrt(2)) * density
    low, high = tail[:, :-1], tail[:, 1:]
    mass = torch.where((e[:, :-1] < 0) & (e[:, 1:] >= 0), 1 - low - high, (low - high).abs())
    logits = (logits - logits.amax(1, keepdim=True).detach()).exp()
    pull = (logits * (density[:, :-1] - density[:, 1:])).sum(1) / math.sqrt(2 * math.pi)
    found = place[:, 0] + tau[:, 0] * pull / (logits * mass).sum(1).clamp_min(torch.finfo(place.dtype).tiny)
    return found.clamp(0, count)


def _along(count: int, like: Tensor) -> Tensor:
    """0 to count - 1, along the second axis."""
    return torch.arange(count, device=like.device, dtype=like.dtype).view(-1, *[1] * (like.ndim - 2))
