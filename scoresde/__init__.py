"""scoresde: score-based generative modeling with stochastic differential equations."""

from . import data, exact, grids, loss, metrics, nets, sampling
from .denoiser import Counted, Denoiser, FromScore, Preconditioned
from .errors import InputError
from .likelihood import Likelihood, bits_per_dim, log_likelihood
from .loss import DenoisingLoss
from .sampling import decode, encode, sample
from .sde import EDM, SDE, VE, VP, Cosine, Linear, SubVP
from .tuning import tune

__version__ = "0.1.0"

__all__ = [
    "EDM",
    "SDE",
    "VE",
    "VP",
    "Cosine",
    "Counted",
    "Denoiser",
    "DenoisingLoss",
    "FromScore",
    "InputError",
    "Likelihood",
    "Linear",
    "Preconditioned",
    "SubVP",
    "bits_per_dim",
    "data",
    "decode",
    "encode",
    "exact",
    "grids",
    "load",
    "log_likelihood",
    "loss",
    "metrics",
    "nets",
    "sample",
    "sampling",
    "train",
    "tune",
]


def __getattr__(name: str):
    # These need accelerate and Hydra, which take seconds to import.
    if name == "load":
        from .experiment.model import load

        return load
    if name == "train":
        from .experiment.train import train

        return train
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
