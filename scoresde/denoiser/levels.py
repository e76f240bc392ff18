"""The rule of data with levels: the network answers with probabilities, and the noisy element is weighed exactly."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from ..errors import InputError
from ..sde import expand, widest
from ..settings import Checked, Range, Whole, brief
from ..spaces import Bins
from .base import rows
from .bins import edges_on, merged, of_bins, of_centres, parts_of_bins, seen

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
    Where levels are many, neighbours may share a bin (`cuts`): within it none is more likely than another.

    Dieleman et al. (2022), Continuous diffusion for categorical data, arXiv 2211.15089, has the mean over
    levels; Graves et al. (2023), Bayesian Flow Networks, arXiv 2308.07037, section 5, the bins.  Neither weighs the
    noisy element itself in.

    Arguments:
        levels: of the data.
        scale, shift: level v is scale (v + [0, 1)) / levels + shift, as in `Bins`.
        spread: whether the data are spread over their bins (`dequantise="uniform"`), or stand on the centres.
        cuts: the first level of each bin, from 0 on; (): each level has its own.

    Raises:
        InputError: cuts that do not increase from 0, or without spread.
    """

    levels: Annotated[int, Range(2, 65536)]
    scale: float = 2.0
    shift: float = -1.0
    spread: bool = True
    cuts: tuple[Whole, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "cuts", tuple(self.cuts))
        ends = (*self.cuts, self.levels)
        if self.cuts and (ends[0] != 0 or any(b <= a for a, b in itertools.pairwise(ends)) or not self.spread):
            words = f"cuts={brief(self.cuts)}: first levels of bins, from 0 on, each below {self.levels}"
            raise InputError(f"{words}, of data that are spread over them", "cuts")

    @classmethod
    def of(cls, held: Any, spread: bool = True, bins: int | None = None) -> levels:
        """That of data.

        Arguments:
            held: a space with levels, or what has one: a data set, a model.
            spread: as the class takes it.
            bins: how many; where the data set has more levels, neighbours share bins such that, by how often each
                level is there (`Data.counts`), least is lost of what the levels tell.

        Returns:
            The rule.

        Raises:
            InputError: no levels, or columns of different bins; fewer bins than 2, or bins of what has no counts.
        """
        space = getattr(held, "space", held)
        if getattr(space, "levels", None) is None:
            raise InputError(f"rule=levels: {getattr(held, 'name', 'the data')} has no levels; choose rule=v", "rule")
        found = Bins.of(space)
        if torch.is_tensor(found.scale) or torch.is_tensor(found.shift):
            raise InputError("rule=levels: the columns have bins of their own; choose rule=v", "rule")
        counts = getattr(held, "counts", None)
        if bins is not None and (bins < 2 or counts is None):
            raise InputError(
                f"bins={bins} of {type(held).__name__}: give 2 or more, and a data set, which counts its levels", "bins"
            )
        cuts = merged(counts, bins) if bins is not None and bins < found.levels else ()
        return cls(found.levels, found.scale, found.shift, spread, cuts)

    @property
    def outputs(self) -> int:
        """Tensors like x in the network's answer: K."""
        return len(self.cuts) or self.levels

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

    def log_posterior(
        self, x0: Tensor, x: Tensor, alpha: float | Tensor, sigma: float | Tensor, answer: Tensor
    ) -> Tensor:
        """log p(x_0 | x_t = x), of elements that are independent given what the network saw:

            p(x_0 | x) = e^{l_k} N(x_0; x / alpha, (sigma/alpha)^2) / sum_j e^{l_j} P_j,    k the bin of x_0

        Arguments:
            x0: (B, *shape), within the bins.
            x, alpha, sigma, answer: as in `mean`.

        Returns:
            (B,), in nats.
        """
        with torch.autocast(x.device.type, enabled=False):
            unit, real = self.scale / self.levels, widest(x.device)
            place, tau, logits, level = self._places(x.to(real), alpha, sigma, answer)
            at = ((x0.to(real) - self.shift) / unit).clamp(0, self.levels)
            edges = self._edges(place)
            k = (torch.searchsorted(edges.flatten(), at.contiguous(), right=True) - 1).clamp(0, self.outputs - 1)
            top = logits.amax(1, keepdim=True)
            _, mass, far = parts_of_bins(place, tau, edges)
            whole = ((logits - top).exp() * mass).sum(1).clamp_min(torch.finfo(real).tiny).log()
            whole = whole + (top - 0.5 * far.square())[:, 0]
            normal = -0.5 * ((at - place[:, 0]) / tau[:, 0]).square() - tau[:, 0].log() - 0.5 * math.log(2 * math.pi)
            found = logits.gather(1, k.unsqueeze(1))[:, 0] + normal - whole - math.log(abs(unit))
            return found.flatten(1).sum(1)

    def _places(self, x: Tensor, alpha: float | Tensor, sigma: float | Tensor, answer: Tensor) -> tuple:
        """x / alpha and sigma / alpha in units of levels, level v from v to v + 1, and the logits: (B, 1 or K, *shape);
        and sigma / alpha as it came."""
        unit = self.scale / self.levels
        logits = answer.reshape(len(x), self.outputs, *x.shape[1:]).to(x.dtype)
        place = (expand(1 / (alpha * unit), x) * x - self.shift / unit).unsqueeze(1)
        level = sigma / alpha / abs(unit)
        return place, expand(rows(level, x, x.dtype), x).unsqueeze(1), logits, level

    def _mean(self, x: Tensor, alpha: float | Tensor, sigma: float | Tensor, answer: Tensor) -> Tensor:
        unit = self.scale / self.levels
        place, tau, logits, level = self._places(x, alpha, sigma, answer)
        edges = self._edges(place)
        limit = COARSE * max(b - a for a, b in itertools.pairwise((*self.cuts, self.levels))) if self.cuts else COARSE
        one = not torch.is_tensor(level)  # of all rows, and known to the host: as in a sampling
        if not self.spread or (one and level > limit):
            return unit * of_centres(place, tau, logits, edges, self.spread) + self.shift
        if one:
            return unit * of_bins(place, tau, logits, edges) + self.shift
        much = rows(level, x, x.dtype) > limit
        if (told := seen(much)) is not None:  # each row by one of the two
            order, k = much.int().argsort(stable=True), told.count(False)
            fine, coarse = ([part[i] for part in (place, tau, logits)] for i in (order[:k], order[k:]))
            found = torch.cat([of_bins(*fine, edges), of_centres(*coarse, edges, True)])[order.argsort()]
        else:
            fine = of_bins(place, tau.clamp_max(limit), logits, edges)
            found = torch.where(tau[:, 0] > limit, of_centres(place, tau, logits, edges, True), fine)
        return unit * found + self.shift

    def _edges(self, like: Tensor) -> Tensor:
        """(K + 1, 1, ...), in units of levels."""
        if not self.cuts:
            edges = torch.arange(self.levels + 1, device=like.device, dtype=like.dtype)
        else:
            edges = edges_on(self.cuts, self.levels, like.device, like.dtype)
        return edges.view(-1, *[1] * (like.ndim - 2))
