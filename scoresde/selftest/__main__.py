"""python -m scoresde.selftest DEVICE."""

import sys

from ..errors import InputError
from .proof import failed, selftest

if __name__ == "__main__":
    try:
        problem = failed(selftest(*sys.argv[1:2]))
    except InputError as error:
        problem = str(error)
    sys.exit(f"error: {problem}" if problem else 0)
