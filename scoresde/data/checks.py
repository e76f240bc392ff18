"""Checks of a user's options, and the one rule by which every data set is split."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from numbers import Integral, Real
from pathlib import Path

import numpy as np

from ..errors import InputError


def rng(seed: int) -> np.random.RandomState:
    """A numpy generator; InputError unless seed is an integer in 0..2^32-1."""
    if not is_int(seed) or not 0 <= seed < 2**32:
        raise InputError(f"data.seed={seed}: must be an integer in 0..4294967295")
    return np.random.RandomState(seed)


def split(n: int, test: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Disjoint (train, test) indices into n items: the last of a seeded permutation are the test set.

    Arguments:
        n: how many items there are, at least 2.
        test: a count 1..n-1 (an int), or a fraction in (0, 1) (a float), rounded, with at least one item on each side.
        seed: of the permutation; the same n, test and seed always give the same split.

    Raises:
        InputError: fewer than 2 items, or a test or seed outside these.
    """
    if n < 2:
        raise InputError(f"data has n={n} items: at least 2 are needed, one to train on and one to test on")
    if is_int(test) and 1 <= test < n:
        count = int(test)
    elif isinstance(test, Real) and not isinstance(test, Integral) and 0 < test < 1:
        count = min(max(round(test * n), 1), n - 1)
    else:
        raise InputError(f"data.test={test}: must be a fraction in (0, 1) or a count in 1..{n - 1}")
    order = rng(seed).permutation(n)
    return order[:-count], order[-count:]


def check_count(name: str, value: int) -> int:
    """value; InputError unless it is an integer of at least 1."""
    if not is_int(value) or value < 1:
        raise InputError(f"{name}={value}: must be an integer of at least 1")
    return int(value)


def check_levels(levels: int | None) -> None:
    """InputError unless levels is None or an integer in 2..65536."""
    if levels is not None and not (is_int(levels) and 2 <= levels <= 65536):
        raise InputError(f"data.levels={levels}: must be an integer in 2..65536, or null for continuous data")


def check_choice(name: str, value, choices: Iterable) -> None:
    """InputError, with the nearest choice, unless value is one of the choices."""
    choices = list(choices)
    if value not in choices:
        near = difflib.get_close_matches(str(value), [c for c in choices if isinstance(c, str)], n=1, cutoff=0.4)
        meant = f"did you mean {near[0]}? " if near else ""
        listed = ", ".join("null" if c is None else str(c) for c in choices)
        raise InputError(f"{name}={value}: {meant}must be one of {listed}")


def find(root: str | Path, remedy: str, folder: bool = False) -> Path:
    """root as an existing file or folder, ~ expanded; otherwise an InputError that ends with the remedy."""
    if not isinstance(root, (str, Path)) or not str(root):
        raise InputError(f"data.root={root}: {remedy}")
    path = Path(root).expanduser()
    if not path.exists():
        raise InputError(f"data.root={path} does not exist: {remedy}")
    if path.is_dir() != folder:
        raise InputError(f"data.root={path} is not a {'folder' if folder else 'file'}: {remedy}")
    return path


def is_int(value) -> bool:
    """Whether value is an integer, and not a bool."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def reason(error: Exception) -> str:
    """What an exception says, as one line of at most 200 characters."""
    return " ".join(str(error).split())[:200] or type(error).__name__
