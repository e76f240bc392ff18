"""Control variates of the divergence: matrices near the flow's Jacobian, whose share of the probes' error is known."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from ..errors import InputError
from .brief import Shapes
from .divergence import Divergence, basis

LARGEST = 4096


class Control(ABC):
    """A guess A(phi) (D, D), symmetric, of the Jacobian of dz/dphi = v, the same for all rows and probes.

    A probe e kept from a to b errs by e^T M e - tr M with M the integral of J; what A has of it is known,

        e^T W e - tr W,    W = int_a^b A dphi

    and is subtracted.  As E e e^T = I its expectation is 0: the estimate stays unbiased whatever A is, and its
    variance is that of M - W in place of M.
    """

    @abstractmethod
    def jacobian(self, phi: float) -> Tensor:
        """A(phi), (D, D)."""

    @abstractmethod
    def integral(self, a: float, b: float) -> Tensor:
        """W (D, D), the integral of A from `a` to `b`, two angles."""

    @staticmethod
    def error(matrix: Tensor, probes: Tensor) -> Tensor:
        """e^T A e - tr A of a matrix A (D, D) and probes e (B, k, *shape): (B, k).

        Raises `InputError` for probes of another dimension.
        """
        e = probes.flatten(2)
        if e.shape[2] != len(matrix):
            raise InputError(f"control is of {len(matrix)} dimensions, x has {e.shape[2]}")
        matrix = matrix.to(e.device, e.dtype)
        return ((e @ matrix) * e).sum(2) - matrix.trace()


@dataclass(frozen=True, eq=False, repr=False)
class GaussianPart(Shapes, Control):
    """The flow of Gaussian data N(m, C), with C = Q diag(lambda) Q^T = `cov`, times `strength`:

        A(phi) = Q diag(cos(phi) sin(phi) (1 - lambda) / (lambda cos^2(phi) + sin^2(phi))) Q^T
        W      = Q diag(1/2 log(lambda cos^2(phi) + sin^2(phi)))|_a^b Q^T

    For Gaussian data one probe is then exact.  Data that fall into modes have a covariance that the flow does not see
    from within a mode, and the variance may rise: `AverageJacobian` cannot err like that.

    Arguments:
        cov: C (D, D), of the data in the model's space, D at most 4096.
        strength: a factor, 1 for all of it.

    Raises:
        InputError: a cov that is not square, or is too large.
    """

    cov: Tensor
    strength: float = 1.0

    def __post_init__(self):
        if self.cov.ndim != 2 or self.cov.shape[0] != self.cov.shape[1]:
            raise InputError(f"cov {tuple(self.cov.shape)} must be (D, D)")
        _small(len(self.cov))

    @classmethod
    def fit(cls, x: Tensor, strength: float = 1.0) -> "GaussianPart":
        """That of the covariance of data x (N, *shape), N > 1, with a `strength`.

        Raises `InputError` for other data, and for more than 4096 dimensions.
        """
        if x.ndim < 2 or len(x) < 2:
            raise InputError(f"x {tuple(x.shape)} must be (N, *shape) with N > 1")
        _small(x[0].numel())
        return cls(torch.atleast_2d(torch.cov(x.flatten(1).double().T)), strength)

    @cached_property
    def _spectrum(self) -> tuple[Tensor, Tensor]:
        values, vectors = torch.linalg.eigh((self.cov + self.cov.T).double() / 2)
        return values.clamp_min(0), vectors

    def _matrix(self, values: Tensor) -> Tensor:
        q = self._spectrum[1]
        return self.strength * (q * values) @ q.T

    def jacobian(self, phi):
        values, (cos, sin) = self._spectrum[0], (math.cos(phi), math.sin(phi))
        return self._matrix(cos * sin * (1 - values) / (values * cos**2 + sin**2))

    def integral(self, a, b):
        values = self._spectrum[0]
        ends = [0.5 * torch.log(values * math.cos(phi) ** 2 + math.sin(phi) ** 2) for phi in (a, b)]
        return self._matrix(ends[1] - ends[0])


@dataclass(frozen=True, eq=False, repr=False)
class AverageJacobian(Shapes, Control):
    """The flow's own Jacobian averaged over trajectories, (J + J^T) / 2: the best A that is the same for all rows.

    `average_jacobian` computes it.

    Arguments:
        angles: phi_0 < .. < phi_N.
        matrices: A there (N + 1, D, D), between which it is linear and beyond which it is constant.
    """

    angles: Sequence[float]
    matrices: Tensor

    def jacobian(self, phi):
        grid = torch.tensor(self.angles, dtype=torch.float64)
        weights = self._weights(grid, torch.tensor([phi], dtype=torch.float64))[0]
        return torch.tensordot(weights.to(self.matrices), self.matrices, 1)

    def integral(self, a, b):
        grid = torch.tensor(self.angles, dtype=torch.float64)
        ends = torch.tensor([a, b], dtype=torch.float64)
        points = torch.cat([ends[:1], grid[(grid > a) & (grid < b)], ends[1:]])
        values = self._weights(grid, points)
        weights = ((values[1:] + values[:-1]) / 2 * points.diff()[:, None]).sum(0)
        return torch.tensordot(weights.to(self.matrices), self.matrices, 1)

    @staticmethod
    def _weights(grid: Tensor, points: Tensor) -> Tensor:
        """Those of linear interpolation, (points, grid)."""
        right = torch.searchsorted(grid, points).clamp(1, len(grid) - 1)
        share = ((points - grid[right - 1]) / (grid[right] - grid[right - 1])).clamp(0, 1)
        weights = torch.zeros(len(points), len(grid), dtype=grid.dtype)
        weights.scatter_(1, right[:, None] - 1, 1 - share[:, None])
        return weights.scatter_(1, right[:, None], share[:, None])


@dataclass(frozen=True)
class Record(Divergence):
    """No estimate: it keeps the mean over rows of (J + J^T) / 2, a matrix (D, D) for each evaluation."""

    matrices: list[Tensor]
    random: ClassVar[bool] = False

    @property
    def estimates(self):
        return 1

    def probes(self, z, index, seed, first=0, draw=0):
        return None

    def estimate(self, product, z, probes):
        rows = torch.cat([product(e).flatten(2).mean(1) for e in basis(z, 32)])
        self.matrices.append((rows + rows.T) / 2)
        return z.new_zeros(len(z), 1)


def _small(dims: int) -> None:
    if dims > LARGEST:
        raise InputError(f"a control variate of {dims} dimensions: its matrices are dense, give at most {LARGEST}")
