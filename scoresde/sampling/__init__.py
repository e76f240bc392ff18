"""Samplers: frozen dataclasses that say how to go from x_t to x_s, and the one loop that calls them."""

from .adaptive_sde import AdaptiveSDE
from .correctors import ALD, Gibbs, Langevin
from .exponential import DEIS, DPMpp, UniPC
from .fitted import FittedGrid, FittedMultistep, fit_grid, fit_multistep
from .fixed import DDIM, RK4, EDMHeun, Heun, Rosenbrock
from .flow import ProbabilityFlow
from .gaussian import GaussianAdams
from .inversion import Reversible, RoundTrip, decode, encode, round_trip, slerp
from .linear import FittedLinear
from .loop import Sampler, sample
from .multistep import Adams, Multistep, RectifiedAdams
from .pc import PC
from .processes import joined, share
from .stochastic import DPMpp2M, DPMpp2MSDE, EulerMaruyama, ExponentialEuler, ReverseDiffusion, SASolver, Within
from .through import fit_through
from .trajectory import Trajectory
from .with_torchsde import ReverseSDE

__all__ = [
    "ALD",
    "DDIM",
    "DEIS",
    "PC",
    "RK4",
    "Adams",
    "AdaptiveSDE",
    "DPMpp",
    "DPMpp2M",
    "DPMpp2MSDE",
    "EDMHeun",
    "EulerMaruyama",
    "ExponentialEuler",
    "FittedGrid",
    "FittedLinear",
    "FittedMultistep",
    "GaussianAdams",
    "Gibbs",
    "Heun",
    "Langevin",
    "Multistep",
    "ProbabilityFlow",
    "RectifiedAdams",
    "ReverseDiffusion",
    "ReverseSDE",
    "Reversible",
    "Rosenbrock",
    "RoundTrip",
    "SASolver",
    "Sampler",
    "Trajectory",
    "UniPC",
    "Within",
    "decode",
    "encode",
    "fit_grid",
    "fit_multistep",
    "fit_through",
    "joined",
    "round_trip",
    "sample",
    "share",
    "slerp",
]
