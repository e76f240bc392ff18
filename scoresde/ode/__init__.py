"""Adaptive solvers of ordinary differential equations for batches, each row its own; they know no diffusion."""

from .adams import Adams
from .parts import Method
from .solve import METHODS, check, integrate
from .tableaux import BS32, DOP853, DOPRI5, TSIT5, Tableau

__all__ = ["BS32", "DOP853", "DOPRI5", "METHODS", "TSIT5", "Adams", "Method", "Tableau", "check", "integrate"]
