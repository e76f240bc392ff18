"""The settings of a command that are in no group: `conf/config.yaml` has them with their defaults."""

from dataclasses import dataclass, fields
from typing import Annotated, Literal

from omegaconf import DictConfig, OmegaConf

from ...conditions.base import Drop
from ...denoiser import RULES
from ...errors import InputError, in_yaml
from ...model.description import OPEN_RULES
from ...sampling.hardware import AUTOCAST
from ...settings import Checked, Count, OneOf, Seed, Text, check
from ...tracking.track import TRACKERS
from ...tracking.with_wandb import ARTIFACTS, MODES

GROUPS = ("sde", "net", "data", "loss", "objective", "train", "sampler", "likelihood", "task")


@dataclass(frozen=True)
class Options(Checked):
    """Each setting, its type and its choices; what it means is said in `conf/config.yaml`."""

    rule: Annotated[str, OneOf((*OPEN_RULES, *RULES))] | dict
    cond: tuple[Text, ...]
    drop: Drop
    told: dict
    given: dict
    n: Count
    batch_size: Count
    compile: bool
    cuda_graphs: bool
    autocast: Annotated[str, OneOf(AUTOCAST)] | None
    seed: Seed
    gif: bool
    png: bool
    fresh: bool
    trust: bool
    teacher: Text | tuple[Text, ...] | None
    out: Text
    folder: Text | None
    ema: Text | float | None
    adapter: Text | None
    device: Literal["auto", "cpu", "cuda", "mps"]
    wandb: Annotated[str, OneOf(MODES)]
    project: Text
    tracker: Annotated[str, OneOf(TRACKERS)]
    artifacts: Annotated[str, OneOf(ARTIFACTS)]
    paths: tuple[Text, ...]


def checked(config: DictConfig) -> None:
    """Raises `InputError` for the first setting that is not of its type, or not among its choices."""
    plain = OmegaConf.to_container(config, resolve=True)
    for group in GROUPS:
        if group not in plain:
            raise InputError(f"{group} is not set: say {group}=NAME, of a file in conf/{group}/")
    try:
        Options(**{f.name: plain.get(f.name) for f in fields(Options)})
        for group in GROUPS:
            check(group, plain[group], dict | None)  # a part that is null is told where it is made
        check("guidance", plain.get("guidance"), dict | None)
        check("method", plain.get("method"), dict | None)
        check("view", plain.get("view"), dict | None)
        check("data.other", (plain["data"] or {}).get("other"), str | dict | None)
    except InputError as error:
        raise InputError(in_yaml(str(error))) from None
