"""Random numbers by counter, and Brownian paths made of them: functions of (seed, sample, step, draw).

`counter.py`: the generator, normal and uniform numbers and signs (`kernel.py`: on CUDA in one kernel); `draws.py`:
those of a sampling; `brownian.py`: a path over any interval;
`streams.py`: who draws where.  It may import what checks settings, and nothing else.
"""

from .counter import bits, normal, philox, rademacher, uniform
from .draws import Ahead, Draws
from .streams import Stream

__all__ = ["Ahead", "Draws", "Stream", "bits", "normal", "philox", "rademacher", "uniform"]
