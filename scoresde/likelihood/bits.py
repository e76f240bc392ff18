"""Bits per dimension, term by term."""

import math
from dataclasses import dataclass

from torch import Tensor

from ..errors import InputError


@dataclass(frozen=True)
class BitsPerDim:
    """`total` = `model` + `transform` + `levels`, with the standard error of the mean over examples and its spread."""

    total: float
    stderr: float
    model: float
    transform: float
    levels: float


def bits_per_dim(log_prob: Tensor, dims: int, levels: int, log_det: float) -> BitsPerDim:
    """Bits per dimension of discrete data under uniform dequantisation.

    The data are integers v in 0..levels-1; y = (v + u) / levels with u ~ U[0, 1) lies in the unit cube, and the model
    sees x = T(y) with log|det dT/dy| = `log_det` (nats, all D = `dims` dimensions).  For `log_prob` (B,) of x in nats,

        bits/dim = -mean(log_prob) / (D ln 2)  -  log_det / (D ln 2)  +  log2(levels)
                    model                         transform              levels

    an upper bound on the bits of v (Theis, van den Oord, Bethge, 2016, arXiv 1511.01844).  A uniform source with a
    uniform model gives log2(levels).  `stderr` is the standard error of the mean over the B examples.
    """
    if levels is None or levels < 2:
        raise InputError(f"levels={levels!r}: bits/dim needs data with a known number of levels; report nats instead")
    bits = -log_prob.double() / (dims * math.log(2))
    model, transform, quanta = float(bits.mean()), -log_det / (dims * math.log(2)), math.log2(levels)
    stderr = float(bits.std() / math.sqrt(len(bits))) if len(bits) > 1 else math.nan
    return BitsPerDim(model + transform + quanta, stderr, model, transform, quanta)
