"""The one exception for a user's mistake, and what a missing module is called where it is installed from."""


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


def package(module: str) -> str:
    """What to pip install for a module."""
    known = {"PIL": "pillow", "sklearn": "scikit-learn", "ot": "POT", "yaml": "pyyaml", "hydra": "hydra-core"}
    return known.get(module, module)
