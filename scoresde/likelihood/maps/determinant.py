"""log |det| of a jump's Jacobian by random vectors, where it is too large to be made."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

TINY = 1e-12


def log_determinant(jump: Callable[[Tensor], Tensor], z: Tensor, probes: Tensor, steps: int) -> Tensor:
    """Estimates of log |det J| = tr log(J^T J) / 2, J = d jump / dz, by Lanczos quadrature:

        D / 2 e_1^T log(T) e_1,    T (steps, steps) of J^T J from a random vector of signs

    with `steps` products with J and as many with J^T for each vector; exact but for the vector's randomness where
    `steps` is D, and nearly so long before where the singular values are not far apart.

    Ubaru, Chen, Saad (2017), Fast Estimation of tr(f(A)) via Stochastic Lanczos Quadrature.

    Arguments:
        jump: a function of z (B, *shape) that keeps rows apart.
        z: where.
        probes: (B, k, *shape) of signs.
        steps: of Lanczos, at most D.

    Returns:
        (B, k).
    """
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):  # the fused kernels have no second derivative
        leaf = z.detach().requires_grad_()
        value = jump(leaf)
        u = torch.zeros_like(value).requires_grad_()
        back = torch.autograd.grad(value, leaf, u, create_graph=True)[0]  # J^T u, whose derivative by u gives J v

        def squared(v: Tensor) -> Tensor:
            forward = torch.autograd.grad(back, u, v, retain_graph=True)[0]
            return torch.autograd.grad(value, leaf, forward, retain_graph=True)[0]

        return torch.stack([_quadrature(squared, probe, steps) for probe in probes.unbind(1)], 1).detach()


def _quadrature(squared: Callable[[Tensor], Tensor], probe: Tensor, steps: int) -> Tensor:
    """D / 2 e_1^T log(T) e_1 of each row (B,)."""
    dims, shape = probe[0].numel(), probe.shape
    v = probe.flatten(1) / dims**0.5
    kept, diagonal, beside = [v], [], []
    for _ in range(min(steps, dims)):
        w = squared(kept[-1].reshape(shape)).flatten(1)
        diagonal.append((w * kept[-1]).sum(1))
        basis = torch.stack(kept, 2)
        for _again in range(2):  # once more, as the first leaves rounding
            w = w - (basis @ (basis.mT @ w[..., None]))[..., 0]
        norm = w.norm(dim=1)
        ended = norm <= TINY * diagonal[0].abs()  # the space of the vector is whole: what follows weighs nothing
        beside.append(torch.where(ended, 0.0, norm))
        kept.append(torch.where(ended[:, None], 0.0, w / norm.clamp_min(1e-300)[:, None]))
    t = torch.diag_embed(torch.stack(diagonal, 1))
    if len(diagonal) > 1:
        off = torch.diag_embed(torch.stack(beside[:-1], 1), 1)
        t = t + off + off.mT
    values, vectors = torch.linalg.eigh(t)
    weights = vectors[:, 0].square()
    return dims / 2 * (weights * torch.where(weights > 1e-30, values, 1.0).clamp_min(1e-300).log()).sum(1)
