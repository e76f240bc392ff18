"""Log-likelihood through the probability flow, its divergence estimators, and bits per dimension."""

from .bits import BitsPerDim, bits_per_dim
from .divergence import flow_velocity, velocity_divergence
from .flow import Likelihood, log_likelihood, select, start_time

__all__ = [
    "BitsPerDim",
    "Likelihood",
    "bits_per_dim",
    "flow_velocity",
    "log_likelihood",
    "select",
    "start_time",
    "velocity_divergence",
]
