"""Estimators of the divergence of a velocity."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..errors import InputError
from ..noise import Stream, normal, rademacher
from ..settings import Checked, Count, Range

Velocity = Callable[[Tensor], Tensor]
Product = Callable[[Tensor], Tensor]
Probes = Annotated[int, Range(1, 10**6)]
TOGETHER = 128  # rows times products: on a U-Net 16 products of 8 rows took 0.7 of the loop's time, of 64 rows 1.8


class Divergence(ABC):
    """An estimator of div v = tr J, J = dv/dz, by products of vectors with J.

    Its estimates, `estimates` for each row, are unbiased, and take one evaluation of the velocity.  The results have a
    graph where gradients are on, and none where they are off.
    """

    random: ClassVar[bool] = True

    @property
    @abstractmethod
    def estimates(self) -> int:
        """The number of estimates."""

    @abstractmethod
    def probes(self, z: Tensor, index: Tensor, seed: int, first: int = 0, draw: int = 0) -> Tensor | None:
        """The random vectors of some samples, whatever their batch; None for an estimator that needs none.

        Arguments:
            z: (B, *shape), like which they are.
            index: the numbers (B,) of the samples.
            seed: a whole number.
            first: the number of the first vector.
            draw: 0 for probes that stay along a trajectory, 1 + i for those of step i.

        Returns:
            (B, k, *shape), or None.

        Raises:
            InputError: more probes than the estimator takes.
        """

    @abstractmethod
    def estimate(self, product: Product, z: Tensor, probes: Tensor | None) -> Tensor:
        """The estimates, by products with J.

        Arguments:
            product: e (k, B, *shape) to e^T J (k, B, *shape).
            z: (B, *shape).
            probes: what `probes` gave.

        Returns:
            (B, estimates).
        """

    def __call__(self, velocity: Velocity, z: Tensor, probes: Tensor | None) -> tuple[Tensor, Tensor]:
        """The velocity and the estimates of its divergence.

        Arguments:
            velocity: a function of z (B, *shape) that keeps rows apart.
            z: (B, *shape).
            probes: what `probes` gave.

        Returns:
            v (B, *shape), and the estimates (B, estimates).

        Raises:
            InputError: a network without the derivative that the estimator takes.
        """
        keep = torch.is_grad_enabled()
        # The fused kernels of attention have no second derivative.
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH) if keep else nullcontext():
            leaf = z if keep and z.requires_grad else z.detach().requires_grad_()
            v = velocity(leaf)
            estimates = self.estimate(lambda e: _products(v, leaf, e, keep), leaf, probes)
        return (v, estimates) if keep else (v.detach(), estimates.detach())

    def variance(self, estimates: Tensor) -> Tensor:
        """The variance of the mean of the estimates (..., estimates), itself estimated; nan for a single one."""
        k = estimates.shape[-1]
        return estimates.var(-1) / k if k > 1 else torch.full_like(estimates[..., 0], math.nan)


@dataclass(frozen=True)
class Exact(Checked, Divergence):
    """div v = sum_i e_i^T J e_i over the D unit vectors.

    Arguments:
        mode: "reverse": D vector-Jacobian products through one forward pass; "forward": D Jacobian-vector products by
            `torch.func.jvp`, which keep no activations but cost a forward pass each; "auto": reverse, whose 4 or 16
            products took 1.7 to 17 times less than in forward mode, on MLPs of 2 and 64 dimensions and on a U-Net.
        chunk: the products computed at a time, at most: memory grows with it.
    """

    random: ClassVar[bool] = False

    mode: Literal["auto", "reverse", "forward"] = "auto"
    chunk: Count = 32

    @property
    def estimates(self):
        return 1

    def probes(self, z, index, seed, first=0, draw=0):
        return None

    def variance(self, estimates):
        return torch.zeros_like(estimates[..., 0])

    def estimate(self, product, z, probes):
        return sum((product(e) * e).flatten(2).sum((0, 2)) for e in basis(z, self.chunk))[:, None]

    def __call__(self, velocity, z, probes):
        if self.mode != "forward":
            return super().__call__(velocity, z, probes)
        v, total = None, z.new_zeros(len(z))
        jvp = torch.func.vmap(lambda e: torch.func.jvp(velocity, (z,), (e,)), out_dims=(None, 0))
        try:
            for e in basis(z, self.chunk):
                v, columns = jvp(e)
                total = total + (columns * e).flatten(2).sum((0, 2))
        except NotImplementedError as error:
            raise InputError(f"mode='forward': {str(error).splitlines()[0]}; choose reverse") from error
        return v, total[:, None]


@dataclass(frozen=True)
class Hutchinson(Checked, Divergence):
    """e_i^T J e_i for i = 1..k, with E e e^T = I: k vector-Jacobian products through one forward pass.

    Signs never see the diagonal; in few dimensions many of them are alike, and then their spread says little (in two
    dimensions it is 0 for 4 probes in one case of eight).  (Orthogonal directions, whose mean has the variance (1 - k /
    D) s^2 / k, see the diagonal, and lose to signs until k is near D.)

    Hutchinson (1989), A stochastic estimator of the trace; Grathwohl et al. (2019), FFJORD, arXiv 1810.01367.

    Arguments:
        k: the number of probes.
        kind: "rademacher" signs, variance 2 (|S|^2 - sum_i S_ii^2) of each with S = (J + J^T) / 2; "gaussian", 2 |S|^2.
    """

    k: Probes = 1
    kind: Literal["rademacher", "gaussian"] = "rademacher"

    @property
    def estimates(self):
        return self.k

    def probes(self, z, index, seed, first=0, draw=0):
        numbers = range(first, first + self.k)
        if self.kind == "rademacher":
            return torch.stack([rademacher(z, index, seed, *Stream.SIGNS(n, draw)) for n in numbers], 1)
        return torch.stack([normal(z, index, seed, *Stream.GAUSSIAN_PROBES(n, draw)) for n in numbers], 1)

    def estimate(self, product, z, probes):
        e = probes.transpose(0, 1)
        return (product(e) * e).flatten(2).sum(2).T


@dataclass(frozen=True)
class HutchPP(Checked, Divergence):
    """Hutch++ with k products in all, m = k / 3 of each kind; S and G (D, m) have random signs, Q = qr(J^T S):

        tr(Q^T J Q) + g_i^T P J P g_i,    P = I - Q Q^T,    g_i the columns of G

    One estimate for each g_i, independent and unbiased given Q, so that their spread is the error.  It pays where J is
    near a matrix of rank below m, which the flow's is not: on a 64-D mixture 12 products erred by 1.2 nats, 12 of
    Hutchinson's by 0.2.  Q turns along the flow: take a fixed grid, as adaptive steps become many.

    Meyer, Musco, Musco, Woodruff (2021), Hutch++: Optimal Stochastic Trace Estimation, arXiv 2010.09649.

    Raises `InputError` for a k that is no multiple of 3.
    """

    k: Probes = 6

    def __post_init__(self):
        super().__post_init__()
        if self.k % 3:
            raise InputError(f"probes={self.k}: Hutch++ divides its products in three, give a multiple of 3", "probes")

    @property
    def estimates(self):
        return self.k // 3

    def probes(self, z, index, seed, first=0, draw=0):
        m, dims = self.k // 3, z[0].numel()
        if m > dims:
            raise InputError(f"probes={self.k}: Hutch++ takes at most 3 D = {3 * dims}", "probes")
        return Hutchinson(2 * m).probes(z, index, seed, 2 * first // 3, draw)

    def estimate(self, product, z, probes):
        m = self.k // 3
        sketch, g = product(probes[:, :m].transpose(0, 1)), probes[:, m:].flatten(2).mT
        q = torch.linalg.qr(sketch.flatten(2).permute(1, 2, 0))[0]
        e = torch.cat([q, g - q @ (q.mT @ g)], 2).permute(2, 0, 1).reshape(-1, *z.shape)
        forms = (product(e) * e).flatten(2).sum(2).T
        return forms[:, :m].sum(1, keepdim=True) + forms[:, m:]


def basis(z: Tensor, chunk: int) -> Iterator[Tensor]:
    """Unit vectors for every row of z (B, *shape), `chunk` at a time: (chunk, B, *shape)."""
    dims = z[0].numel()
    for start in range(0, dims, chunk):
        unit = torch.zeros(min(chunk, dims - start), dims, dtype=z.dtype, device=z.device)
        unit.diagonal(start).fill_(1)
        yield unit[:, None].expand(-1, len(z), -1).reshape(-1, *z.shape)


def _products(v: Tensor, z: Tensor, e: Tensor, keep: bool) -> Tensor:
    """e^T dv/dz for e (k, B, *shape), through one forward pass; `keep` its graph."""
    if not v.requires_grad:
        return torch.zeros_like(e)
    options = {"retain_graph": True, "create_graph": keep, "materialize_grads": True}
    # Many products at once save time while they are small: less of it is spent outside the kernels.
    together = 1 if keep else max(1, TOGETHER // len(z))
    if together == 1 or len(e) == 1:
        return torch.stack([torch.autograd.grad(v, z, one, **options)[0] for one in e])
    parts = [torch.autograd.grad(v, z, some, is_grads_batched=True, **options)[0] for some in e.split(together)]
    return torch.cat(parts)
