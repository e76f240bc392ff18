"""What a config says of latents whose autoencoder is within the model's own folder."""

import copy
from collections.abc import Sequence
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf, open_dict

from ..data import Affine, Data, Tensors
from ..model.description import DENOISING
from ..model.kept import codecs
from . import build, settle


def of_latents(config: DictConfig, shape: Sequence[int], folder: Path) -> DictConfig:
    """The config of a model of the latents, of this shape, of the data that a config names, by the autoencoder within a
    model's folder: by it later commands know the model.  Its rule and its network are settled."""
    items = {k: v for k, v in OmegaConf.to_container(config.data, resolve=True).items() if k != build.OTHER}
    node = {"_target_": "scoresde.latent.latents", "data": items, "autoencoder": str(folder / codecs.FOLDER)}
    config = copy.deepcopy(config)
    with open_dict(config):
        config.data, config.objective = node | {"standardize": False}, {"_target_": DENOISING}
    one = Tensors(torch.zeros(1, *shape))
    return settle.settled(config, Data("latents", one, one, Affine()), {})


def at_hand(config: DictConfig, folder: Path) -> DictConfig:
    """A config whose data of latents are by the autoencoder within the model's folder, where their own is gone."""
    place = config.data.get("autoencoder") if config.data else None
    within = folder / codecs.FOLDER
    if not isinstance(place, str) or Path(place).expanduser().exists() or not (within / codecs.ABOUT).exists():
        return config
    config = copy.deepcopy(config)
    config.data.autoencoder = str(within)
    return config
