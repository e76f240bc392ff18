"""What a teacher's density says of samples: those of its student, its own, and the data."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ...denoiser import Denoiser
from ...errors import InputError
from ..flow import log_likelihood

RARE = 0.01


@dataclass(frozen=True)
class Density:
    """The mean log-density of samples, with its error.

    Arguments:
        value, stderr: the mean, in nats, and its standard error over the samples.
        low, high: its 95 % interval.
        n: how many samples there are.
        rare, rare_low, rare_high: the share of them that is less likely than 99 of 100 of the reference, with its
            Wilson interval; 0.01 of samples that are distributed alike.
        log_prob: that of each (n,).
    """

    value: float
    stderr: float
    low: float
    high: float
    n: int
    rare: float
    rare_low: float
    rare_high: float
    log_prob: Tensor = field(repr=False)

    def __str__(self) -> str:
        share = f"{100 * self.rare:.1f} % ({100 * self.rare_low:.1f} to {100 * self.rare_high:.1f}) rare"
        return f"{self.value:.3f} +- {self.stderr:.3f} (95 % {self.low:.3f} to {self.high:.3f}), {share}"


def densities_under(
    teacher: Denoiser, sets: Mapping[str, Tensor], reference: str = "data", **options: Any
) -> dict[str, Density]:
    """log p of several sets of samples under one model, where the model that made them has no density of its own.

    Samples that are distributed as the model's density have its mean log-density, less its entropy, and so have the
    data as far as the model is right; a mean above it is of samples that keep to what is most likely, one below of
    samples that the model does not expect.  The mean alone can hide one behind the other: the share of rare ones is
    told beside it.

    Arguments:
        teacher: the model, a posterior mean.
        sets: by name (n, *shape) in the model's space, "student", "teacher" and "data" say.
        reference: of which set the least likely hundredth says what is rare.
        options: those of `log_likelihood`; `cond` is told to each set, which then have as many rows.

    Returns:
        A `Density` for each name.

    Raises:
        InputError: no such reference; as `log_likelihood` raises it.
    """
    if reference not in sets:
        raise InputError(f"reference={reference!r}: give one of {', '.join(sets)}", "reference")
    found = {name: log_likelihood(teacher, x, **options).log_prob.detach().cpu().double() for name, x in sets.items()}
    edge = torch.quantile(found[reference], RARE)
    return {name: _density(values, values < edge) for name, values in found.items()}


def _density(values: Tensor, rare: Tensor) -> Density:
    n, mean = len(values), float(values.mean())
    stderr = float(values.std()) / math.sqrt(n) if n > 1 else math.nan
    share, z = float(rare.double().mean()), 1.959964
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    ends = (max(middle - half, 0.0), min(middle + half, 1.0))
    return Density(mean, stderr, mean - z * stderr, mean + z * stderr, n, share, *ends, values)
