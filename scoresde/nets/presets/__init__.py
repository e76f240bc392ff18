"""Networks in the sizes of their papers: functions that make them, each setting of which may be changed."""

from .transformers import dit, jit, simple_uvit, uvit

__all__ = ["dit", "jit", "simple_uvit", "uvit"]
