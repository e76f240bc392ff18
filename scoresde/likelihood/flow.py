"""Log-likelihood through the probability flow."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from ..answers import answered, batch, check_graph, derivatives
from ..denoiser import Denoiser, Given, bind
from ..errors import InputError
from ..grids import times as times_of
from ..sde import widest
from ..settings import Checked, Positive, Scale, Seed, Whole, checked
from .brief import Result
from .control import AverageJacobian, Control, Record
from .divergence import Divergence, Hutchinson, Probes
from .estimator import Estimator, estimator
from .paths import AdaptivePath, FixedPath, Problem, Solution, path_of, scored, start_time


@dataclass(frozen=True, repr=False)
class Likelihood(Result):
    """The log-likelihood of rows, with its terms: what `log_likelihood` returns.

    Arguments:
        log_prob: (B,) in nats at t_min, the sum of prior, volume and divergence.
        stderr: (B,), over the probes.
        latent: x_T (B, *shape).
        nfe: evaluations of each row (B,).
        prior: log p_T(x_T) (B,).
        volume: D log(n_T / n_{t_min}) (B,).
        divergence: the integral of the divergence (B,).
        probes: how many were spent on each row (B,).
    """

    log_prob: Tensor
    stderr: Tensor
    latent: Tensor
    nfe: Tensor
    prior: Tensor
    volume: Tensor
    divergence: Tensor
    probes: Tensor


@dataclass(frozen=True)
class Auto(Checked):
    """As many probes as it takes to know the log-likelihood of each row to an error.

    From 8, or 4 where they are fresh in each step (or those of the divergence), they are doubled in the rows whose
    standard error, and one standard error of that, is above the target.  All probes of a row count.  To stop at a small
    error picks those that are small by chance: it reports 17 % too little on a 20-D mixture, 40 % had it started with
    4.  Up to 16 dimensions it is exact instead.

    Arguments:
        target_stderr: the standard error that is sought, in nats.
        max_probes: the most probes of a row.
    """

    target_stderr: Positive = 0.1
    max_probes: Probes = 64


@checked
@derivatives
def log_likelihood(
    denoiser: Denoiser,
    x: Tensor,
    probes: Probes | Literal["auto"] | Auto | None = None,
    path: AdaptivePath | FixedPath | None = None,
    divergence: Estimator | None = None,
    control: Control | None = None,
    cond: Given = None,
    seed: Seed = 0,
    offset: Whole = 0,
    t_min: Scale | None = None,
    terminal: Callable[[Tensor], Tensor] | None = None,
    **short: Any,
) -> Likelihood:
    """log p_{t_min}(x) through the probability flow of z = x / n in phi = atan(sigma / alpha), n^2 = alpha^2 + sigma^2:

        dz/dphi = v      log p_{t_min}(x) = log p_T(x_T) + D log(n_T / n_{t_min}) + integral of div_z v dphi
                                            prior          volume                   divergence

    Chen, Rubanova, Bettencourt, Duvenaud (2018), arXiv 1806.07366; Grathwohl et al. (2019), FFJORD, arXiv 1810.01367;
    Song et al. (2021), arXiv 2011.13456.

    Arguments:
        denoiser: the model, a posterior mean.
        x: (B, *shape), taken as a point of x_{t_min}.
        probes: of the divergence.  None: it is exact, by D vector-Jacobian products.  A number k: k Rademacher probes
            (Hutchinson, 1989), each an unbiased estimate of log p; `log_prob` is their mean and `stderr` their standard
            error (0 for the exact one, not a number for a single kept probe).  "auto" or `Auto`: as many as it takes.
        path: `AdaptivePath(rtol, atol, method)`, each row its own steps, state in float64, probes kept along each
            trajectory; or `FixedPath(steps, grid, order, differentiable)`, with fresh probes in each step, whose errors
            average out.  A `differentiable` one gives log_prob a graph to x and to the parameters that require
            gradients: the exact gradient of the discrete sum.
        divergence: another estimator, an object or a name in `estimator.NAMES`, with `probes` products.
        control: takes a known share out of the probes' errors.
        cond: the conditions of the rows, by name: the density is then log p(x | cond).
        seed, offset: row i has the probes of sample number `offset + i`, whatever its batch.
        t_min: where the density is evaluated; None: the SDE's own.
        terminal: the log-density of x_T (B, *shape) -> (B,); None: `sde.prior_log_prob`, with the model's `source`.
        short: the fields of a path in its place (`steps=50`, `rtol=1e-3`), of `Auto` (`target_stderr`, `max_probes`).

    Returns:
        A `Likelihood`: log_prob (B,) in nats, its terms, its standard error, the latents.

    Raises:
        InputError: wrong arguments; a denoiser that is no posterior mean, or has lost its graph.
        FloatingPointError: the model is not finite on the way.
    """
    auto = Auto(**{name: short.pop(name) for name in ("target_stderr", "max_probes") if name in short})
    auto, probes = (probes, "auto") if isinstance(probes, Auto) else (auto, probes)
    path = path_of(path, short)
    differentiable = getattr(path, "differentiable", False)
    rule = estimator(divergence, probes, batch(x)[0].numel(), fresh=path.fresh)
    _check(rule, divergence, probes, control, auto.max_probes)
    denoiser = bind(scored(denoiser), cond, len(x))
    sde, t_min = denoiser.sde, start_time(denoiser.sde, t_min)
    n_start, n_end = (float(torch.hypot(*sde.marginal(t))) for t in (t_min, sde.t_max))
    real = widest(x.device)
    index = torch.arange(offset, offset + len(x), device=x.device)
    # Without parameters that want gradients whatever has a graph has it to x; forward mode looks at no graph.
    if getattr(rule, "mode", "") == "forward" or any(p.requires_grad for p in denoiser.parameters()):
        first = torch.arange(1, device=x.device)
        check_graph(denoiser.select(first), denoiser, x[:1].to(real), t_min)
    with torch.set_grad_enabled(differentiable):
        problem = Problem(denoiser, x.to(real) / n_start, index, seed, t_min)
        most = auto.max_probes if probes == "auto" else 0
        found, spent = _pooled(path, problem, rule, control, auto.target_stderr, most)
        latent = found.z * n_end
        prior = answered((terminal or partial(_prior, denoiser))(latent), latent.shape[:1], "terminal")
        volume = torch.full_like(prior, x[0].numel() * math.log(n_end / n_start))
        log_prob = prior + volume + found.integral
    stderr = found.variance.sqrt()
    return Likelihood(log_prob, stderr, latent, found.nfe, prior, volume, found.integral, spent)


def _prior(denoiser: Denoiser, latent: Tensor) -> Tensor:
    """log p_T of x_T (B, *shape): normal, of the covariance of the noise that the model learned to undo."""
    sde, source = denoiser.sde, denoiser.source
    found = sde.prior_log_prob(latent)
    return found + source.log_ratio(latent / float(sde.marginal(sde.t_max)[1])) if source.offset else found


def _check(rule: Divergence, divergence, probes, control, most: int) -> None:
    if probes == "auto" and divergence is not None and not (rule.random and rule.estimates > 1):
        raise InputError(
            f"probes='auto' with {rule}: it needs an estimator of at least 2 estimates, to see their error"
        )
    if probes == "auto" and most < (first := getattr(rule, "k", 8)):
        words = f"give at least the {first} that probes='auto' begins with"
        raise InputError(f"max_probes={most!r}: {words}", "max_probes")
    if control is not None and not isinstance(rule, Hutchinson):
        raise InputError(f"control with {rule}: only Hutchinson's estimator has a control variate")


def _pooled(path, problem: Problem, rule: Divergence, control, target: float, most: int) -> tuple[Solution, Tensor]:
    """The solution with the probes of `rule`, doubled in the rows that err by more than the target, up to `most`."""
    found = path(problem, rule, control)
    spent = torch.full_like(problem.index, getattr(rule, "k", 0))
    k, each = getattr(rule, "k", 0), rule.estimates / max(1, getattr(rule, "k", 1))
    while 0 < 2 * k <= most and rule.random:
        # The error is itself known to one part in sqrt(2 (estimates - 1)): a lucky small one must not end the search.
        error = found.variance.detach().sqrt() * (1 + 1 / math.sqrt(2 * (each * k - 1)))
        rows = (error > target).nonzero()[:, 0]
        if not len(rows):
            break
        more = path(problem.rows(rows), replace(rule, k=k), control, first=k)
        found = Solution(
            found.z,
            found.integral.index_add(0, rows, (more.integral - found.integral[rows]) / 2),
            found.variance.index_copy(0, rows, (found.variance[rows] + more.variance) / 4),
            found.nfe.index_add(0, rows, more.nfe),
        )
        spent = spent.index_add(0, rows, torch.full_like(rows, k))
        k *= 2
    return found, spent


@derivatives
@torch.no_grad()
def average_jacobian(
    denoiser: Denoiser, x: Tensor, steps: int = 20, t_min: float | None = None, cond: Given = None
) -> AverageJacobian:
    """The Jacobian of the flow's velocity averaged over the trajectories of rows, a control variate.

    It costs D products at each of steps + 1 times of each row: 8 rows give most of what it can do.

    Arguments:
        denoiser: the model.
        x: (n, *shape), in the model's space, which should not be among the rows that are scored.
        steps: of the way, 2 at least.
        t_min: where it begins; None: the SDE's own.
        cond: the conditions of the rows, by name.

    Returns:
        An `AverageJacobian`.

    Raises:
        InputError: no rows, or more than 1024 dimensions.
    """
    if not len(x) or x[0].numel() > 1024:
        raise InputError(f"x {tuple(x.shape)}: give (n, *shape) with n > 0 and at most 1024 dimensions")
    denoiser = bind(denoiser, cond, len(x))
    sde, t_min = denoiser.sde, start_time(denoiser.sde, t_min)
    n = float(torch.hypot(*sde.marginal(t_min)))
    z = x.to(widest(x.device)) / n
    index = torch.arange(len(x), device=x.device)
    record = Record([])
    FixedPath(steps)(Problem(denoiser, z, index, 0, t_min), record, None)
    times = times_of("angle", sde, steps, sde.t_max, t_min)[::-1]
    return AverageJacobian(sde.angle(torch.tensor(times, dtype=torch.float64)).tolist(), torch.stack(record.matrices))
