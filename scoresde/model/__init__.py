"""A trained model and its folder: plain data and tensors.

`folder.py`: the model, saved and loaded; `description.py`: what made it; `trust.py`: what a stranger's may name;
`checkpoint.py`: files of tensors to go on from; `state.py`: weights by their plain names; `moments.py`: the data's
mean and covariance.
"""

from .folder import Trained, load

__all__ = ["Trained", "load"]
