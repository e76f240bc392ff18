"""The front door: `python run.py sde=vp sampler=pc` trains, samples and scores a model; `--help` says more."""

import sys

if not (3, 11) <= sys.version_info[:2] <= (3, 13):
    sys.exit("error: use Python 3.11, 3.12 or 3.13 (on 3.14 and later the parser of Hydra's command line fails)")

if __name__ == "__main__":
    from scoresde.experiment.command import cli

    cli()
