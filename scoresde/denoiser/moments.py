"""Mean and covariance of a data set, as a sampler can use them: a Gaussian that carries the flow in closed form."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError

LARGEST = 1024  # dimensions up to which the whole covariance is kept
LEAST = 1e-6  # of the root mean square: what a deviation is taken for where the data has less
DIRECTIONS = 256  # that stand for all in the information


@dataclass(frozen=True, eq=False)
class Moments:
    r"""The Gaussian $N(m, Q\,\mathrm{diag}(s^2)\,Q^T)$ with the mean and the covariance of the data, as far as known.

    In the model's space, float64 on the host.  The columns of $Q$ are directions of the space:

    - of vectors, or anything of up to 1024 numbers, the eigenvectors of the covariance: one matrix;
    - of larger images (series, volumes) the cosines of the discrete cosine transform (DCT-II), in which the covariance
      of natural images is nearly diagonal: a matrix for each axis but the channels (Ahmed, Natarajan, Rao, 1974);
    - of larger vectors the coordinates: no matrix.

    Arguments:
        mean: $m$, of the data's shape.
        deviations: $s$ > 0 by direction: (D,) with one matrix, else what broadcasts to the data's shape.
        basis: the matrices.
    """

    mean: Tensor
    deviations: Tensor
    basis: tuple[Tensor, ...] = ()

    def __post_init__(self) -> None:
        s = torch.as_tensor(self.deviations, dtype=torch.float64).detach().cpu()
        least = LEAST * float(s.square().mean().sqrt()) + 1e-12
        object.__setattr__(self, "mean", torch.as_tensor(self.mean, dtype=torch.float64).detach().cpu())
        object.__setattr__(self, "deviations", s.clamp_min(least))
        object.__setattr__(self, "basis", tuple(b.detach().cpu().double() for b in self.basis))

    @classmethod
    def of_covariance(cls, mean: Tensor, covariance: Tensor) -> Moments:
        """Those of a mean (*shape) and a covariance (D, D) of the flattened data."""
        variances, basis = torch.linalg.eigh(covariance.detach().cpu().double())
        return cls(mean, variances.clamp_min(0).sqrt(), (basis,))

    @classmethod
    def of(cls, x: Tensor, within: Tensor | float = 0.0) -> Moments:
        r"""Those of rows.

        Arguments:
            x: (N, *shape), in the model's space.
            within: a variance to add, a number or of the data's shape: that of noise which the rows lack.

        Returns:
            The whole covariance for up to 1024 numbers and at least four times as many rows, otherwise the variances
            of frequencies, or of the coordinates of a vector.

        Raises:
            InputError: there are no rows, or they are not finite.
        """
        if x.ndim < 2 or not len(x) or not bool(x.isfinite().all()):
            raise InputError(f"x {tuple(x.shape)}: give rows (N, *shape) of finite numbers")
        shape, size = x.shape[1:], math.prod(x.shape[1:])
        within = torch.as_tensor(within, dtype=torch.float64).cpu().expand(shape)
        mean = sum(part.cpu().double().sum(0) for part in x.split(1024)) / len(x)
        parts = (part.cpu().double() - mean for part in x.split(1024))
        if size <= LARGEST and len(x) >= 4 * size:
            covariance = sum(part.flatten(1).T @ part.flatten(1) for part in parts) / len(x)
            return cls.of_covariance(mean, covariance + torch.diag(within.flatten()))
        basis = tuple(map(_cosines, shape[1:]))
        turned = cls(mean, torch.ones(shape), basis)
        variance = sum(turned.turn(part, turned.basis).square().sum(0) for part in parts) / len(x)
        deviations = (variance + (within.mean() if basis else within)).sqrt()
        if size > LARGEST:  # levels 6 % apart, as few numbers are quicker than many
            deviations = (deviations.clamp_min(1e-300).log() * 16).round().div(16).exp()
        return cls(mean, deviations, basis)

    @classmethod
    def unit(cls) -> Moments:
        """N(0, 1) in every direction: what is taken where nothing is known."""
        return cls(torch.zeros(()), torch.ones(()))

    @property
    def directions(self) -> torch.Size:
        """The shape that the deviations of all directions have."""
        return torch.Size([self.mean.numel()]) if self._whole else self.mean.shape

    @property
    def _whole(self) -> bool:
        return len(self.basis) == 1 and self.deviations.ndim == 1

    def turn(self, x: Tensor, basis: Sequence[Tensor]) -> Tensor:
        """$Q^T x$ of x (B, *shape), by `basis` in its type and on its device: (B, D) with one matrix, else as x."""
        if self._whole:
            return x.flatten(1) @ basis[0]
        for axis, matrix in enumerate(basis, -len(basis)):
            x = x @ matrix if axis == -1 else (x.movedim(axis, -1) @ matrix).movedim(-1, axis)
        return x

    def back(self, c: Tensor, basis: Sequence[Tensor]) -> Tensor:
        """$Q c$ of c as `turn` gives it, by `basis` as there: (B, *shape), the inverse of `turn`."""
        if self._whole:
            return (c @ basis[0].T).reshape(len(c), *self.mean.shape)
        return self.turn(c, [matrix.T for matrix in basis])

    @property
    def reach(self) -> float:
        """The largest deviation, and at least 1: the noise level below which the data show."""
        return max(1.0, float(self.deviations.max()))

    @cached_property
    def _table(self) -> tuple[np.ndarray, np.ndarray]:
        """log r, and the information there."""
        s = np.sort(self.deviations.expand(self.directions).flatten().numpy())
        few = np.quantile(s, (np.arange(DIRECTIONS) + 0.5) / DIRECTIONS) if len(s) > DIRECTIONS else s
        log_r = np.linspace(math.log(s[0]) - 20, math.log(s[-1]) + 12, 1025)
        return log_r, len(s) / 2 * np.log1p((few * np.exp(-log_r[:, None])) ** 2).mean(1)

    def information(self, r: np.ndarray) -> np.ndarray:
        r"""$I(r) = \frac12 \sum_i \log(1 + s_i^2 / r^2)$ in nats: what x_t tells of x_0 were they Gaussian.

        r = sigma / alpha, an array, is the noise level of t; the answer has its shape.
        """
        return np.interp(np.log(np.maximum(r, 1e-300)), *self._table)

    def state(self) -> dict[str, Tensor]:
        """The tensors by name."""
        return {"mean": self.mean, "deviations": self.deviations} | {
            f"basis.{i}": matrix for i, matrix in enumerate(self.basis)
        }

    @classmethod
    def from_state(cls, state: dict[str, Tensor]) -> Moments:
        """Those of which `state` gave the tensors by name."""
        return cls(state["mean"], state["deviations"], tuple(state[f"basis.{i}"] for i in range(len(state) - 2)))


def _cosines(n: int) -> Tensor:
    """The orthonormal DCT-II of n points, a frequency in each column."""
    i = torch.arange(n, dtype=torch.float64)
    matrix = torch.cos(math.pi / n * (i[:, None] + 0.5) * i) * math.sqrt(2 / n)
    matrix[:, 0] /= math.sqrt(2)
    return matrix
