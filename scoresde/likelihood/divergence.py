"""The velocity of the probability flow and its divergence."""

import torch
from torch import Tensor

from ..denoiser import Denoiser


def flow_velocity(denoiser: Denoiser, z: Tensor, phi: Tensor, cond: dict) -> Tensor:
    """v = (cos(phi) z - D(n z, t)) / sin(phi) at z (B, *shape), phi (B,): the probability flow that all SDEs share."""
    sde = denoiser.sde
    t = sde.time(-2 * torch.log(torch.tan(phi)))
    return denoiser.velocity(torch.hypot(*sde.marginal(t)).to(z.dtype).reshape(-1, *[1] * (z.ndim - 1)) * z, t, **cond)


def velocity_divergence(denoiser: Denoiser, z: Tensor, phi: Tensor, probes: Tensor | None, cond: dict):
    """v and its divergence, (B, *shape) and (B, k) for `probes` (B, k, *shape), or (B, 1) exactly for None."""
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        v = flow_velocity(denoiser, z, phi, cond)
        if probes is None:
            columns = v.flatten(1).unbind(1)
            rows = (torch.autograd.grad(c.sum(), z, retain_graph=True)[0].flatten(1) for c in columns)
            divergence = sum(row[:, i] for i, row in enumerate(rows))[:, None]
        else:
            products = [torch.autograd.grad(v, z, p, retain_graph=True)[0] * p for p in probes.unbind(1)]
            divergence = torch.stack([p.flatten(1).sum(1) for p in products], 1)
    return v.detach(), divergence.detach()
