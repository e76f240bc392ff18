"""The lower bound of the reverse SDE on the log-likelihood, in continuous time."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ...answers import batch
from ...denoiser import Denoiser, Given, bind, refuse_noise
from ...errors import InputError
from ...noise import Stream, normal, uniform
from ...sde import widest
from ...settings import Count, Scale, Seed, Whole, checked
from ...spaces import Bins
from ..brief import Result
from ..paths import scored, start_time
from .plan import Plan, fit_plan, squared_error


@dataclass(frozen=True, repr=False)
class Bound(Result):
    """A lower bound on log p in nats, for each row: `log_prob` = `prior` + `diffusion` + `reconstruction`.

    Arguments:
        log_prob: the bound (B,).
        stderr: that of `log_prob` over its draws (B,).
        prior: -KL(q(x_T | x_0), p_T) (B,), exact.
        diffusion: the integral or the sum over the way (B,).
        reconstruction: E log p(x_0 | x_{t_min}) (B,).
        nfe: evaluations made for a row.
        steps: the chain's T terms (B, T), of sum `diffusion`, where each was computed.
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
    denoising loss with the weight g^2 alpha^2 / sigma^4 (`loss.likelihood`, Song, Durkan, et al., 2021).  For an exact
    denoiser the bound is tight in each row, up to the decoder and p_T against q_T.

    Kingma, Salimans, Poole, Ho (2021), Variational Diffusion Models, arXiv 2107.00630; Song, Durkan, Murray, Ermon
    (2021), arXiv 2101.09258.

    Arguments:
        denoiser: the model, a posterior mean.
        x: x_0 (B, *shape), in the model's space; with levels, centres of bins.
        n: values of lambda, an even number, two in each of n/2 equal parts of the density's mass, each with its own
            noise.  `stderr` comes from the differences of the pairs: its square is unbiased, whatever the integrand.
        seed, offset: row i has the random numbers of sample number `offset + i`.
        levels: None: continuous data, p(x_0 | x_{t_min}) = N(D(x_{t_min}), (sigma/alpha)^2 I), the true posterior up to
            the square of (sigma/alpha)^2 over the data's local variance, or `Denoiser.log_posterior`, which has edges
            where the data have them.  Bins: the decoder is the exact discrete one, `Bins.log_prob`, and the bound on
            log P(v).
        t_min: the end of the way; None: the SDE's own.
        density: of lambda, "uniform"; a `Plan`, which has a control variate too (see `fit_plan`: a tenth of uniform's
            standard error on a 2-D mixture, a sixth on a 64-D one); or "adaptive", a plan fitted on x itself, which
            makes a row depend on its batch mates within the error.
        ends: draws of the reconstruction.
        cond: the conditions of the rows, by name.

    Returns:
        A `Bound`.

    Raises:
        InputError: wrong arguments; a denoiser that is no posterior mean, or has no score (`Source`).
    """
    _even(n)
    refuse_noise(denoiser.source, "a bound")
    denoiser = bind(scored(denoiser), cond, len(batch(x)))
    sde, t_min = denoiser.sde, start_time(denoiser.sde, t_min)
    x, index = _rows(x, offset)
    plan = _plan(denoiser, x, t_min, density, seed, offset)
    terms = []
    for i, u in enumerate(_pairs(x, index, n, seed)):
        log_snr, weight = plan.place(u)
        error = squared_error(denoiser, x, log_snr, normal(x, index, seed, *Stream.BOUND_NOISE(i)), plan)
        terms.append(-0.5 * weight * error)
    terms = torch.stack(terms, 1)
    prior = _prior(sde, x, sde.t_max)
    end, end_variance = _reconstruction(denoiser, x, t_min, levels, plan, ends, index, seed)
    diffusion = terms.mean(1) - 0.5 * plan.integral_known(x)
    nfe = n + (ends if levels is None else 0)
    return Bound(prior + diffusion + end, (_spread(terms) + end_variance).sqrt(), prior, diffusion, end, nfe)


def _pairs(x: Tensor, index: Tensor, n: int, seed: int, draw: int = 0) -> Iterator[Tensor]:
    """n places (B,) in (0, 1), two in each of n/2 equal parts, all independent."""
    for i in range(n):
        words = Stream.BOUND_PLACE(i + n * draw)
        yield (i // 2 + uniform(x.new_empty(len(x), 1), index, seed, *words)[:, 0]) / (n // 2)


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
        eps = normal(x, index, seed, *Stream.BOUND_END(i))
        if levels is None:
            with torch.no_grad():
                known = denoiser.log_posterior(x, alpha * x + sigma * eps, t)
            if known is not None:
                values.append(known)
                continue
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


def _even(n: int | None) -> None:
    if n is not None and n % 2:
        raise InputError(f"n={n!r}: give an even number, two for each part of the log-SNR", "n")
