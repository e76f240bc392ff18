"""Cascades: models in a row, each told what the one before has drawn.

`stage.py`: a model with its sampler, guidance, augmentation and truncation; `cascade.py`: stages together; `told.py`: a
sample of one model as the condition of the next.  They may import `sampling/`, `likelihood/` and what those do.
"""

from .cascade import Cascade
from .stage import Stage
from .told import told

__all__ = ["Cascade", "Stage", "told"]
