"""A trained model and its folder: plain data and tensors.

`known.py`: what all models know of their data; `denoiser.py`: a trained denoiser; `classifier.py`: a classifier of
noisy data; `clip.py`: pictures and texts as vectors; `folder.py`: how models are saved and loaded; `named.py`: one that
a setting names; `description.py`: what made it; `trust.py`: what a stranger's may name; `kinds.py`: what a folder may
hold; `checkpoint.py`: files of tensors to go on from; `kept/`: the others.
"""

from .classifier import NoisyClassifier, TrainedClassifier
from .clip import Clip, TrainedClip
from .denoiser import Model
from .folder import load, save

Trained = Model  # its name of before

__all__ = ["Clip", "Model", "NoisyClassifier", "Trained", "TrainedClassifier", "TrainedClip", "load", "save"]
