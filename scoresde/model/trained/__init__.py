"""The trained models, each what its module answers with what it knows of its data.

`known.py`: what all know, and how their weights are kept; `denoiser.py`: a trained denoiser; `classifier.py`: a
classifier of noisy data; `clip.py`: pictures and texts as vectors; `autoencoder.py`: items as latents, `tiles.py`: a
few at a time.
"""

from .autoencoder import Autoencoder, TrainedAutoencoder
from .classifier import NoisyClassifier, TrainedClassifier
from .clip import Clip, TrainedClip
from .denoiser import Model

__all__ = [
    "Autoencoder",
    "Clip",
    "Model",
    "NoisyClassifier",
    "TrainedAutoencoder",
    "TrainedClassifier",
    "TrainedClip",
]
