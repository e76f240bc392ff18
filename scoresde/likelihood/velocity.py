"""The velocity of the probability flow, and with its divergence."""

import torch
from torch import Tensor

from ..answers import derivatives
from ..denoiser import Denoiser, weigh
from ..sde import expand
from .divergence import Exact, Hutchinson


def flow_velocity(denoiser: Denoiser, z: Tensor, phi: Tensor) -> Tensor:
    """v = (cos(phi) z - D(n z, t)) / sin(phi): the velocity of the probability flow that all SDEs share.

    Arguments:
        denoiser: the model.
        z: x / n (B, *shape).
        phi: atan(sigma / alpha) (B,).

    Returns:
        (B, *shape).
    """
    sde, cos, sin = denoiser.sde, phi.cos(), phi.sin()
    t = sde.time(-2 * torch.log(sin / cos))
    x0 = denoiser(expand(torch.hypot(*sde.marginal(t)), z) * z, t)
    return weigh(cos / sin, z, -1 / sin, x0)


@derivatives
@torch.no_grad()
def velocity_divergence(denoiser: Denoiser, z: Tensor, phi: Tensor, probes: Tensor | None):
    """`flow_velocity` and its divergence.

    Arguments:
        denoiser, z, phi: as in `flow_velocity`.
        probes: random vectors (B, k, *shape); None: it is exact.

    Returns:
        v (B, *shape), and the estimates (B, k), or the exact value (B, 1).
    """
    estimator = Exact() if probes is None else Hutchinson(probes.shape[1])
    return estimator(lambda y: flow_velocity(denoiser, y, phi), z, probes)
