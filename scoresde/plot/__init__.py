"""Models of one or two numbers made visible: densities, the score, trajectories, p_t over time.

Each function takes a `Denoiser`, exact or trained, and gives a matplotlib Figure, or draws into `axes=`.  `canvas.py`:
axes, colours and what is in sight; `values.py`: the numbers that are drawn.  Everything is in the model's space.

    figure = scoresde.plot.density(mixture, t=0.1)
    figure.savefig("density.png")
"""

from .density import density
from .field import score_field
from .marginals import marginals
from .ways import trajectories

__all__ = ["density", "marginals", "score_field", "trajectories"]
