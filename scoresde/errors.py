"""The one exception for a user's mistake, and what a missing module is called where it is installed from."""


class InputError(ValueError):
    """Input that cannot be worked with: the message names the thing, its value and what would be right.

    The command line prints it as one line without a traceback; every other exception is a fault of the program.
    """


def package(module: str) -> str:
    """What to pip install for a module."""
    return {"PIL": "pillow", "sklearn": "scikit-learn"}.get(module, module)
