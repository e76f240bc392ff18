"""The arithmetic of bins under Gaussian noise, in units of levels: masses, means, and which levels share a bin."""

import heapq
import itertools
import math
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

NEAR = 8.0  # deviations beyond all bins, up to which erfc is a number of float32


@lru_cache(maxsize=16)
def edges_on(cuts: tuple[int, ...], end: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Made once: a copy from the host would wait for the device each time."""
    with torch.inference_mode(False):
        return torch.tensor([*cuts, end], device=device, dtype=dtype)


def seen(value: Tensor) -> Any:
    """What it holds, where the host need not wait to see it; None: on a GPU, within vmap or torch.compile."""
    if value.device.type != "cpu" or torch.compiler.is_compiling():
        return None
    try:
        return value.tolist()
    except RuntimeError:  # vmap
        return None


def of_centres(place: Tensor, tau: Tensor, logits: Tensor, edges: Tensor, spread: bool) -> Tensor:
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


def of_bins(place: Tensor, tau: Tensor, logits: Tensor, edges: Tensor) -> Tensor:
    """place + tau sum_k e^{l_k} (phi(e_k) - phi(e_{k+1})) / sum_k e^{l_k} (Phi(e_{k+1}) - Phi(e_k)).

    e_k = (edge k - place) / tau.  Outside all bins both sums are multiplied by exp(d^2 / 2), d the distance to them.
    """
    density, mass, _ = parts_of_bins(place, tau, edges)
    logits = (logits - logits.amax(1, keepdim=True).detach()).exp()
    pull = (logits * (density[:, :-1] - density[:, 1:])).sum(1) / math.sqrt(2 * math.pi)
    found = place[:, 0] + tau[:, 0] * pull / (logits * mass).sum(1).clamp_min(torch.finfo(place.dtype).tiny)
    return torch.minimum(found.clamp_min(0), edges[-1])


def parts_of_bins(place: Tensor, tau: Tensor, edges: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """sqrt(2 pi) phi(e_k) at the edges and Phi(e_{k+1}) - Phi(e_k) of the bins, both times exp(d^2 / 2), and d."""
    e = (edges - place) / tau
    beyond = (e[:, :1] > 0) | (e[:, -1:] < 0)
    far, size = torch.where(beyond, e.abs().amin(1, keepdim=True), 0.0).detach(), e.abs()
    density = torch.exp(-0.5 * (size - far) * (size + far))
    if seen((far < NEAR).all()):  # a tenth of the time
        tail = 0.5 * torch.erfc(size / math.sqrt(2)) * torch.exp(0.5 * far.square())
    else:
        tail = 0.5 * torch.special.erfcx(size / math.sqrt(2)) * density
    low, high = tail[:, :-1], tail[:, 1:]
    return density, torch.where((e[:, :-1] < 0) & (e[:, 1:] >= 0), 1 - low - high, (low - high).abs()), far


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
