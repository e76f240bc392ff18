"""Two-dimensional densities to look at."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch

from ...settings import Count, OneOf, Seed, checked
from ..base import Data
from ..checks import rng
from ..rows import Blocks, Tensors
from ..standard import look_at, moments, standardise


@checked
def toy(kind: Annotated[str, OneOf(KINDS)] = "ring", n: Count = 20000, test: Count = 2000, seed: Seed = 0) -> Data:
    """Independent draws of one density on the plane: float32, shape (2,).

    Arguments:
        kind: ring (eight Gaussians on a circle), moons, checkerboard or swissroll.
        n: how many training points.
        test: how many further test points.
        seed: of the draws.

    Returns:
        A `Data`.

    Raises:
        InputError: an unknown kind, a count below 1, a bad seed.
    """
    x = torch.from_numpy(KINDS[kind](n + test, rng(seed))).float()
    rows, points = Blocks(x), np.arange(n)
    made = standardise(rows, moments(rows, points, look_at(rows, kind, "error")), "global", kind)
    return Data(kind, Tensors(x[:n]), Tensors(x[n:]), made.space)


def ring(n: int, rng: np.random.RandomState) -> np.ndarray:
    """Eight Gaussians of deviation 0.1, evenly on the circle of radius 2."""
    angle = 2 * np.pi * rng.randint(8, size=n) / 8
    return 2 * polar(angle) + 0.1 * rng.randn(n, 2)


def moons(n: int, rng: np.random.RandomState) -> np.ndarray:
    """Two interleaved half circles of radius 1, blurred by 0.1."""
    upper, arc = rng.randint(2, size=(n, 1)), polar(np.pi * rng.rand(n))
    return np.where(upper, arc, [1, 0.5] - arc) + 0.1 * rng.randn(n, 2)


def checkerboard(n: int, rng: np.random.RandomState) -> np.ndarray:
    """Uniform on the eight dark squares of a 4x4 board that covers [-4, 4]^2."""
    x = 4 * rng.rand(n) - 2
    y = rng.rand(n) - 2 * rng.randint(2, size=n) + np.floor(x) % 2
    return 2 * np.stack([x, y], axis=1)


def swissroll(n: int, rng: np.random.RandomState) -> np.ndarray:
    """The spiral r = t / 5 for t in [1.5 pi, 4.5 pi], blurred by 0.06."""
    t = 1.5 * np.pi * (1 + 2 * rng.rand(n))
    return t[:, None] / 5 * polar(t) + 0.06 * rng.randn(n, 2)


def polar(angle: np.ndarray) -> np.ndarray:
    """Points (n, 2) on the unit circle."""
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


KINDS = {"ring": ring, "moons": moons, "checkerboard": checkerboard, "swissroll": swissroll}
