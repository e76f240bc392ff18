"""The rule of data with levels: the network answers with probabilities, and the noisy element is weighed exactly."""

from __future__ import annotations

import heapq
import itertools
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any

import torch
from torch import Tensor

from ..errors import InputError
from ..sde import expand
from ..settings import Checked, Range, Whole, brief
from ..spaces import Bins
from .base import rows

NEAR = 8.0  # deviations beyond all bins, up to which erfc is a number of float32
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

    def _mean(self, x: Tensor, alpha: float | Tensor, sigma: float | Tensor, answer: Tensor) -> Tensor:
        unit = self.scale / self.levels
        logits = answer.reshape(len(x), self.outputs, *x.shape[1:]).to(x.dtype)
        place = (expand(1 / (alpha * unit), x) * x - self.shift / unit).unsqueeze(1)  # level v is from v to v + 1
        level = sigma / alpha / abs(unit)
        tau, edges = expand(rows(level, x, x.dtype), x).unsqueeze(1), self._edges(place)
        limit = COARSE * max(b - a for a, b in itertools.pairwise((*self.cuts, self.levels))) if self.cuts else COARSE
        one = not torch.is_tensor(level)  # of all rows, and known to the host: as in a sampling
        if not self.spread or (one and level > limit):
            return unit * _of_centres(place, tau, logits, edges, self.spread) + self.shift
        if one:
            return unit * _of_bins(place, tau, logits, edges) + self.shift
        much = rows(level, x, x.dtype) > limit
        if (told := _seen(much)) is not None:  # each row by one of the two
            order, k = much.int().argsort(stable=True), told.count(False)
            fine, coarse = ([part[i] for part in (place, tau, logits)] for i in (order[:k], order[k:]))
            found = torch.cat([_of_bins(*fine, edges), _of_centres(*coarse, edges, True)])[order.argsort()]
        else:
            fine = _of_bins(place, tau.clamp_max(limit), logits, edges)
            found = torch.where(tau[:, 0] > limit, _of_centres(place, tau, logits, edges, True), fine)
        return unit * found + self.shift

    def _edges(self, like: Tensor) -> Tensor:
        """(K + 1, 1, ...), in units of levels."""
        if not self.cuts:
            edges = torch.arange(self.levels + 1, device=like.device, dtype=like.dtype)
        else:
            edges = _edges_on(self.cuts, self.levels, like.device, like.dtype)
        return edges.view(-1, *[1] * (like.ndim - 2))


@lru_cache(maxsize=16)
def _edges_on(cuts: tuple[int, ...], end: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Made once: a copy from the host would wait for the device each time."""
    with torch.inference_mode(False):
        return torch.tensor([*cuts, end], device=device, dtype=dtype)


def _seen(value: Tensor) -> Any:
    """What it holds, where the host need not wait to see it; None: on a GPU, within vmap or torch.compile."""
    if value.device.type != "cpu" or torch.compiler.is_compiling():
        return None
    try:
        return value.tolist()
    except RuntimeError:  # vmap
        return None


def _of_centres(place: Tensor, tau: Tensor, logits: Tensor, edges: Tensor, spread: bool) -> Tensor:
    """The mean in units of levels; a bin that is spread counts as a Gaussian of its variance, width^2 / 12."""
    centres, width = (edges[1:] + edges[:-1]) / 2, edges[1:] - edges[:-1]
    if not spread:
        weights = torch.addcmul(logits, (place - centres).square(), -0.5 / tau.square()).softmax(1)
        return torch.tensordot(weights, centres.flatten(), ([1], [0]))
    own = width.square() / 12
    variance = tau.square() + own
    prior = logits + width.log() - 0.5 * variance.log()
    weights = torch.addcmul(prior, (place - centres).square(), -0.5 / variance).softmax(1)
    return (weights * (centres + own / variance * (place - centres))).sum(1)


def _of_bins(place: Tensor, tau: Tensor, logits: Tensor, edges: Tensor) -> Tensor:
    """place + tau sum_k e^{l_k} (phi(e_k) - phi(e_{k+1})) / sum_k e^{l_k} (Phi(e_{k+1}) - Phi(e_k)).

    e_k = (edge k - place) / tau.  Outside all bins both sums are multiplied by exp(d^2 / 2), d the distance to them.
    """
    e = (edges - place) / tau
    beyond = (e[:, :1] > 0) | (e[:, -1:] < 0)
    far, size = torch.where(beyond, e.abs().amin(1, keepdim=True), 0.0).detach(), e.abs()
    density = torch.exp(-0.5 * (size - far) * (size + far))
    if _seen((far < NEAR).all()):  # a tenth of the time
        tail = 0.5 * torch.erfc(size / math.sqrt(2)) * torch.exp(0.5 * far.square())
    else:
        tail = 0.5 * torch.special.erfcx(size / math.sqrt(2)) * density
    low, high = tail[:, :-1], tail[:, 1:]
    mass = torch.where((e[:, :-1] < 0) & (e[:, 1:] >= 0), 1 - low - high, (low - high).abs())
    logits = (logits - logits.amax(1, keepdim=True).detach()).exp()
    pull = (logits * (density[:, :-1] - density[:, 1:])).sum(1) / math.sqrt(2 * math.pi)
    found = place[:, 0] + tau[:, 0] * pull / (logits * mass).sum(1).clamp_min(torch.finfo(place.dtype).tiny)
    return torch.minimum(found.clamp_min(0), edges[-1])


def merged(counts: Tensor, bins: int) -> tuple[int, ...]:
    """The first levels of so many bins, of neighbours that are merged two by two, those first that lose least: of n_v
    elements at each level v, a bin loses sum n_v log(n_v / mean n) by taking its levels for equally likely.

    Arguments:
        counts: n (levels,).
        bins: how many, 2 or more.

    Returns:
        The first level of each, from 0 on.
    """
    n = (counts.double() + 0.1).tolist()  # a level that was not seen may be there
    total, own = [0.0, *itertools.accumulate(n)], [0.0, *itertools.accumulate(v * math.log(v) for v in n)]

    def loss(a: int, b: int) -> float:
        mass = total[b] - total[a]
        return own[b] - own[a] - mass * math.log(mass / (b - a))

    end = {a: a + 1 for a in range(len(n))}  # of each bin, by its first level
    before = {a + 1: a for a in range(len(n))}  # the bin that ends there
    more = lambda a, b, c: loss(a, c) - loss(a, b) - loss(b, c)
    heap = [(more(a, a + 1, a + 2), a, a + 1, a + 2) for a in range(len(n) - 1)]
    heapq.heapify(heap)
    while len(end) > bins:
        _, a, b, c = heapq.heappop(heap)
        if end.get(a) != b or end.get(b) != c:
            continue  # one of the two is another by now
        end[a], before[c] = c, a
        del end[b], before[b]
        if c in end:
            heapq.heappush(heap, (more(a, c, end[c]), a, c, end[c]))
        if a in before:
            heapq.heappush(heap, (more(before[a], a, c), before[a], a, c))
    return tuple(sorted(end))
