"""A command within a command: the words that make what the one around them needs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..config import build
from ..config.composed import composed
from ..errors import InputError
from ..tracking.report import say
from .base import Run, Task
from .execute import execute


class Within:
    """A command of these words, which runs where the command `around` it runs; checked here, before any work.

    Arguments:
        words: such as ["experiment=unclip_scenes_clip"].
        around: the config of the command around it.
        place: what says the words, as errors tell it: "task.clip".

    Raises:
        InputError: words that compose nothing, a wrong setting, or a task that needs no model.
    """

    def __init__(self, words: Sequence[str], around: Any, place: str):
        self.words, self.place = tuple(words), place
        config, choices = composed(self.words, around)
        self.task = build.make(config.task, "task", Task)
        if self.task.alone:
            raise InputError(f"{place}: {' '.join(self.words)} trains no model: say words of task=train, or the like")
        self.run = Run(config, choices, said=self.words)

    def __call__(self) -> Path:
        """Does it, or finds it done; the folder of its model."""
        if self.run.lead:
            say(f"{self.place}: {' '.join(self.words)}")
        execute(self.run, self.task)
        return self.run.folder
