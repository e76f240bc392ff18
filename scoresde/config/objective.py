"""What a config trains by: its objective, made of the parts that are built already."""

from omegaconf import DictConfig, OmegaConf

from .. import making
from ..data import Data
from ..denoiser import Denoiser
from ..loss import DenoisingLoss
from ..model.description import MATERIAL
from ..objectives import Objective
from .build import make


def vet(config: DictConfig, trust: bool = True) -> None:
    """Raises `InputError` for a wrong setting of the objective, which needs a model and data to be made."""
    node = OmegaConf.to_container(config, resolve=True)["objective"]
    making.vet(node, "objective", Objective, trust, MATERIAL)


def build(config: DictConfig, denoiser: Denoiser, loss: DenoisingLoss, data: Data, trust: bool = True) -> Objective:
    """The objective of a config, of a denoiser, which is trained in place, and a loss, whose times may learn."""
    given = {"denoiser": denoiser, "loss": loss, "data": data, "dequantise": config.train.dequantise}
    return make(config.objective, "objective", Objective, trust, **given)
