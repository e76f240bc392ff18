"""What a training minimises: an `Objective` draws a step's random numbers, and says what is trained, and by what loss.

`base.py`: what an objective is; `denoising.py`: denoising score matching, and `added/` what may be added to it;
`classify.py`: a classifier of noisy data; `validation.py`: what they are watched by; `guards.py`: what a training is
not begun with.  They may import `loss/`, `data/`, `denoiser/` and `model/`, and know nothing of the loop that trains
them.
"""

from .base import Objective
from .classify import Classify
from .denoising import Denoising
from .validation import HeldOut, Validation, noise_levels

__all__ = ["Classify", "Denoising", "HeldOut", "Objective", "Validation", "noise_levels"]
