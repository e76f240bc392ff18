"""Training: the loop, and what it keeps.  No Hydra here, and none below.

`settings.py`: what is set; `loop.py`: the loop; `objective.py`: what it minimises and is watched by; `order.py`:
which items a step takes; `average.py`: the averaged weights; `guards.py`: what it is not begun with; `book.py`: its
folder.
"""

from .loop import train
from .settings import Training

__all__ = ["Training", "train"]
