"""Guidance: denoisers around denoisers, which lead samples where the model alone would not go.

`free.py`: by conditions (classifier-free); `weaker.py`: by a worse model; `tilt.py`: by a classifier, a CLIP or any
function of the denoised estimate; `algebra.py`: products of models; `threshold.py`: back to the data's range;
`scale.py`: how strongly, and when; `base.py`: what they share.  None of them is a posterior mean: `likelihood` refuses
them.  `experts.py`: models that share the noise levels among them, which together have a likelihood.  It may import
`sde/`, `conditions/`, `denoiser/` and what checks settings and answers.
"""

from .algebra import Product
from .experts import Experts, refined
from .free import Guided, Projected
from .threshold import Thresholded
from .tilt import ClassifierGuided, ClipGuided, Tilted
from .weaker import Autoguided

__all__ = [
    "Autoguided",
    "ClassifierGuided",
    "ClipGuided",
    "Experts",
    "Guided",
    "Product",
    "Projected",
    "Thresholded",
    "Tilted",
    "refined",
]
