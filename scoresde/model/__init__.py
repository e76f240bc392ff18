"""A trained model and its folder: plain data and tensors.

`known.py`: what all models know of their data; `denoiser.py`: a trained denoiser; `folder.py`: how models are saved
and loaded; `classifier.py`: a classifier of noisy data; `description.py`: what made it; `trust.py`: what a stranger's
may name; `kinds.py`: what a folder may hold; `weights.py`: its files of tensors, `averages.py`: which average is meant;
`checkpoint.py`: files of tensors to go on from; `state.py`: weights by their plain names; `moments.py`: the
data's mean and covariance.
"""

from .classifier import NoisyClassifier, TrainedClassifier
from .denoiser import Model
from .folder import load, save

Trained = Model  # its name of before

__all__ = ["Model", "NoisyClassifier", "Trained", "TrainedClassifier", "load", "save"]
