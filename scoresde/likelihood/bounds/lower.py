"""Lower bounds on the log-likelihood: of the reverse SDE in continuous time, and of DDPM's chain, term by term."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ...answers import batch
from ...denoiser import Denoiser, Given, bind
from ...errors import InputError
from ...noise import normal, uniform
from ...sde import widest
from ...settings import Count, Scale, Seed, Whole, checked
from ...spaces import Bins
from ..brief import Result
from ..paths import scored, start_time
from .plan import Plan, fit_plan, squared_error

# Numbers of the draws, apart from those of samplers, probes and dequantisation for the same sample.
_PLACE, _NOISE, _END = 1 << 16, 1 << 17, 1 << 18


@dataclass(frozen=True, repr=False)
class Bound(Result):
    """A lower bound on log p in nats, each (B,): `log_prob` = `prior` + `diffusion` + `reconstruction`.

    `stderr` is that of `log_prob` over its draws; `prior` = -KL(q(x_T | x_0), p_T) is exact; `steps` (B, T) are the
    chain's T terms, of sum `diffusion`, where each was computed; `nfe` evaluations were made for a row.
    """

    log_prob: Tensor
    stderr: Tensor
    prior: Tensor
    diffusion: Tensor
    reconstruction: Tensor
    nfe: int
    steps: Tensor | None = None


@checked
def elbo(
    denoiser: Denoiser,
    x: Tensor,
    n: Count = 32,
    seed: Seed = 0,
    offset: Whole = 0,
    levels: Bins | None = None,
    t_min: Scale | None = None,
    density: Literal["uniform", "adaptive"] | Plan = "uniform",
    ends: Count = 4,
    cond: Given = None,
) -> Bound:
    """The evidence lower bound of the reverse SDE on log p(x_0), with lambda = log(alpha^2 / sigma^2):

        log p(x_0) >= - KL(q(x_T | x_0), N(0, sigma_T^2 I))                                  prior
                      - 1/2 integral of e^lambda E|x_0 - D(x_lambda)|^2 dlambda              diffusion
                      + E log p(x_0 | x_{t_min})                                             reconstruction

    over lambda from that of t_max to that of t_min; e^lambda |x_0 - D|^2 = |eps - eps_hat|^2.  It is free of the SDE's
    time: with dlambda = -g^2 / sigma^2 dt the integral is that of g^2 |score - grad log q(x_t | x_0)|^2 dt, the
    denoising loss with the weight g^2 alpha^2 / sigma^4 (`loss.likelihood`, Song, Durkan, et al., 2021).

    x (B, *shape) are the data x_0.  For continuous data (`levels=None`) p(x_0 | x_{t_min}) = N(D(x_{t_min}),
    (sigma/alpha)^2 I), the true posterior up to the square of (sigma/alpha)^2 over the data's local variance.  With
    `levels`, x are centres of bins and the decoder is the exact discrete one, `Bins.log_prob`: the bound is then on
    log P(v).  For an exact denoiser the bound is tight in each row, up to the decoder and p_T against q_T.

    The integral is the mean over `n` values of lambda, two in each of n/2 equal parts of the density's mass, each with
    its own noise; the reconstruction over `ends` draws.  `stderr` comes from the differences of the pairs: its square
    is unbiased, whatever the integrand.  `density` is "uniform" in lambda; a `Plan`, which has a control variate too
    (see `fit_plan`: a tenth of uniform's standard error on a 2-D mixture, a sixth on a 64-D one); or "adaptive", a plan
    fitted on x itself, which makes a row depend on its batch mates within the error.
    Row i has the random numbers of sample number `offset + i`.  `cond` gives the conditions of the rows, by name.

    Kingma, Salimans, Poole, Ho (2021), Variational Diffusion Models, arXiv 2107.00630; Song, Durkan, Murray, Ermon
    (2021), arXiv 2101.09258.
    """
    _even(n)
    denoiser = bind(scored(denoiser), cond, len(batch(x)))
    sde, t_min = denoiser.sde, start_time(denoiser.sde, t_min)
    x, index = _rows(x, offset)
    plan = _plan(denoiser, x, t_min, density, seed, offset)
    terms = []
    for i, u in enumerate(_pairs(x, index, n, seed)):
        log_snr, weight = plan.place(u)
        error = squared_error(denoiser, x, log_snr, normal(x, index, seed, i, _NOISE), plan)
        terms.append(-0.5 * weight * error)
    terms = torch.stack(terms, 1)
    prior = _prior(sde, x, sde.t_max)
    end, end_variance = _reconstruction(denoiser, x, t_min, levels, plan, ends, index, seed)
    diffusion = terms.mean(1) - 0.5 * plan.integral_known(x)
    nfe = n + (ends if levels is None else 0)
    return Bound(prior + diffusion + end, (_spread(terms) + end_variance).sqrt(), prior, diffusion, end, nfe)


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
    variance: Literal["posterior", "beta"] = "posterior",
    density: Literal["uniform", "adaptive"] | Plan = "uniform",
    ends: Count = 4,
    cond: Given = None,
) -> Bound:
    """The variational lower bound -(L_T + sum of L_t + L_0) of the chain x_T -> ... -> x_{t_0} -> x_0 over times:

        L_T = KL(q(x_T | x_0), N(0, sigma_T^2 I))        L_0 = -E log p(x_0 | x_{t_0}), as in `elbo`
        L_t = E KL(q(x_s | x_t, x_0), p(x_s | x_t)) = r/2 (snr(s) - snr(t)) E|x_0 - D(x_t)|^2 + D/2 (r - 1 - log r)

    for each step from t to the next time s, in nats, with r = 1 for `variance="posterior"`, that of q(x_s | x_t, x_0),
    and r = sigma_s^2 / sigma_t^2 for "beta", the upper choice sigma_t^2 - (alpha_t / alpha_s)^2 sigma_s^2.  Both rise
    to the `elbo` at the rate 1/T.  The posterior's suits data that are points; for a smooth density beta is far nearer.

    `n=None` computes every step's term, `steps` (B, T); an even number takes n steps, stratified by the mass that
    `density` (as in `elbo`) gives them: unbiased too.  All of it is repeated for `draws` draws of the noise: `stderr`
    is over them (for one draw of n steps, from pairs as in `elbo`; for one draw of all, not a number).
    `times` (T + 1) decrease, within [t_min, t_max] of the SDE.

    Sohl-Dickstein, Weiss, Maheswaranathan, Ganguli (2015), arXiv 1503.03585; Ho, Jain, Abbeel (2020), arXiv 2006.11239.
    """
    _even(n)
    denoiser = bind(scored(denoiser), cond, len(batch(x)))
    sde = denoiser.sde
    times = _times(sde, times)
    x, index = _rows(x, offset)
    plan = _plan(denoiser, x, float(times[-1]), density, seed, offset)
    chain = _Chain(sde, times.to(x.device, x.dtype), x[0].numel(), variance == "beta")
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
    """The weight and the constant of L_t for each of the steps, and the log-SNR of its t: (T,) each."""

    def __init__(self, sde, times: Tensor, dims: int, beta: bool):
        log_snr, log_sigma = sde.log_snr(times), sde.log_sigma(times)
        self.log_snr, self.ends = log_snr[:-1], log_snr
        log_r = 2 * (log_sigma[1:] - log_sigma[:-1]) * beta
        self.weight = 0.5 * log_r.exp() * torch.expm1(log_snr[1:] - log_snr[:-1])
        self.constant = 0.5 * dims * (torch.expm1(log_r) - log_r)


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
        error = squared_error(denoiser, x, chain.log_snr[k], normal(x, index, seed, step, _NOISE), plan)
        if n is None:
            error = error + plan.mean_known(x, chain.log_snr[k])
        terms.append(-scale * (chain.weight[k] * error + chain.constant[k]))
    terms = torch.stack(terms, 1)
    return terms if n is None else terms - _known(x, chain, plan)[:, None] / n


def _known(x: Tensor, chain: _Chain, plan: Plan) -> Tensor:
    """What `Plan.known` has subtracted from the sum over all steps, (B,)."""
    if not bool(plan.beta.any()):
        return torch.zeros_like(x.flatten(1)[:, 0])
    pairs = zip(chain.weight, chain.log_snr, strict=True)
    return sum(weight * plan.mean_known(x, log_snr.expand(len(x))) for weight, log_snr in pairs)


def _pairs(x: Tensor, index: Tensor, n: int, seed: int, draw: int = 0) -> Iterator[Tensor]:
    """n places (B,) in (0, 1), two in each of n/2 equal parts, all independent."""
    for i in range(n):
        yield (i // 2 + uniform(x.new_empty(len(x), 1), index, seed, i + n * draw, _PLACE)[:, 0]) / (n // 2)


def _spread(terms: Tensor) -> Tensor:
    """The variance of the mean of terms (B, n) that are pairs of equal distribution, unbiased: (B,)."""
    return (terms[:, ::2] - terms[:, 1::2]).square().sum(1) / terms.shape[1] ** 2


def _prior(sde, x: Tensor, t: float) -> Tensor:
    """-KL(q(x_t | x_0), N(0, sigma_t^2 I)) = -snr(t) |x_0|^2 / 2: both have the same variance."""
    return -0.5 * float(sde.log_snr(t).exp()) * x.square().flatten(1).sum(1)


def _reconstruction(denoiser, x, t, levels, plan, ends, index, seed) -> tuple[Tensor, Tensor]:
    """E log p(x_0 | x_t) over `ends` draws, and the variance of their mean."""
    sde = denoiser.sde
    alpha, sigma = sde.marginal(t)
    values = []
    for i in range(ends):
        eps = normal(x, index, seed, i, _END)
        if levels is None:
            log_snr = sde.log_snr(t).to(x.device).expand(len(x))
            error = squared_error(denoiser, x, log_snr, eps, plan) + plan.mean_known(x, log_snr)
            values.append(-0.5 * error - x[0].numel() * (torch.log(sigma / alpha) + 0.5 * math.log(2 * math.pi)))
        else:
            values.append(levels.log_prob(levels.nearest(x), alpha * x + sigma * eps, alpha, sigma))
    values = torch.stack(values, 1)
    spread = values.var(1) / ends if ends > 1 else torch.full_like(values[:, 0], math.nan)
    return values.mean(1), spread


def _plan(denoiser, x, t_min, density, seed, offset) -> Plan:
    if isinstance(density, Plan):
        return density.check(denoiser.sde, t_min)
    if density == "adaptive":
        return fit_plan(denoiser, x, t_min=t_min, seed=seed, offset=offset)
    return Plan.uniform(denoiser.sde, t_min)


def _rows(x: Tensor, offset: int) -> tuple[Tensor, Tensor]:
    return batch(x).to(widest(x.device)), torch.arange(offset, offset + len(x), device=x.device)


def _times(sde, times) -> Tensor:
    t = torch.as_tensor(times, dtype=torch.float64).detach().cpu()
    if t.ndim != 1 or len(t) < 2 or not bool((t.diff() < 0).all()):
        raise InputError(f"times {t.flatten()[:6].tolist()}: must be one row of at least two that decrease strictly")
    if not (sde.t_min <= float(t[-1]) and float(t[0]) <= sde.t_max):
        raise InputError(f"times run from {float(t[0])} to {float(t[-1])}: must lie in [{sde.t_min}, {sde.t_max}]")
    return t


def _even(n: int | None) -> None:
    if n is not None and n % 2:
        raise InputError(f"n={n!r}: give an even number, two for each part of the log-SNR", "n")
