"""Denoising score matching: one loss, its weights, and where to draw the times."""

from .adaptive import Adaptive
from .denoising import DenoisingLoss
from .discrete import discrete
from .schedule import Schedule
from .spread import spread
from .times import TIMES, Times, by_weight, highest, log_snr, lognormal, uniform
from .weights import WEIGHTS, edm, likelihood, min_snr, simple

__all__ = [
    "TIMES",
    "WEIGHTS",
    "Adaptive",
    "DenoisingLoss",
    "Schedule",
    "Times",
    "by_weight",
    "discrete",
    "edm",
    "highest",
    "likelihood",
    "log_snr",
    "lognormal",
    "min_snr",
    "simple",
    "spread",
    "uniform",
]
