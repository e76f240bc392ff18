"""scoresde: score-based generative modeling with stochastic differential equations."""

import importlib
from typing import TYPE_CHECKING

from . import data, exact, grids, guidance, loss, nets, objectives, sampling
from .denoiser import Counted, Denoiser, FromScore, Moments, Preconditioned
from .errors import InputError
from .likelihood import Likelihood, bits_per_dim, log_likelihood
from .loss import DenoisingLoss
from .model import (
    Autoencoder,
    Clip,
    Model,
    NoisyClassifier,
    Trained,
    TrainedAutoencoder,
    TrainedClassifier,
    TrainedClip,
    load,
)
from .sampling import decode, encode, from_latent, sample, to_latent
from .sde import EDM, SDE, VE, VP, Cosine, CosinePower, Linear, Shifted, Sigmoid, SubVP
from .students import distill
from .training import Training, fit, train
from .tuning import tune

__version__ = "0.1.0"

__all__ = [
    "EDM",
    "SDE",
    "VE",
    "VP",
    "Autoencoder",
    "Clip",
    "Cosine",
    "CosinePower",
    "Counted",
    "Denoiser",
    "DenoisingLoss",
    "FromScore",
    "InputError",
    "Likelihood",
    "Linear",
    "Model",
    "Moments",
    "NoisyClassifier",
    "Preconditioned",
    "Shifted",
    "Sigmoid",
    "SubVP",
    "Trained",
    "TrainedAutoencoder",
    "TrainedClassifier",
    "TrainedClip",
    "Training",
    "bits_per_dim",
    "cascade",
    "data",
    "decode",
    "distill",
    "doctor",
    "encode",
    "exact",
    "fit",
    "from_latent",
    "grids",
    "guidance",
    "load",
    "log_likelihood",
    "loss",
    "metrics",
    "nets",
    "objectives",
    "plot",
    "report",
    "sample",
    "sampling",
    "to_latent",
    "train",
    "tune",
    "unclip",
]

LATER = ("cascade", "doctor", "metrics", "plot", "report", "unclip")

if TYPE_CHECKING:
    from . import cascade, doctor, metrics, plot, report, unclip
else:  # whoever asks for these waits for them: they are seldom of use beside a model

    def __getattr__(name: str):
        if name in LATER:
            return importlib.import_module(f".{name}", __name__)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
