"""Angles of the flow: where the jumps of a training begin and land."""

import math

import torch
from torch import Tensor

from ...denoiser import weigh
from ...sde import SDE

POWER = 1.5  # of the angles that are finer toward the data: `grids.angle`


def ends(sde: SDE) -> tuple[float, float]:
    """phi at t_min and at t_max."""
    low, high = sde.angle(torch.tensor([sde.t_min, sde.t_max], dtype=torch.float64)).tolist()
    return low, high


def at(sde: SDE, phi: Tensor) -> Tensor:
    """The times at angles (...), float64."""
    return sde.time(-2 * torch.log(torch.tan(phi.double())))


def angles(u: Tensor, low: float, high: float) -> Tensor:
    """phi = low + (high - low) u^1.5 for u in [0, 1]: finer toward the data, as `grids.angle`."""
    return low + (high - low) * u**POWER


def shares(phi: Tensor, low: float, high: float) -> Tensor:
    """The u of `angles`."""
    return ((phi - low) / (high - low)).clamp(0, 1) ** (1 / POWER)


def spread(size: int, part: slice, device: torch.device) -> Tensor:
    """u ~ U(0, 1) for each row of this part, one in each of `size` equal strata, in float64."""
    u = (torch.randperm(size, device=device) + torch.rand(size, device=device)) / size
    return u[part].double().clamp(1e-6, 1 - 1e-6)


def clear(phi: Tensor) -> Tensor:
    """Angles kept off pi/2, where the tangent is none."""
    return phi.clamp_max(math.pi / 2 - 1e-6)


def both(z: Tensor, f: Tensor, g: Tensor, d: Tensor, e: Tensor) -> Tensor:
    """F of one jump by d + e that lands where a jump by d with F = f, and one by e from there with F = g, do.

    It is (cos(d + e) z - z_s) / sin(d + e), z_s = cos(e) (cos(d) z - sin(d) f) - sin(e) g, without what cancels there.

    Arguments:
        z: where the first begins (B, *shape).
        f, g: (B, *shape).
        d, e: the angles (B,).

    Returns:
        (B, *shape).
    """
    over = 1 / (d + e).sin()
    first = weigh(e.cos() * d.sin() * over, f, e.sin() * over, g)
    return weigh(1.0, first, -d.sin() * e.sin() * over, z)
