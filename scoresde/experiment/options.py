"""The settings of a command that are in no group: `conf/config.yaml` has them with their defaults."""

from dataclasses import dataclass, fields
from typing import Annotated, Literal

from omegaconf import DictConfig, OmegaConf

from ..denoiser import RULES
from ..errors import InputError
from ..making import in_yaml
from ..sampling.hardware import AUTOCAST
from ..settings import Checked, Count, OneOf, Seed, check
from .track import TRACKERS
from .with_wandb import ARTIFACTS, MODES

Path = Annotated[str, "a path (one that looks like a number in quotes: '\"7\"')"]


@dataclass(frozen=True)
class Options(Checked):
    """Each setting, its type and its choices; what it means is said in `conf/config.yaml`."""

    rule: Annotated[str, OneOf(RULES)] | dict
    n: Count
    batch_size: Count
    compile: bool
    cuda_graphs: bool
    autocast: Annotated[str, OneOf(AUTOCAST)] | None
    seed: Seed
    gif: bool
    fresh: bool
    trust: bool
    out: Path
    folder: Path | None
    device: Literal["auto", "cpu", "cuda", "mps"]
    wandb: Annotated[str, OneOf(MODES)]
    project: str
    tracker: Annotated[str, OneOf(TRACKERS)]
    artifacts: Annotated[str, OneOf(ARTIFACTS)]
    paths: tuple[Path, ...]


def checked(config: DictConfig) -> None:
    """Raises `InputError` for the first setting that is not of its type, or not among its choices."""
    plain = OmegaConf.to_container(config, resolve=True)
    try:
        Options(**{f.name: plain.get(f.name) for f in fields(Options)})
        check("data.other", (plain.get("data") or {}).get("other"), str | dict | None)
    except InputError as error:
        raise InputError(in_yaml(str(error))) from None
