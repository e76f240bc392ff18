"""What a training begins with, where `train.start` is the words of another training: trained first, if need be."""

import copy
from collections.abc import Mapping, Sequence

from omegaconf import DictConfig, OmegaConf

from .. import making
from ..config.composed import choice, composed
from ..config.options import checked
from ..errors import InputError
from ..machine import processes
from ..settings import Text, brief, check
from ..tracking.report import say
from .base import Run, Task
from .execute import execute


def begun(config: DictConfig, task: Task, choices: Mapping[str, str], said: Sequence[str] = ()) -> DictConfig:
    """A config whose `train.start` is a folder, or null; where it is the words of a training, that of its model.

    A task that trains trains that model first, where this is not done yet; what the words begin with before them.

    Arguments:
        config: a command's.
        task: what it does.
        choices, said: as `Run` takes them.

    Raises:
        InputError: the words compose nothing, or the start is not trained yet and the task trains nothing; what is
            wrong with the training itself, before that of its start.
    """
    words = _words(config)
    if words is None:
        return config
    made, chosen = composed(words, config)
    if task.trains:
        look(config, choices, said)
    made = begun(made, task, chosen, words)
    run = Run(made, chosen, said=words)
    if not run.trained():
        if not task.trains:
            told = "it is not trained yet: run the same command with task=train first"
            raise InputError(f"train.start={brief(words)}: {told}", "train.start")
        say(f"train.start: {' '.join(words)}")
        execute(run, making.make(choice("task", "train"), "task", Task))
        processes.wait(made.device)  # until the first process has written the model
    return _with(config, str(run.folder))


def look(config: DictConfig, choices: Mapping[str, str], said: Sequence[str] = ()) -> None:
    """Looks at a training, and at all that it begins with, before any work.  Raises `InputError` for what is wrong."""
    words = _words(config)
    if words is not None:
        look(*composed(words, config), words)
        config = _with(config, None)
    Run(config, dict(choices), said=said)


def _words(config: DictConfig) -> list[str] | None:
    """The words that train the start; None where it is a folder, or nothing."""
    checked(config)
    node = OmegaConf.select(config, "train.start")
    if not OmegaConf.is_list(node):
        return None
    words = OmegaConf.to_container(node, resolve=True)
    check("train.start", words, tuple[Text, ...])
    if not words:
        raise InputError("train.start=[]: give the words of a training, a folder, or null", "train.start")
    return words


def _with(config: DictConfig, start: str | None) -> DictConfig:
    config = copy.deepcopy(config)
    config.train.start = start
    return config
