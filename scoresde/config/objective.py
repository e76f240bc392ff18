"""What a config trains by: its objective, made of the parts that are built already."""

from omegaconf import DictConfig, OmegaConf

from .. import making
from ..conditions import Kind
from ..data import Data
from ..denoiser import Denoiser
from ..errors import InputError
from ..loss import DenoisingLoss
from ..model.description import MATERIAL
from ..objectives import Objective
from . import conditions as _conditions
from .build import make


def vet(config: DictConfig, trust: bool = True) -> None:
    """Raises `InputError` for a wrong setting of the objective, which needs a model and data to be made."""
    node = OmegaConf.to_container(config, resolve=True)["objective"]
    making.vet(node, "objective", Objective, trust, MATERIAL)


def conditions(config: DictConfig, data: Data) -> dict[str, Kind]:
    """The kinds of all conditions that the network takes, of the data and of the objective.

    Raises `InputError` for one that the data has not, and for two of one name.
    """
    kinds, node = _conditions.kinds(config, data), OmegaConf.to_container(config.objective, resolve=True)
    target = making.locate(node.pop("_target_"), "objective")
    asked = target.asks(data.shape, **node) if hasattr(target, "asks") else {}
    if both := kinds.keys() & asked.keys():
        name = sorted(both)[0]
        raise InputError(f"cond={list(config.cond)}: the objective has a condition {name!r} of its own", "cond")
    return kinds | asked


def build(config: DictConfig, denoiser: Denoiser, loss: DenoisingLoss, data: Data, trust: bool = True) -> Objective:
    """The objective of a config, of a denoiser, which is trained in place, and a loss, whose times may learn."""
    given = {"denoiser": denoiser, "loss": loss, "data": data, "dequantise": config.train.dequantise}
    return make(config.objective, "objective", Objective, trust, **given)
