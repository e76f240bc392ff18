"""Log-likelihood through the probability flow, its divergence estimators, and bits per dimension."""

from .bits import BitsPerDim, bits_per_dim
from .control import AverageJacobian, Control, GaussianPart
from .divergence import Divergence, Exact, Hutchinson, HutchPP, flow_velocity, velocity_divergence
from .flow import Likelihood, average_jacobian, log_likelihood
from .paths import select, start_time

__all__ = [
    "AverageJacobian",
    "BitsPerDim",
    "Control",
    "Divergence",
    "Exact",
    "GaussianPart",
    "HutchPP",
    "Hutchinson",
    "Likelihood",
    "average_jacobian",
    "bits_per_dim",
    "flow_velocity",
    "log_likelihood",
    "select",
    "start_time",
    "velocity_divergence",
]
