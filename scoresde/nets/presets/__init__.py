"""Networks in the sizes of their papers: functions that make them, each setting of which may be changed."""

from .edm2 import edm2
from .transformers import dit, jit, simple_uvit, uvit

__all__ = ["dit", "edm2", "jit", "simple_uvit", "uvit"]
