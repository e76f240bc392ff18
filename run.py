"""The front door: `python run.py sde=vp sampler=pc` trains, samples and scores a model; `--help` says more.

The command `scoresde` of the wheel begins here too.
"""

import os
import signal
import sys

if not (3, 11) <= sys.version_info[:2] <= (3, 13):
    sys.exit("error: use Python 3.11, 3.12 or 3.13 (on 3.14 and later the parser of Hydra's command line fails)")


def main() -> None:
    """Runs the command line.  Ctrl-C is one line and the exit code 130 from the first import on."""
    if "--version" in sys.argv[1:]:
        print(versions())
        return
    if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
        signal.signal(signal.SIGINT, _stop)
    from scoresde.command.main import cli

    cli()


def versions() -> str:
    """scoresde X, torch Y, python Z: read, not imported, which takes no time."""
    import importlib.metadata
    import importlib.util
    import pathlib
    import platform
    import re

    text = pathlib.Path(importlib.util.find_spec("scoresde").origin).read_text()
    own = re.search(r'^__version__ = "(.+)"$', text, re.M)[1]
    try:
        torch = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        torch = "missing"
    return f"scoresde {own}, torch {torch}, python {platform.python_version()}"


def _stop(number: int, frame) -> None:
    # An exception might be taken by whatever is being imported for an import that failed.
    os.write(2, b"error: stopped before it began\n")
    os._exit(130)


if __name__ == "__main__":
    main()
