"""From data to its latent x_T and back by the adaptive probability flow, and the way between two latents."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ... import ode
from ...answers import batch
from ...denoiser import Denoiser, Given, bind
from ...errors import InputError
from ...likelihood import flow_velocity, start_time
from ...likelihood.brief import Result
from ...sde import widest


def to_latent(
    denoiser: Denoiser,
    x: Tensor,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    t_min: float | None = None,
    cond: Given = None,
) -> Tensor:
    """The latent x_T of x, taken as a point of x_{t_min}, through the probability flow that all SDEs share:

        dz/dphi = v      z = x / n      phi = atan(sigma / alpha)      n^2 = alpha^2 + sigma^2

    It is distributed as p_T when x is as p_{t_min}.

    Song et al. (2021), arXiv 2011.13456, section 4.3 (uniquely identifiable encoding).

    Arguments:
        denoiser: the model.
        x: (B, *shape), in the model's space.
        rtol, atol: the tolerance of the adaptive steps, each row its own.
        t_min: the time of the data; None: the SDE's.
        cond: the conditions by name, of B rows or of one for all.

    Returns:
        (B, *shape), in float64.

    Raises:
        InputError: a t_min that the SDE does not have, or a batch that is not (B, *shape) of real numbers.
        FloatingPointError: the model is not finite.
    """
    return _flow(denoiser, x, rtol, atol, t_min, cond, to_data=False)[0]


def from_latent(
    denoiser: Denoiser,
    latent: Tensor,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    t_min: float | None = None,
    cond: Given = None,
) -> Tensor:
    """The point x_{t_min} of a latent x_T: the flow of `to_latent`, the other way.

    Song et al. (2021), arXiv 2011.13456, section 4.3.

    Arguments:
        denoiser, rtol, atol, t_min, cond: as in `to_latent`.
        latent: x_T (B, *shape).

    Returns:
        (B, *shape), in float64.

    Raises:
        InputError, FloatingPointError: as `to_latent` does.
    """
    return _flow(denoiser, latent, rtol, atol, t_min, cond, to_data=True)[0]


@dataclass(frozen=True, repr=False)
class RoundTrip(Result):
    """There and back: what `round_trip` found.

    Arguments:
        latent: x_T (B, *shape).
        x: x_{t_min} (B, *shape), the way back.
        error: (B,), the root mean square of x less its start.
        nfe: (B,), evaluations of both ways.
    """

    latent: Tensor
    x: Tensor
    error: Tensor
    nfe: Tensor


def round_trip(
    denoiser: Denoiser,
    x: Tensor,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    t_min: float | None = None,
    cond: Given = None,
) -> RoundTrip:
    """from_latent(to_latent(x)), and how far it is from x: each row's root mean square over its dimensions.

    Arguments:
        denoiser, x, rtol, atol, t_min, cond: as in `to_latent`.

    Returns:
        A `RoundTrip`.

    Raises:
        InputError, FloatingPointError: as `to_latent` does.
    """
    latent, there = _flow(denoiser, x, rtol, atol, t_min, cond, to_data=False)
    back, again = _flow(denoiser, latent, rtol, atol, t_min, cond, to_data=True)
    return RoundTrip(latent, back, (back - x).flatten(1).square().mean(1).sqrt(), there + again)


def _flow(denoiser, x, rtol, atol, t_min, cond, to_data: bool) -> tuple[Tensor, Tensor]:
    """x carried from one end of time to the other, and the evaluations spent on each row."""
    sde = denoiser.sde
    ends = (sde.t_max, start_time(sde, t_min)) if to_data else (start_time(sde, t_min), sde.t_max)
    x = state_of(x)
    denoiser = bind(denoiser, cond, len(x))
    start, end = (sde.angle(t).to(x.device, x.dtype).expand(len(x)) for t in ends)
    n_start, n_end = (float(torch.hypot(*sde.marginal(t))) for t in ends)

    def flow(phi, z, rows):
        return (flow_velocity(denoiser.select(rows), z[0], phi),)

    (z,), nfe = ode.integrate(flow, (x / n_start,), start, end, rtol, atol)
    return n_end * z, nfe


def state_of(x: Tensor) -> Tensor:
    """Rows (B, *shape) without a graph, in the widest type of their device.  Raises `InputError` for what is none."""
    return batch(x).detach().to(widest(x.device))


def slerp(a: Tensor, b: Tensor, w: float | Tensor) -> Tensor:
    """From a (w = 0) to b (w = 1) along the great circle, row by row, the length going evenly from |a| to |b|:

        (|a| + w (|b| - |a|)) (cos(w theta) a / |a| + sin(w theta) e)

    with theta the angle between them and e the unit vector of b's part across a.  Opposite rows take a fixed direction
    across a; equal ones stay; a row of zeros has no direction, and the other one's is taken.

    Shoemake (1985), Animating rotation with quaternion curves; for latents White (2016), arXiv 1609.04468.

    Arguments:
        a, b: (B, *shape).
        w: a number or (B,).

    Returns:
        (B, *shape).

    Raises:
        InputError: a and b of two shapes, or without rows.
    """
    if a.shape != b.shape or a.ndim < 2:
        raise InputError(f"a {tuple(a.shape)} and b {tuple(b.shape)}: both must be (B, *shape), alike")
    p, q = a.flatten(1), b.flatten(1)
    w = torch.as_tensor(w, dtype=p.dtype, device=p.device).expand(len(p))[:, None]
    tiny = torch.finfo(p.dtype).tiny
    length_p, length_q = (v.norm(dim=1, keepdim=True) for v in (p, q))
    length = length_p + w * (length_q - length_p)
    p, q = p / length_p.clamp_min(tiny), q / length_q.clamp_min(tiny)
    p, q = torch.where(length_p > 0, p, q), torch.where(length_q > 0, q, p)
    # Of small and of nearly flat angles alike without loss, which the arc cosine has (Kahan, 2006).
    theta = 2 * torch.atan2((p - q).norm(dim=1, keepdim=True), (p + q).norm(dim=1, keepdim=True))
    across = q - (p * q).sum(1, keepdim=True) * p
    flat = across.norm(dim=1, keepdim=True) < 4 * torch.finfo(p.dtype).eps
    axis = torch.zeros_like(p).scatter_(1, p.abs().argmin(1, keepdim=True), 1.0)
    across = torch.where(flat & (theta > math.pi / 2), axis - (p * axis).sum(1, keepdim=True) * p, across)
    across = across / across.norm(dim=1, keepdim=True).clamp_min(tiny)
    return (length * (torch.cos(w * theta) * p + torch.sin(w * theta) * across)).reshape(a.shape)
