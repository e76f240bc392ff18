"""The waist of the toolkit: a `Denoiser` gives E[x_0 | x_t]; samplers, likelihood and guidance take nothing else.

`base.py`: what a denoiser is; `preconditioned.py`: one of a network; `score.py`: one of a score function;
`moments.py`: the data's mean and covariance, which go with it.  It may import `sde/` and what checks settings and
answers.
"""

from .base import Counted, Denoiser, device_of, rows, select, weigh
from .moments import Moments
from .preconditioned import RULES, Preconditioned, Rule, edm, eps, v, x0
from .score import FromScore

__all__ = [
    "RULES",
    "Counted",
    "Denoiser",
    "FromScore",
    "Moments",
    "Preconditioned",
    "Rule",
    "device_of",
    "edm",
    "eps",
    "rows",
    "select",
    "v",
    "weigh",
    "x0",
]
