"""The one exception for a user's mistake."""


class InputError(ValueError):
    """Input that cannot be worked with: the message names the thing, its value and what would be right.

    The command line prints it as one line without a traceback; every other exception is a fault of the program.
    """
