"""The lower bound of DDPM's chain, term by term."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from ...answers import batch
from ...denoiser import Denoiser, Given, bind, refuse_noise, step_kl
from ...errors import InputError
from ...noise import Stream, normal
from ...settings import Count, Seed, Whole, checked
from ...spaces import Bins
from ..paths import scored
from .lower import Bound, _even, _pairs, _plan, _prior, _reconstruction, _rows, _spread
from .plan import Plan, squared_error


@checked
def vlb(
    denoiser: Denoiser,
    x: Tensor,
    times: Sequence[float] | Tensor,
    n: Count | None = None,
    draws: Count = 1,
    seed: Seed = 0,
    offset: Whole = 0,
    levels: Bins | None = None,
    variance: Literal["posterior", "beta", "learned"] = "posterior",
    density: Literal["uniform", "adaptive"] | Plan = "uniform",
    ends: Count = 4,
    cond: Given = None,
) -> Bound:
    """The variational lower bound -(L_T + sum of L_t + L_0) of the chain x_T -> ... -> x_{t_0} -> x_0 over times:

        L_T = KL(q(x_T | x_0), N(0, sigma_T^2 I))        L_0 = -E log p(x_0 | x_{t_0}), as in `elbo`
        L_t = E KL(q(x_s | x_t, x_0), p(x_s | x_t)) = r/2 (snr(s) - snr(t)) E|x_0 - D(x_t)|^2 + D/2 (r - 1 - log r)

    for each step from t to the next time s, in nats.  It rises to the `elbo` at the rate 1/T.

    Sohl-Dickstein, Weiss, Maheswaranathan, Ganguli (2015), arXiv 1503.03585; Ho, Jain, Abbeel (2020), arXiv 2006.11239.

    Arguments:
        denoiser, x, seed, offset, levels, density, ends, cond: as in `elbo`.
        times: T + 1 that decrease, within [t_min, t_max] of the SDE.
        n: None computes every step's term; an even number takes n steps, stratified by the mass that the density gives
            them: unbiased too.
        draws: of the noise, over which `stderr` is (for one draw of n steps, from pairs as `elbo` does; for one draw of
            all, not a number).
        variance: "posterior", r = 1, that of q(x_s | x_t, x_0), which suits data that are points; "beta", r = sigma_s^2
            / sigma_t^2, the upper choice sigma_t^2 - (alpha_t / alpha_s)^2 sigma_s^2, far nearer for a smooth density;
            "learned", r = (sigma_s / sigma_t)^(2 v), element by element between them, of a `LearnedVariance`.

    Returns:
        A `Bound`, with `steps` (B, T) where n is None.

    Raises:
        InputError: wrong arguments; a denoiser that is no posterior mean, whose variance was not learned, or that has
            no score (`Source`).
    """
    _even(n)
    refuse_noise(denoiser.source, "a bound")
    denoiser = bind(scored(denoiser), cond, len(batch(x)))
    sde = denoiser.sde
    times = _times(sde, times)
    x, index = _rows(x, offset)
    plan = _plan(denoiser, x, float(times[-1]), density, seed, offset)
    chain = _Chain(sde, times.to(x.device, x.dtype), x[0].numel(), variance)
    every = [_chain_terms(denoiser, x, chain, plan, n, index, seed, draw) for draw in range(draws)]
    terms = torch.stack(every)  # (draws, B, T or n)
    diffusion = terms.sum(2).mean(0)
    if draws > 1:
        spread = terms.sum(2).var(0) / draws
    elif n is not None:
        spread = _spread(n * terms[0])
    else:
        spread = torch.full_like(diffusion, math.nan)
    prior = _prior(sde, x, float(times[0]))
    end, end_variance = _reconstruction(denoiser, x, float(times[-1]), levels, plan, ends, index, seed)
    nfe = draws * terms.shape[2] + (ends if levels is None else 0)
    steps = terms.mean(0) if n is None else None
    return Bound(prior + diffusion + end, (spread + end_variance).sqrt(), prior, diffusion, end, nfe, steps)


class _Chain:
    """The weight and the constant of L_t for each of the steps, its times, and the log-SNR of its t: (T,) each."""

    def __init__(self, sde, times: Tensor, dims: int, variance: str):
        log_snr, log_sigma = sde.log_snr(times), sde.log_sigma(times)
        self.log_snr, self.ends, self.times, self.learned = log_snr[:-1], log_snr, times, variance == "learned"
        log_r = 2 * (log_sigma[1:] - log_sigma[:-1]) * (variance == "beta")
        self.weight = 0.5 * log_r.exp() * torch.expm1(log_snr[1:] - log_snr[:-1])
        self.constant = 0.5 * dims * (torch.expm1(log_r) - log_r)

    def term(self, denoiser: Denoiser, x: Tensor, k: Tensor, eps: Tensor) -> Tensor:
        """L_t of the steps k (B,) at x_t = alpha x + sigma eps: (B,)."""
        if not self.learned:
            return self.weight[k] * squared_error(denoiser, x, self.log_snr[k], eps, None) + self.constant[k]
        t, s = self.times[k], self.times[k + 1]
        with torch.no_grad():
            x0, v = denoiser.with_variance(denoiser.sde.perturb(x, t, eps), t)
        if v is None:
            raise InputError(f"variance='learned': the {type(denoiser).__name__} has learned none", "variance")
        return step_kl(denoiser.sde, t, s, x, x0, v).flatten(1).sum(1)


def _chain_terms(denoiser, x, chain, plan, n, index, seed, draw) -> Tensor:
    """-L_t of every step (B, T), or n terms (B, n) whose sum has the same mean."""
    count = len(chain.log_snr)
    mass = plan.cdf(chain.ends).diff().clamp_min(1e-12)
    mass = mass / mass.sum()
    terms = []
    for i, u in enumerate(range(count) if n is None else _pairs(x, index, n, seed, draw)):
        if n is None:
            k, scale = torch.full((len(x),), u, device=x.device), 1.0
        else:
            k = torch.searchsorted(mass.cumsum(0), u, right=True).clamp_max(count - 1)
            scale = 1 / (n * mass[k])
        step = i + draw * (n or count)
        eps = normal(x, index, seed, *Stream.BOUND_NOISE(step))
        known = plan.known(x, chain.log_snr[k], eps) - (plan.mean_known(x, chain.log_snr[k]) if n is None else 0)
        terms.append(-scale * (chain.term(denoiser, x, k, eps) - chain.weight[k] * known))
    terms = torch.stack(terms, 1)
    return terms if n is None else terms - _known(x, chain, plan)[:, None] / n


def _known(x: Tensor, chain: _Chain, plan: Plan) -> Tensor:
    """What `Plan.known` has subtracted from the sum over all steps, (B,)."""
    if not bool(plan.beta.any()):
        return torch.zeros_like(x.flatten(1)[:, 0])
    pairs = zip(chain.weight, chain.log_snr, strict=True)
    return sum(weight * plan.mean_known(x, log_snr.expand(len(x))) for weight, log_snr in pairs)


def _times(sde, times) -> Tensor:
    t = torch.as_tensor(times, dtype=torch.float64).detach().cpu()
    if t.ndim != 1 or len(t) < 2 or not bool((t.diff() < 0).all()):
        raise InputError(f"times {t.flatten()[:6].tolist()}: must be one row of at least two that decrease strictly")
    if not (sde.t_min <= float(t[-1]) and float(t[0]) <= sde.t_max):
        raise InputError(f"times run from {float(t[0])} to {float(t[-1])}: must lie in [{sde.t_min}, {sde.t_max}]")
    return t
