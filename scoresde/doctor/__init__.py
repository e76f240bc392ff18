"""The doctor: what is wrong with a score, how sure that is, what to change, and what to type.

`examine.py`: all checks of a model; `before`, those that need none.  `material.py`: items, noise and the closed forms
that a model is held against; `finding.py`: what is said.  The checks: `fit.py` (posterior mean, scale, memory),
`derivatives.py` (Jacobians), `training.py`, `ends.py` (the SDE), `values.py` (the data), `told.py` (labels),
`strength.py` (guidance).  It may import what models, samplers, metrics and trainings are made of, and no Hydra.
"""

from .examine import before, examine
from .finding import Finding
from .training import Course, course_of, raw_of

__all__ = ["Course", "Finding", "before", "course_of", "examine", "raw_of"]
