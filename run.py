"""The front door: `python run.py sde=vp sampler=pc` trains, samples and scores a model.  `python run.py --help` says more."""

import sys
from pathlib import Path

if sys.version_info < (3, 11):
    sys.exit("error: scoresde needs Python 3.11, 3.12 or 3.13")
if sys.version_info >= (3, 14):
    sys.exit("error: Hydra's command line fails on Python 3.14 and later: use Python 3.11, 3.12 or 3.13")

if __name__ == "__main__":
    from scoresde.experiment.command import main

    main(Path(__file__).resolve().parent / "conf")
