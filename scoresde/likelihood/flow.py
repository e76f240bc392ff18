"""Exact log-likelihood through the probability flow."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .. import ode
from ..denoiser import Denoiser
from ..errors import InputError
from ..noise import rademacher
from ..sde import SDE
from .divergence import velocity_divergence


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
