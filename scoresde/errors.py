"""The one exception for a user's mistake, its words, whose line a warning names, and what to install for a module."""

import re
import sys


class InputError(ValueError):
    """Input that cannot be worked with: the message names the thing, its value and what would be right.

    The command line prints it as one line without a traceback; every other exception is a fault of the program.

    Arguments:
        message: one line.
        setting: the bare name of the setting that the message begins with, where there is one: whoever knows where the
            setting stands (`sampler.`, `train.`) puts that in front.
    """

    def __init__(self, message: str = "", setting: str | None = None):
        super().__init__(message)
        self.setting = setting


PRETRAINED = "pip install 'scoresde[pretrained]'"  # what others have trained, and what reads it


def package(module: str) -> str:
    """What to pip install for a module."""
    known = {"PIL": "pillow", "sklearn": "scikit-learn", "ot": "POT", "yaml": "pyyaml", "hydra": "hydra-core"}
    return known.get(module, module)


def outside() -> int:
    """The `stacklevel` at which a warning names the line that called this package, from where this is called."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == __package__:
        frame, level = frame.f_back, level + 1
    return level


def in_yaml(words: str) -> str:
    """Words for the command line: null, true and false as YAML has them."""
    return re.sub(r"\b(None|True|False)\b", lambda m: {"None": "null"}.get(m[0], m[0].lower()), words)


def last_line(error: BaseException) -> str:
    """What an exception says last, in one line."""
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__
