"""A command within a command: words that make what the one around them needs, where that is not made yet."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from ..config import build
from ..config.commands.composed import choice, composed
from ..config.commands.options import checked
from ..errors import InputError
from ..machine import files, launcher, processes
from ..settings import Text, brief, check
from ..tracking.report import say
from .base import Run, Task
from .execute import execute

# What may be a folder, or the words of the command that makes it; whether that is task=train, whatever the words say.
FIRST = {"data.autoencoder": False, "train.start": True, "teacher": True}


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
    """A config in which what may be a folder, or the words of the command that makes it (`FIRST`), is a folder.

    A task that trains runs these commands first, where they are not done yet; what their words begin with before them.

    Arguments:
        config: a command's.
        task: what it does.
        choices, said: as `Run` takes them.

    Raises:
        InputError: the words compose nothing, or the start is not trained yet and the task trains nothing; what is
            wrong with the training itself, before that of its start.
    """
    asked = {place: words for place in FIRST if (words := _words(config, place)) is not None}
    if asked and task.trains:
        look(config, choices, said)
    for place, words in asked.items():
        config = _with(config, place, str(_first(config, place, words, task)))
    return config


def _first(config: DictConfig, place: str, words: Sequence[str], task: Task) -> Path:
    """The folder that the command of these words makes, which is run where it is not done yet and the task trains."""
    first = Within(words, config, place, trains=FIRST[place])
    run = first.run(task)
    folder = first.task.place(run)
    if not task.trains and not FIRST[place]:
        return folder  # whatever needs it says that it is not there
    if run.trained() if FIRST[place] else files.read_json(folder / "summary.json", default={}).get("finished") is True:
        return folder
    if not task.trains:
        told = "it is not trained yet: run the same command with task=train first"
        raise InputError(f"{place}={brief(list(words))}: {told}", place)
    return first()


def look(config: DictConfig, choices: Mapping[str, str], said: Sequence[str] = ()) -> None:
    """Looks at a training, and at all that it begins with, before any work.  Raises `InputError` for what is wrong."""
    for place, starts in FIRST.items():
        words = _words(config, place)
        if words is not None:
            Within(words, config, place, starts)
            config = _with(config, place, None if starts else " ".join(words))
    Run(config, dict(choices), said=said)


def _words(config: DictConfig, place: str) -> list[str] | None:
    """The words of the command that makes it; None where it is a folder, or nothing."""
    checked(config)
    node = OmegaConf.select(config, place)
    if not OmegaConf.is_list(node):
        return None
    words = OmegaConf.to_container(node, resolve=True)
    check(place, words, tuple[Text, ...])
    if not words:
        raise InputError(f"{place}=[]: give the words of a training, a folder, or null", place)
    return words


def _with(config: DictConfig, place: str, folder: str | None) -> DictConfig:
    config = copy.deepcopy(config)
    OmegaConf.update(config, place, folder)
    return config
