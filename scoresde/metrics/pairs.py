"""Figures of pictures and their words, by embeddings of both: CLIP similarity and R-precision."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import InputError
from .estimate import Estimate, interval, rows, student, wilson

CHUNK = 2**22  # dot products at a time
ALIKE = 1e-5  # 1 - cosine, up to which two embeddings are of the same words


def similarity(x: Tensor, y: Tensor) -> Estimate:
    """The mean cosine of pairs, the CLIP score of pictures and their words; Student's interval.

    Radford et al. (2021), arXiv 2103.00020; Hessel et al. (2021), CLIPScore, arXiv 2104.08718, whose is 2.5 times this.

    Arguments:
        x: embeddings of pictures (n, E).
        y: those of their words (n, E).

    Returns:
        An `Estimate`.

    Raises:
        InputError: rows of two numbers or sizes, fewer than two, or some that are not finite.
    """
    x, y = _pairs(x, y)
    cosines = (x * y).sum(1)
    n, stderr = len(x), float(cosines.std()) / math.sqrt(len(x))
    return interval(float(cosines.mean()), stderr, n - 1, n, n, "Student")


def r_precision(x: Tensor, y: Tensor, others: Tensor, r: int = 100, seed: int = 0) -> Estimate:
    """The share of pictures whose own words are nearer than r - 1 others; a guess has 1 / r.  Wilson's interval.

    The others are drawn for each picture, none twice, and none that are its own.  Where there are fewer than r - 1,
    all of them: `m` of the estimate is how many words there were to choose from, its own too.

    Xu et al. (2018), AttnGAN, arXiv 1711.10485; by CLIP Park et al. (2021).

    Arguments:
        x: embeddings of pictures (n, E).
        y: those of their words (n, E).
        others: those of words to choose from (k, E).
        r: among how many.
        seed: of the others.

    Returns:
        An `Estimate`.

    Raises:
        InputError: as `similarity`; an r below 2, or no other words.
    """
    if r < 2:
        raise InputError(f"r={r}: give 2 or more", "r")
    x, y = _pairs(x, y)
    others = F.normalize(rows(others, y, 1)[0], dim=1)
    others = others[_firsts(others)]
    parts = torch.arange(len(x)).split(max(1, CHUNK // len(others)))
    own = lambda part: y[part] @ others.T > 1 - ALIKE
    k = min(r - 1, *(int((~own(part)).sum(1).min()) for part in parts))
    if k < 1:
        raise InputError("there are no other words than a picture's own", "others")
    generator, right = torch.Generator().manual_seed(seed), []
    for part in parts:
        order = torch.rand(len(part), len(others), generator=generator).to(x.device).masked_fill(own(part), math.inf)
        chosen = order.topk(k, 1, largest=False).indices
        right.append((x[part] * y[part]).sum(1) > (x[part] @ others.T).gather(1, chosen).amax(1))
    found = torch.cat(right).double()
    p, n = float(found.mean()), len(found)
    low, high = wilson(p, n, student(math.inf))
    return Estimate(p, math.sqrt(p * (1 - p) / n), low, high, n, k + 1, "Wilson", p)


def _firsts(y: Tensor) -> Tensor:
    """The places of rows that are like none before them."""
    keys = (y / ALIKE).round().long()
    number = torch.unique(keys, dim=0, return_inverse=True)[1]
    places = torch.full((int(number.max()) + 1,), len(y), device=y.device)
    return places.scatter_reduce(0, number, torch.arange(len(y), device=y.device), "amin").sort().values


def _pairs(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    x, y = rows(x, y)
    if len(x) != len(y):
        raise InputError(f"x has {len(x)} rows and y {len(y)}: give pairs")
    return F.normalize(x, dim=1), F.normalize(y, dim=1)
