"""The waist of the toolkit: a `Denoiser` gives E[x_0 | x_t]; samplers, likelihood and guidance take nothing else.

`base.py`: what a denoiser is; `preconditioned.py`: one of a network; `variance.py`: one that learns the variance of its
steps too; `score.py`: one of a score function; `conditioned.py`: one with its conditions bound; `moments.py`: the
data's mean and covariance, which go with it.  It may import `sde/`, `conditions/` and what checks settings and answers.
"""

from .base import Cond, Counted, Denoiser, Given, Wrapped, device_of, rows, weigh
from .conditioned import Conditioned, bind
from .moments import Moments
from .preconditioned import RULES, Preconditioned, Rule, edm, eps, v, x0
from .score import FromScore
from .variance import LearnedVariance, step_kl

__all__ = [
    "RULES",
    "Cond",
    "Conditioned",
    "Counted",
    "Denoiser",
    "FromScore",
    "Given",
    "LearnedVariance",
    "Moments",
    "Preconditioned",
    "Rule",
    "Wrapped",
    "bind",
    "device_of",
    "edm",
    "eps",
    "rows",
    "step_kl",
    "v",
    "weigh",
    "x0",
]
