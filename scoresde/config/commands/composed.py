"""Other commands within a command: the config that their words compose."""

from collections.abc import Sequence
from typing import Any

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ...errors import InputError

WHERE = ("out", "device", "wandb", "tracker", "project", "artifacts", "paths", "trust")  # as in the command around it


def composed(words: Sequence[str], around: DictConfig) -> tuple[DictConfig, dict[str, str]]:
    """The config of a command of these words, and its choices, which runs where the command `around` it runs.

    Raises `InputError` for words that compose nothing.
    """
    made, choices = _composed(words)
    said = {word.lstrip("+~").partition("=")[0] for word in words}
    for key in WHERE:
        if key not in said:
            made[key] = around[key]
    return made, choices


def choice(group: str, name: str) -> Any:
    """The node of GROUP=NAME, as plain types.  Raises `InputError` where there is none."""
    return OmegaConf.to_container(_composed([f"{group}={name}"])[0][group], resolve=True)


def plain(config: DictConfig) -> dict[str, Any]:
    """A whole config, resolved, as plain types."""
    return OmegaConf.to_container(config, resolve=True)


def _composed(words: Sequence[str]) -> tuple[DictConfig, dict[str, str]]:
    try:
        made = compose(HydraConfig.get().job.config_name, list(words), return_hydra_config=True)
    except (HydraException, OmegaConfBaseException) as error:
        why = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise InputError(f"{' '.join(words)}: {why[:200]}") from error
    choices = dict(made.hydra.runtime.choices)
    return OmegaConf.masked_copy(made, [key for key in made if key != "hydra"]), choices
