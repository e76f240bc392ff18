"""Log-likelihood through the probability flow, its divergence estimators, bounds beside it, and bits per dimension."""

from .bounds.chain import vlb
from .bounds.lower import Bound, elbo
from .bounds.plan import Plan, fit_plan
from .control import AverageJacobian, Control, GaussianPart
from .discrete.bits import BitsPerDim, Term, bits_per_dim, discrete_bits_per_dim
from .discrete.dequantisation import (
    Dequantiser,
    Discrete,
    ImportanceWeighted,
    Uniform,
    discrete_bound,
)
from .discrete.noisy import Decoder, TruncatedNormal, matching_time
from .discrete.variational import BinNet, Variational, fit_variational
from .divergence import Divergence, Exact, Hutchinson, HutchPP
from .flow import Auto, Likelihood, average_jacobian, log_likelihood
from .how import How
from .maps.likelihood import MapLikelihood, map_likelihood
from .maps.taught import Density, densities_under
from .paths import AdaptivePath, FixedPath, start_time
from .velocity import flow_velocity, velocity_divergence

__all__ = [
    "AdaptivePath",
    "Auto",
    "AverageJacobian",
    "BinNet",
    "BitsPerDim",
    "Bound",
    "Control",
    "Decoder",
    "Density",
    "Dequantiser",
    "Discrete",
    "Divergence",
    "Exact",
    "FixedPath",
    "GaussianPart",
    "How",
    "HutchPP",
    "Hutchinson",
    "ImportanceWeighted",
    "Likelihood",
    "MapLikelihood",
    "Plan",
    "Term",
    "TruncatedNormal",
    "Uniform",
    "Variational",
    "average_jacobian",
    "bits_per_dim",
    "densities_under",
    "discrete_bits_per_dim",
    "discrete_bound",
    "elbo",
    "fit_plan",
    "fit_variational",
    "flow_velocity",
    "log_likelihood",
    "map_likelihood",
    "matching_time",
    "start_time",
    "velocity_divergence",
    "vlb",
]
