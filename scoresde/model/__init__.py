"""A trained model and its folder: plain data and tensors.

`known.py`: what all models know of their data; `denoiser.py`: a trained denoiser; `classifier.py`: a classifier of
noisy data; `clip.py`: pictures and texts as vectors; `autoencoder.py`: items as latents, `tiles.py`: a few at a time;
`folder.py`: how models are saved and loaded; `named.py`: one that a setting names; `description.py`: what made it;
`trust.py`: what a stranger's may name; `kinds.py`: what a folder may hold; `checkpoint.py`: files of tensors to go on
from; `kept/`: the others.
"""

from .autoencoder import Autoencoder, TrainedAutoencoder
from .classifier import NoisyClassifier, TrainedClassifier
from .clip import Clip, TrainedClip
from .denoiser import Model
from .folder import load, save

Trained = Model  # its name of before

__all__ = [
    "Autoencoder",
    "Clip",
    "Model",
    "NoisyClassifier",
    "Trained",
    "TrainedAutoencoder",
    "TrainedClassifier",
    "TrainedClip",
    "load",
    "save",
]
