"""Samplers: frozen dataclasses that say how to go from x_t to x_s, and the one loop that calls them."""

from .fixed import DDIM, DPMpp2M, Heun
from .flow import ProbabilityFlow
from .loop import Sampler, sample
from .pc import PC, ancestral, euler_maruyama, langevin, reverse_diffusion

__all__ = [
    "DDIM",
    "PC",
    "DPMpp2M",
    "Heun",
    "ProbabilityFlow",
    "Sampler",
    "ancestral",
    "euler_maruyama",
    "langevin",
    "reverse_diffusion",
    "sample",
]
