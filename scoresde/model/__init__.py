"""A trained model and its folder: plain data and tensors.

`known.py`: what all models know of their data; `folder.py`: a denoiser, and how models are saved and loaded;
`classifier.py`: a classifier of noisy data; `description.py`: what made it; `trust.py`: what a stranger's may name;
`checkpoint.py`: files of tensors to go on from; `state.py`: weights by their plain names; `moments.py`: the data's
mean and covariance.
"""

from .classifier import NoisyClassifier, TrainedClassifier
from .folder import Trained, load

__all__ = ["NoisyClassifier", "Trained", "TrainedClassifier", "load"]
