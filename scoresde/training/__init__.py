"""Training: the loop, and what it keeps.  No Hydra here, and none below.

`settings.py`: what is set; `train.py`: for denoising score matching; `loop.py`: the loop, for any objective;
`order.py`: which items a step takes; `average.py`: the averaged weights, `power.py` those by a power of the step, and
`snapshots.py` any of these, made later; `start.py`: what it begins with; `restore.py`: how it goes on; `book.py`: its
folder.
"""

from .loop import fit
from .settings import Training
from .snapshots import reconstruct
from .train import train

__all__ = ["Training", "fit", "reconstruct", "train"]
