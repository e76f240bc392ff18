"""Log-likelihood through the probability flow, its divergence estimators, bounds beside it, and bits per dimension."""

from .bits import BitsPerDim, Term, bits_per_dim, discrete_bits_per_dim
from .bounds import Bound, elbo, vlb
from .dequantisation import (
    Decoder,
    Dequantiser,
    Discrete,
    ImportanceWeighted,
    TruncatedNormal,
    Uniform,
    discrete_bound,
    matching_time,
)
from .divergence import flow_velocity, velocity_divergence
from .flow import Likelihood, log_likelihood, select, start_time
from .levels import Levels
from .plan import Plan, fit_plan
from .variational import BinNet, Variational, fit_variational

__all__ = [
    "BinNet",
    "BitsPerDim",
    "Bound",
    "Decoder",
    "Dequantiser",
    "Discrete",
    "ImportanceWeighted",
    "Levels",
    "Likelihood",
    "Plan",
    "Term",
    "TruncatedNormal",
    "Uniform",
    "Variational",
    "bits_per_dim",
    "discrete_bits_per_dim",
    "discrete_bound",
    "elbo",
    "fit_plan",
    "fit_variational",
    "flow_velocity",
    "log_likelihood",
    "matching_time",
    "select",
    "start_time",
    "velocity_divergence",
    "vlb",
]
