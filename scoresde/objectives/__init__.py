"""What a training minimises: an `Objective` draws a step's random numbers, and says what is trained, and by what loss.

`base.py`: what an objective is; `own.py`: one of this package's models; `denoising.py`: denoising score matching, and
`added/` what may be added to it; `hybrid.py`: with learned variances; `sliced.py`: sliced score matching;
`classify.py`: a classifier of noisy data; `contrastive.py`: pictures and their words; `autoencoding/`: items as
latents; `joint/`: latents and their denoiser together; `distill/`: models of few steps;
`validation.py`: what they are watched by; `guards.py`: what a
training is not begun with.  They may import `loss/`, `data/`, `spaces/`, `nets/`, `denoiser/`, `guidance/`,
`sampling/` and `model/`, and know
nothing of the loop that trains them.
"""

from .autoencoding import Autoencode, Perceptual, lpips
from .base import Objective
from .classify import Classify
from .contrastive import Contrastive
from .denoising import Denoising
from .distill import (
    ADD,
    DMD,
    DMD2,
    SCM,
    Consistency,
    Contest,
    Distilled,
    GuidedDistillation,
    Matching,
    MeanFlow,
    Pairs,
    Progressive,
    Reflow,
    Shortcut,
    Trajectory,
    pairs,
)
from .hybrid import Hybrid
from .joint import LSGM, Joint
from .sliced import Sliced
from .validation import HeldOut, Validation, noise_levels

__all__ = [
    "ADD",
    "DMD",
    "DMD2",
    "LSGM",
    "SCM",
    "Autoencode",
    "Classify",
    "Consistency",
    "Contest",
    "Contrastive",
    "Denoising",
    "Distilled",
    "GuidedDistillation",
    "HeldOut",
    "Hybrid",
    "Joint",
    "Matching",
    "MeanFlow",
    "Objective",
    "Pairs",
    "Perceptual",
    "Progressive",
    "Reflow",
    "Shortcut",
    "Sliced",
    "Trajectory",
    "Validation",
    "lpips",
    "noise_levels",
    "pairs",
]
