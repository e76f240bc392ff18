"""The waist of the toolkit: a `Denoiser` gives E[x_0 | x_t]; samplers, likelihood and guidance take nothing else.

`base.py`: what a denoiser is; `preconditioned.py`: one of a network; `levels.py`: its rule for data with levels, and
`bins.py`, its arithmetic; `flow_map.py`: one that knows where its step lands, for few steps; `variance.py`: one that
learns the variance of its steps too; `score.py`: one of a score function; `wrappers/`: one with its conditions bound,
one that counts, one that is told its last answer; `moments.py`: the data's mean and covariance, and `source.py`: the
noise of its training, which go with it.  It may import `sde/`, `spaces/`, `conditions/` and what checks settings and
answers.
"""

from .base import Cond, Denoiser, Given, Wrapped, device_of, rows, weigh
from .flow_map import GUIDANCE, LANDING, FlowMap, Lands, flow_velocity, jumped, turned
from .levels import levels
from .moments import Moments
from .preconditioned import RULES, Preconditioned, Rule, edm, eps, v, x0
from .score import FromScore
from .source import Source, refuse_noise
from .variance import LearnedVariance, step_kl
from .wrappers import Conditioned, Counted, SelfConditioned, bind, self_conditioned

__all__ = [
    "GUIDANCE",
    "LANDING",
    "RULES",
    "Cond",
    "Conditioned",
    "Counted",
    "Denoiser",
    "FlowMap",
    "FromScore",
    "Given",
    "Lands",
    "LearnedVariance",
    "Moments",
    "Preconditioned",
    "Rule",
    "SelfConditioned",
    "Source",
    "Wrapped",
    "bind",
    "device_of",
    "edm",
    "eps",
    "flow_velocity",
    "jumped",
    "levels",
    "refuse_noise",
    "rows",
    "self_conditioned",
    "step_kl",
    "turned",
    "v",
    "weigh",
    "x0",
]
