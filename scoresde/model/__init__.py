"""A trained model and its folder: plain data and tensors.

`trained/`: the kinds of models, each with what it knows of its data; `folder.py`: how they are saved and loaded;
`named.py`: one that a setting names; `description.py`: what made it; `trust.py`: what a stranger's may name;
`kinds.py`: what a folder may hold; `checkpoint.py`: files of tensors to go on from; `kept/`: the others.
"""

from .folder import load, save
from .trained import Autoencoder, Clip, Model, NoisyClassifier, TrainedAutoencoder, TrainedClassifier, TrainedClip

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
