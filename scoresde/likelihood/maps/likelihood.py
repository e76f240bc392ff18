"""The log-likelihood of a model of few steps, whose jumps are inverted one by one."""

import copy
import itertools
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...answers import batch, derivatives
from ...denoiser import Denoiser, Given, bind, self_conditioned
from ...errors import InputError
from ...sde import widest
from ...settings import Count, Positive, Seed, Whole, checked
from ..divergence import Hutchinson, Probes
from ..flow import Likelihood, _prior
from .determinant import log_determinant
from .inverse import DENSE, inverse
from .jumps import Jumping


@dataclass(frozen=True, repr=False)
class MapLikelihood(Likelihood):
    """The log-likelihood of rows under a model of few steps: what `map_likelihood` returns.

    Arguments:
        log_prob: (B,) in nats at t_min; not a number in rows whose inverse was not found.
        stderr, latent, nfe, prior, volume, probes: as in `Likelihood`.
        divergence: the sum of log |det dz_t / dz_s| over the jumps (B,).
        failed: (B,), the number of the jump whose inverse was not found, 0 that from t_max; -1 where all were.
    """

    failed: Tensor

    def __repr__(self) -> str:
        lost = int((self.failed >= 0).sum())
        kept = self.failed < 0
        known = Likelihood(*(v[kept] for v in (self.log_prob, self.stderr, self.latent, self.nfe)), *(4 * [kept]))
        words = repr(known).replace("Likelihood", "MapLikelihood", 1)
        return words if not lost else f"{words[:-1]}, {self.words()})"

    def words(self) -> str:
        """How many rows have no density, and at which jumps, in words; "" where all have one."""
        lost = self.failed[self.failed >= 0]
        if not len(lost):
            return ""
        numbers, counts = lost.unique(return_counts=True)
        at = ", ".join(f"{c} at jump {k + 1}" for k, c in zip(numbers.tolist(), counts.tolist(), strict=True))
        return f"{len(lost)} of {len(self.failed)} rows without an inverse ({at})"


@checked
@derivatives
@torch.no_grad()
def map_likelihood(
    denoiser: Denoiser,
    x: Tensor,
    sampler: Any,
    probes: Probes | None = None,
    cond: Given = None,
    seed: Seed = 0,
    offset: Whole = 0,
    tolerance: Positive = 1e-9,
    lanczos: Count = 24,
) -> MapLikelihood:
    """log p(x) of the samples that a few jumps make from noise, x_T to x_{t_1} .. to x_{t_min}, by their inverses:

        log p(x) = log p_T(x_T) + D log(n_T / n_{t_min}) - sum over jumps of log |det J|,    J = dz_s / dz_t

    where z = x / n, and z_s = cos(d) z - sin(d) F(z) is one evaluation of the model.  Of an exact flow map it is the
    density of the flow, in as few jumps as it takes; of a trained one, that of its own samples, which near the flow's
    is near it.  Of an ordinary denoiser it is the density of DDIM's samples.

    Each jump is inverted to the `tolerance` in double precision, with fixed-point iterations where it contracts and
    Newton's method where it does not.  A row whose inverse is not found, or where det J is negative as it never is for
    a flow, has no figure, and `failed` names the jump.  An inverse that is found need not be the only one: where a
    trained network folds, more than one noise makes the same sample, and what is told is the share of one, which is
    less than p(x).  Samples whose own noise is not found again (`latent`) tell how often that is.

    Arguments:
        denoiser: the model: a `FlowMap`, or any denoiser.
        x: (B, *shape), taken as a point of x_{t_min}.
        sampler: a `sampling.Jump`; of a model that jumps to the data alone, of one step.
        probes: None: determinants are exact, by D products a jump, up to 1024 dimensions; a number: of so many random
            vectors (Lanczos quadrature), their mean, and `stderr` its standard error.
        cond: the conditions of the rows, by name.
        seed, offset: row i has the probes of sample number `offset + i`.
        tolerance: the largest |z_s - jump(z_t)| of a row, over 1 + the largest |z_s|.
        lanczos: products with J, and with J^T, for each random vector and jump.

    Returns:
        A `MapLikelihood`.

    Raises:
        InputError: wrong arguments; a sampler that is no `Jump`, steps that the model has not learned, more dimensions
            than exact determinants can be of; a model that is told its own estimates.
    """
    dims = batch(x)[0].numel()
    if not getattr(sampler, "inverts", False):
        words = "only jumps are invertible, as they add no noise and keep no past: give sampling.Jump(steps=...)"
        raise InputError(f"sampler={type(sampler).__name__}: {words}", "sampler")
    if probes is None and dims > DENSE:
        words = f"exact determinants are of {DENSE} dimensions at most, and these are {dims}: give probes=8"
        raise InputError(f"probes=None: {words}", "probes")
    if self_conditioned(denoiser) is not denoiser:
        raise InputError("the model is told its own estimates, and its jumps are no functions of x alone", "denoiser")
    real = widest(x.device)
    model = bind(copy.deepcopy(denoiser).to(real).requires_grad_(False), cond, len(x))
    sampler = sampler.informed(model)
    times = model.sde.along(sampler.times(model.sde))
    nfe, failed = (torch.full((len(x),), v, dtype=torch.int64, device=x.device) for v in (0, -1))
    index = torch.arange(offset, offset + len(x), device=x.device)
    z, total = x.to(real) / times[-1].n, torch.zeros(len(x), 1 if probes is None else probes, dtype=real).to(x.device)
    for number, (t, s) in reversed(list(enumerate(itertools.pairwise(times)))):
        live = (failed < 0).nonzero()[:, 0]
        if not len(live):
            break
        jump = Jumping(model.select(live), t, s, nfe[live])
        there, found = inverse(jump, z[live], tolerance, seed)
        nfe[live] = jump.nfe
        volume, sign = _volume(jump, there, index[live], probes, lanczos, seed, number)
        good = found & (sign > 0)
        failed[live[~good]] = number
        z[live[good]] = there[good]
        total[live[good]] -= volume[good]
    return _told(model, z * times[0].n, total, failed, nfe, dims * math.log(times[0].n / times[-1].n), probes or 0)


def _volume(jump: Jumping, z: Tensor, index: Tensor, probes: int | None, lanczos: int, seed: int, number: int):
    """log |det J| (B, 1), or estimates of it (B, probes), and the sign of det J, 1 where it is not known."""
    rows = torch.arange(len(z), device=z.device)
    if probes is None:
        sign, volume = torch.linalg.slogdet(jump.jacobian(z, rows)[1])
        return volume[:, None], sign
    vectors = Hutchinson(probes).probes(z, index, seed, 0, 1 + number)
    found = log_determinant(lambda y: jump(y, rows, count=False), z, vectors, lanczos)
    return found, torch.ones_like(found[:, 0])


def _told(model: Denoiser, latent: Tensor, total: Tensor, failed: Tensor, nfe: Tensor, volume: float, probes: int):
    """The result, with no figures in rows that failed."""
    lost, k = failed >= 0, total.shape[1]
    prior, divergence = _prior(model, latent), total.mean(1)
    stderr = total.std(1) / k**0.5 if k > 1 else torch.full_like(divergence, math.nan if probes else 0.0)
    blank = lambda v: torch.where(lost.reshape(-1, *[1] * (v.ndim - 1)), math.nan, v)
    spent, every = torch.full_like(nfe, probes), torch.full_like(prior, volume)
    figures = (prior + volume + divergence, stderr, latent, nfe, prior, every, divergence, spent)
    return MapLikelihood(*(blank(v) if v.is_floating_point() else v for v in figures), failed)
