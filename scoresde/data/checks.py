"""What the settings of data sets may be, and the one rule by which every data set is split."""

from __future__ import annotations

from numbers import Integral
from pathlib import Path
from typing import Annotated

import numpy as np

from ..errors import InputError
from ..settings import Count, Range, Seed, brief, check, matches

Levels = Annotated[
    Annotated[int, Range(2, 65536)] | None, "a whole number from 2 to 65536, or None for continuous data"
]
Part = Annotated[
    Count | Annotated[float, Range(above=0, below=1)], "a count of at least 1, or a fraction above 0 and below 1"
]
Place = Annotated[str | Path, "the path of the file or the folder"]


def rng(seed: int) -> np.random.RandomState:
    """A numpy generator of any seed that `Seed` allows."""
    check("seed", seed, Seed)
    return np.random.RandomState(int(seed) if seed < 2**32 else [seed & 0xFFFFFFFF, seed >> 32])


def split(n: int, test: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Disjoint (train, test) indices into n items: the last of a seeded permutation are the test set.

    Arguments:
        n: how many items there are, at least 2.
        test: a count 1..n-1 (an int), or a fraction in (0, 1) (a float), rounded, with at least one item on each side.
        seed: of the permutation; the same n, test and seed always give the same split.

    Returns:
        The numbers of the items in train, and of those in test, in the order of the permutation.

    Raises:
        InputError: fewer than 2 items, or a test or seed outside these.
    """
    if n < 2:
        raise InputError(f"data has n={n} items: at least 2 are needed, one to train on and one to test on")
    count = int(test) if isinstance(test, Integral) else None
    if not matches(test, Part) or (count is not None and count >= n):
        raise InputError(f"test={brief(test)}: give a count in 1..{n - 1} or a fraction above 0 and below 1", "test")
    if count is None:
        count = min(max(round(test * n), 1), n - 1)
    order = rng(seed).permutation(n)
    return order[:-count], order[-count:]


def find(root: str | Path, remedy: str, folder: bool = False) -> Path:
    """root as an existing file or folder, ~ expanded; otherwise an InputError that ends with the remedy."""
    if not isinstance(root, (str, Path)) or not str(root):
        raise InputError(f"root={brief(root)}: {remedy}", "root")
    try:
        path = Path(root).expanduser()
        path.stat()
        right = path.is_dir() if folder else path.is_file()
    except FileNotFoundError:
        raise InputError(f"root={path} does not exist: {remedy}", "root") from None
    except (OSError, ValueError, RuntimeError) as error:  # no permission, a name too long, a user that is not known
        raise InputError(f"root={root} cannot be looked at ({reason(error)}): {remedy}", "root") from error
    if not right:
        raise InputError(f"root={path} is not a {'folder' if folder else 'file'}: {remedy}", "root")
    return path


def reason(error: Exception) -> str:
    """What an exception says, as one line of at most 200 characters."""
    return " ".join(str(error).split())[:200] or type(error).__name__
