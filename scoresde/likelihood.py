"""Exact log-likelihood through the probability flow, and bits per dimension."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from . import ode
from .denoiser import Denoiser
from .errors import InputError
from .noise import rademacher
from .sde import SDE


@dataclass(frozen=True)
class Likelihood:
    """`log_prob` (B,) in nats at t_min; `stderr` (B,) over the probes; `latent` (B, *shape) = x_T; `nfe` (B,)."""

    log_prob: Tensor
    stderr: Tensor
    latent: Tensor
    nfe: Tensor


def log_likelihood(
    denoiser: Denoiser,
    x: Tensor,
    probes: int | None = None,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    seed: int = 0,
    terminal: Callable[[Tensor], Tensor] | None = None,
    t_min: float | None = None,
    offset: int = 0,
    method: str = "adams",
    **cond,
) -> Likelihood:
    """log p_{t_min}(x) through the probability flow of z = x / n in phi = atan(sigma / alpha), n^2 = alpha^2 + sigma^2:

        dz/dphi = v      log p_{t_min}(x) = log p_T(x_T) + D log(n_T / n_{t_min}) + integral of div_z v dphi

    x (B, *shape) is taken as a point of x_{t_min}.  `probes=None` computes the divergence exactly, by D
    vector-Jacobian products; a number k estimates it with k Rademacher probes (Hutchinson, 1989), kept along each
    trajectory: each gives an unbiased estimate of log p, `log_prob` is their mean and `stderr` their standard error
    (0 for the exact one, not a number for a single probe).  Steps are adaptive, each row its own, state in float64;
    `rtol`, `atol` bound the local error of z and of log p; `method` is a name in `scoresde.ode.METHODS`.  `terminal` is
    the log-density of x_T (B, *shape) -> (B,), `sde.prior_log_prob` by default.  Row i has the probes of sample number
    `offset + i`, whatever its batch.  Conditions with B rows go with their rows.

    Chen, Rubanova, Bettencourt, Duvenaud (2018), arXiv 1806.07366; Grathwohl et al. (2019), FFJORD, arXiv 1810.01367;
    Song et al. (2021), arXiv 2011.13456.
    """
    if probes is not None and (not isinstance(probes, int) or probes < 1):
        raise InputError(f"probes={probes!r}: give a positive number, or None for the exact divergence")
    sde = denoiser.sde
    ends = torch.tensor([start_time(sde, t_min), sde.t_max], dtype=torch.float64)
    log_n = 0.5 * torch.logaddexp(2 * sde.log_alpha(ends), 2 * sde.log_sigma(ends))
    real = torch.float32 if x.device.type == "mps" else torch.float64
    start, end = (a.to(x.device, real).expand(len(x)) for a in sde.angle(ends))
    z = x.to(real) / math.exp(log_n[0])
    signs = None
    if probes is not None:
        index = torch.arange(offset, offset + len(x), device=x.device)
        signs = torch.stack([rademacher(z, index, seed, k) for k in range(probes)], 1)

    def flow(phi: Tensor, state: tuple[Tensor, Tensor], rows: Tensor) -> tuple[Tensor, Tensor]:
        kept = select(cond, rows, len(x))
        return velocity_divergence(denoiser, state[0], phi, None if signs is None else signs[rows], kept)

    divergence = z.new_zeros(len(x), probes or 1)
    (z, divergence), nfe = ode.integrate(flow, (z, divergence), start, end, rtol, atol, method)
    latent = z * math.exp(log_n[1])
    log_prob = (terminal or sde.prior_log_prob)(latent) + x[0].numel() * float(log_n[1] - log_n[0])
    if probes is None:
        stderr = torch.zeros_like(log_prob)
    else:
        stderr = divergence.std(1) / math.sqrt(probes) if probes > 1 else torch.full_like(log_prob, math.nan)
    return Likelihood(log_prob + divergence.mean(1), stderr, latent, nfe)


def start_time(sde: SDE, t_min: float | None) -> float:
    """t_min, the SDE's own for None; `InputError` where the SDE is not defined at it."""
    if t_min is not None and not sde.t_min <= t_min < sde.t_max:
        raise InputError(f"t_min={t_min!r}: give a time in [{sde.t_min}, {sde.t_max}), where {sde} is defined")
    return sde.t_min if t_min is None else float(t_min)


def select(cond: dict, rows: Tensor, n: int) -> dict:
    """The conditions of some rows: tensors with n rows are indexed, anything else is handed on."""
    return {k: c[rows.to(c.device)] if torch.is_tensor(c) and c.ndim and len(c) == n else c for k, c in cond.items()}


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


@dataclass(frozen=True)
class BitsPerDim:
    """`total` = `model` + `transform` + `levels`, with the standard error of the mean over examples and its spread."""

    total: float
    stderr: float
    model: float
    transform: float
    levels: float


def bits_per_dim(log_prob: Tensor, dims: int, levels: int, log_det: float) -> BitsPerDim:
    """Bits per dimension of discrete data under uniform dequantisation.

    The data are integers v in 0..levels-1; y = (v + u) / levels with u ~ U[0, 1) lies in the unit cube, and the model
    sees x = T(y) with log|det dT/dy| = `log_det` (nats, all D = `dims` dimensions).  For `log_prob` (B,) of x in nats,

        bits/dim = -mean(log_prob) / (D ln 2)  -  log_det / (D ln 2)  +  log2(levels)
                    model                         transform              levels

    an upper bound on the bits of v (Theis, van den Oord, Bethge, 2016, arXiv 1511.01844).  A uniform source with a
    uniform model gives log2(levels).  `stderr` is the standard error of the mean over the B examples.
    """
    if levels is None or levels < 2:
        raise InputError(f"levels={levels!r}: bits/dim needs data with a known number of levels; report nats instead")
    bits = -log_prob.double() / (dims * math.log(2))
    model, transform, quanta = float(bits.mean()), -log_det / (dims * math.log(2)), math.log2(levels)
    stderr = float(bits.std() / math.sqrt(len(bits))) if len(bits) > 1 else math.nan
    return BitsPerDim(model + transform + quanta, stderr, model, transform, quanta)
