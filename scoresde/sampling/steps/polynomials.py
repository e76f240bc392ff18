"""Polynomials through the latest values of a multistep method, integrated exactly on the host."""

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor


def quadrature(a: float | np.ndarray, b: float | np.ndarray, points: int = 24) -> tuple[Tensor, Tensor]:
    """Gauss-Legendre points between a and b and their weights, which sum to b - a; (J, points) for a, b (J, 1)."""
    nodes, weights = legendre(points)
    middle, half = (a + b) / 2, (b - a) / 2
    return torch.from_numpy(middle + half * nodes), torch.from_numpy(half * weights)


legendre = cache(lambda points: np.polynomial.legendre.leggauss(points))  # numpy loads it at its first use only


def lagrange(nodes: Sequence[float] | np.ndarray, u: Tensor) -> Tensor:
    """The Lagrange polynomials of k nodes at u: (k, m) for u (m,), and (k, J, m) for nodes (k, J) and u (J, m).

    A node that is not a number is none: its polynomial is 0.
    """
    nodes = np.asarray(nodes)
    none, same = np.isnan(nodes), np.eye(len(nodes), dtype=bool)
    # Over the first axis go the factors: numpy multiplies along it eight times faster than along the second.
    left_out = same.reshape(*same.shape, *[1] * (nodes.ndim - 1)) | none[:, None]
    above = np.where(left_out[..., None], 1.0, (u.numpy() - nodes[..., None])[:, None]).prod(0)
    below = np.where(left_out, 1.0, nodes - nodes[:, None]).prod(0)
    return torch.from_numpy(above * np.where(none, 0.0, 1 / below)[..., None])


def integrals(
    nodes: np.ndarray, a: np.ndarray, b: np.ndarray, density: Callable[[Tensor], Tensor], points: int = 24
) -> np.ndarray:
    """int_a^b l_i(u) density(u) du of the Lagrange polynomials of the nodes (J, k), for a and b (J,): (J, k)."""
    u, w = quadrature(a[:, None], b[:, None], points)
    return (lagrange(nodes.T, u) * (w * density(u))).sum(-1).T.numpy()
