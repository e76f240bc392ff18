"""Samplers: frozen dataclasses that say how to go from x_t to x_s, and the one loop that calls them."""

from .adaptive.flow import ProbabilityFlow
from .adaptive.inversion import RoundTrip, from_latent, round_trip, slerp, to_latent
from .adaptive.reverse_sde import AdaptiveSDE
from .adaptive.reversible import Reversible
from .adaptive.with_torchsde import ReverseSDE
from .begin import noises
from .edit import edit
from .fitting.grid import FittedGrid, FittedMultistep, fit_grid, fit_multistep
from .fitting.through import fit_through
from .hardware import Execution
from .loop import Sampler, sample
from .refine import Corrected, refine
from .shares import joined, share
from .steps.ancestral import Ancestral
from .steps.correctors import ALD, Gibbs, Langevin
from .steps.exponential import DEIS, DPMpp, UniPC
from .steps.fixed import DDIM, RK4, EDMHeun, Heun, Rosenbrock
from .steps.gaussian import GaussianAdams
from .steps.jump import Jump, Renoise, natural
from .steps.linear import FittedLinear
from .steps.multistep import Adams, Multistep, RectifiedAdams
from .steps.pc import PC
from .steps.stochastic import DPMpp2M, DPMpp2MSDE, EulerMaruyama, ExponentialEuler, ReverseDiffusion, SASolver, Within
from .trajectory import Trajectory

encode, decode = to_latent, from_latent  # their names of before

__all__ = [
    "ALD",
    "DDIM",
    "DEIS",
    "PC",
    "RK4",
    "Adams",
    "AdaptiveSDE",
    "Ancestral",
    "Corrected",
    "DPMpp",
    "DPMpp2M",
    "DPMpp2MSDE",
    "EDMHeun",
    "EulerMaruyama",
    "Execution",
    "ExponentialEuler",
    "FittedGrid",
    "FittedLinear",
    "FittedMultistep",
    "GaussianAdams",
    "Gibbs",
    "Heun",
    "Jump",
    "Langevin",
    "Multistep",
    "ProbabilityFlow",
    "RectifiedAdams",
    "Renoise",
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
    "edit",
    "encode",
    "fit_grid",
    "fit_multistep",
    "fit_through",
    "from_latent",
    "joined",
    "natural",
    "noises",
    "refine",
    "round_trip",
    "sample",
    "share",
    "slerp",
    "to_latent",
]
