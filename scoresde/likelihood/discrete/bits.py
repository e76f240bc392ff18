"""Bits per dimension, term by term, with the uncertainty of their mean over the data set."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...errors import InputError
from .dequantisation import Discrete


@dataclass(frozen=True)
class Term:
    """The mean of a term over the examples, `mean`, and its standard error, `stderr`: 0 for a constant."""

    mean: float
    stderr: float


@dataclass(frozen=True)
class BitsPerDim:
    """Bits per dimension: `total` = `model` + `transform` + `levels` + `dequantisation` + `truncation`.

    Arguments:
        total: the mean over the examples.
        stderr: that of the mean: it holds the noise of probes and draws too, which are independent from row to row.
        model: of the density.
        transform: of the map to the model's space.
        levels: log2 of their number.
        dequantisation: of the entropy of q less that of the uniform law.
        truncation: of the decoder.
        terms: the same with `model` resolved into its parts, where they are known; their means add up to `total`.
        normal, bootstrap: 95 % confidence intervals of the mean.
    """

    total: float
    stderr: float
    model: float
    transform: float
    levels: float
    dequantisation: float
    truncation: float
    terms: dict[str, Term]
    normal: tuple[float, float]
    bootstrap: tuple[float, float]


def bits_per_dim(
    log_prob: Tensor,
    dims: int,
    levels: int,
    log_det: float,
    parts: Mapping[str, Tensor | None] | None = None,
    dequantisation: Tensor | None = None,
    decoder: Tensor | None = None,
    seed: int = 0,
) -> BitsPerDim:
    """Bits per dimension of discrete data, from log-densities of the model's space.

    The data are integers v in 0..levels-1; y = (v + u) / levels with u in [0, 1) lies in the unit cube, and the model
    sees x = T(y):

        bits/dim = -mean(log_prob)/(D ln 2) - log_det/(D ln 2) + log2(levels) - mean(dequantisation + decoder)/(D ln 2)
                    model                      transform           levels        dequantisation, truncation

    an upper bound on the bits of v (Theis, van den Oord, Bethge, 2016, arXiv 1511.01844).  A uniform source with a
    uniform model gives log2(levels).  A dequantised density is that of x_{t_min}: P(v) is then the mass of p_{t_min} in
    the bin, and nothing is left out but what lies outside all bins (the decoder has no outside).

    Arguments:
        log_prob: log p(x) (B,), in nats.
        dims: D.
        levels: their number.
        log_det: log|det dT/dy|, in nats, all D dimensions.
        parts: (B,) each, by name, which add up to `log_prob`: prior, volume and divergence of the flow, or prior,
            diffusion and reconstruction of a bound; None among them stands for nothing known.
        dequantisation: the entropy (B,) of q less that of the uniform law, of `Discrete`; None: 0.
        decoder: log P(v | x_{t_min}) (B,), of `Discrete`; None: 0.
        seed: of the bootstrap.

    Returns:
        A `BitsPerDim`.

    Raises:
        InputError: data without levels, or parts that do not add up.
    """
    if levels is None or levels < 2:
        raise InputError(f"levels={levels!r}: bits/dim needs data with a known number of levels; report nats instead")
    unit = -1 / (dims * math.log(2))
    log_prob = log_prob.double().cpu()
    extra = {"dequantisation": dequantisation, "truncation": decoder}
    extra = {k: torch.zeros_like(log_prob) if a is None else a.double().cpu() for k, a in extra.items()}
    terms = {k: _term(unit * a) for k, a in _resolve(log_prob, parts).items()}
    terms |= {"transform": Term(unit * log_det, 0.0), "levels": Term(math.log2(levels), 0.0)}
    terms |= {k: _term(unit * a) for k, a in extra.items()}
    each = unit * (log_prob + sum(extra.values()))
    total, spread = math.fsum(term.mean for term in terms.values()), _term(each)
    low, high = _bootstrap(each.numpy(), seed)
    shift = total - spread.mean
    constants = {k: terms[k].mean for k in ("transform", "levels", "dequantisation", "truncation")}
    return BitsPerDim(
        total=total,
        stderr=spread.stderr,
        model=total - math.fsum(constants.values()),
        **constants,
        terms=terms,
        normal=(total - 1.959964 * spread.stderr, total + 1.959964 * spread.stderr),
        bootstrap=(low + shift, high + shift),
    )


def discrete_bits_per_dim(discrete: Discrete, data: Any, seed: int = 0) -> BitsPerDim:
    """`bits_per_dim` of what a `Dequantiser` found.

    Arguments:
        discrete: a `Discrete`, of rows of the data.
        data: the data set, or what has its `shape`, `levels` and `log_det`.
        seed: of the bootstrap.

    Returns:
        A `BitsPerDim`.

    Raises:
        InputError: data without levels.
    """
    dims = math.prod(data.shape)
    found, extra = discrete, (discrete.dequantisation, discrete.decoder)
    return bits_per_dim(found.model, dims, data.levels, data.log_det, found.parts, *extra, seed=seed)


def _resolve(log_prob: Tensor, parts: Mapping[str, Tensor | None] | None) -> dict[str, Tensor]:
    known = {k: a.double().cpu() for k, a in (parts or {}).items() if a is not None}
    if not known:
        return {"model": log_prob}
    error = float((sum(known.values()) - log_prob).abs().max())
    if not error <= 1e-6 * (1 + float(log_prob.abs().max())):
        raise InputError(f"parts {', '.join(known)} miss log_prob by {error:.3g} nats: they must add up to it")
    return known


def _term(bits: Tensor) -> Term:
    return Term(float(bits.mean()), float(bits.std() / math.sqrt(len(bits))) if len(bits) > 1 else math.nan)


def _bootstrap(bits: np.ndarray, seed: int, resamples: int = 2000, level: float = 0.95) -> tuple[float, float]:
    """The percentile interval of the mean over examples drawn again with replacement (Efron, 1979)."""
    if len(bits) < 2:
        return math.nan, math.nan
    random = np.random.default_rng(seed)
    parts = -(-resamples * len(bits) // 1_000_000)  # a million indices at a time
    sizes = [len(part) for part in np.array_split(range(resamples), parts)]
    means = [bits[random.integers(len(bits), size=(size, len(bits)))].mean(1) for size in sizes]
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
