"""A command within a command: words that train what the one around them needs, where that is not trained yet."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from ..config import build
from ..config.composed import choice, composed
from ..config.options import checked
from ..errors import InputError
from ..machine import launcher, processes
from ..settings import Text, brief, check
from ..tracking.report import say
from .base import Run, Task
from .execute import execute


class Within:
    """A command of these words, which runs where the command `around` it runs; looked at here, before any work.

    Arguments:
        words: such as ["experiment=unclip_scenes_clip"].
        around: the config of the command around it.
        place: what says the words, as errors tell it: "task.clip".
        trains: whether it is task=train, whatever the words say.

    Raises:
        InputError: words that compose nothing, a wrong setting, or a task that needs no model.
    """

    def __init__(self, words: Sequence[str], around: DictConfig, place: str, trains: bool = False):
        self.words, self.place = tuple(words), place
        self.config, self.choices = composed(self.words, around)
        self.task = build.make(choice("task", "train") if trains else self.config.task, "task", Task)
        if self.task.alone:
            raise InputError(f"{place}: {' '.join(self.words)} trains no model: say words of task=train, or the like")
        look(self.config, self.choices, self.words)

    def run(self, task: Task) -> Run:
        """The run of these words within a task, which trains what they begin with, if it trains anything."""
        return Run(begun(self.config, task, self.choices, self.words), self.choices, said=self.words)

    def __call__(self) -> Path:
        """Does it, or finds it done; the folder of its model."""
        if launcher.rank() == 0:
            say(f"{self.place}: {' '.join(self.words)}")
        run = self.run(self.task)
        execute(run, self.task)
        processes.wait(run.config.device)  # until the first process has written the model
        return run.folder


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
    if task.trains:
        look(config, choices, said)
    first = Within(words, config, "train.start", trains=True)
    run = first.run(task)
    if run.trained():
        return _with(config, str(run.folder))
    if not task.trains:
        told = "it is not trained yet: run the same command with task=train first"
        raise InputError(f"train.start={brief(words)}: {told}", "train.start")
    return _with(config, str(first()))


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
