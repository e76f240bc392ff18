"""Models of few steps from trained ones: the methods by their names, and `distill`, which trains by one.

`methods.py`: what each name of `method` stands for; `distill.py`: the front door of Python, which the command's
task=distill goes through too.  It may import what trains and all beneath it.
"""

from .distill import begun_with, distill, student_of, taught_by
from .methods import METHODS, Method

__all__ = ["METHODS", "Method", "begun_with", "distill", "student_of", "taught_by"]
