"""Training: the loop, and what it keeps.  No Hydra here, and none below.

`settings.py`: what is set; `train.py`: for denoising score matching; `loop.py`: the loop, for any objective;
`order.py`: which items a step takes; `average.py`: the averaged weights; `restore.py`: how it goes on; `book.py`: its
folder.
"""

from .loop import fit
from .settings import Training
from .train import train

__all__ = ["Training", "fit", "train"]
