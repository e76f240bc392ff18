"""The velocity of the probability flow with its divergence."""

import torch
from torch import Tensor

from ..answers import derivatives
from ..denoiser import Denoiser, flow_velocity
from .divergence import Exact, Hutchinson


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
