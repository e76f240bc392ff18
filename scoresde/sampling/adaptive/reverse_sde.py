"""The reverse SDE with adaptive steps, each sample its own, on a Brownian path that no rejected step can bend."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from ...denoiser import Denoiser
from ...errors import InputError
from ...noise.brownian import BrownianTree
from ...sde import widest
from ...settings import Positive, Range
from ..loop import Placing, Sampler, Steps
from ..steps.stochastic import Eta, eta_at

_DEPTH, _CELLS = 24, 12
_END = 1 << _DEPTH  # places along the way from t to s: 0, ..., _END
_TURN, _DECAY = 0.2, 2.0  # the longest step: in phi, and in (1 + eta^2) c


def per_row(a: Tensor, z: Tensor) -> Tensor:
    """`a` (B,) shaped and typed to multiply z (B, *shape)."""
    return a.to(z.dtype).reshape(-1, *[1] * (z.ndim - 1))


def denoised(denoiser: Denoiser, z: Tensor, c: Tensor) -> Tensor:
    """D at z = x / n (B, *shape) and c = log(sigma / alpha), () or (B,)."""
    t = denoiser.sde.time(-2 * c)
    return denoiser(per_row(torch.hypot(*denoiser.sde.marginal(t)), z) * z, t)


class _Way:
    """The way from c = `start` down to `end`, uniform in c, and A, the integral of eta^2 |dc|, along it."""

    def __init__(self, sde, start: float, end: float, eta: Eta, like: Tensor):
        self.start, self.span = start, start - end
        c = torch.linspace(start, end, (1 << _CELLS) + 1, dtype=torch.float64)
        values = [eta_at(eta, t) for t in sde.time(-2 * c).tolist()] if callable(eta) else [float(eta)]
        eta2 = torch.tensor(values, dtype=torch.float64).expand_as(c).square()
        total = torch.zeros_like(c)
        total[1:] = ((eta2[1:] + eta2[:-1]) / 2 * self.span / (1 << _CELLS)).cumsum(0)
        self.total = float(total[-1])
        if not self.total <= 300:
            raise InputError(f"eta={eta!r}: the integral of eta^2 over c = log(sigma / alpha) must be at most 300")
        self.table, self.rates = total.to(like), eta2.to(like)

    def c(self, place: Tensor) -> Tensor:
        return self.start - self.span * (place.to(self.table) / _END)

    def churn(self, place: Tensor) -> Tensor:
        cell = (place >> (_DEPTH - _CELLS)).clamp(max=(1 << _CELLS) - 1)
        part = place.to(self.table) * 2.0 ** (_CELLS - _DEPTH) - cell
        return self.table[cell] + part * (self.table[cell + 1] - self.table[cell])

    def clock(self, place: Tensor) -> Tensor:
        return torch.exp(2 * (self.churn(place) - self.total))

    def goal(self, place: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """The place about h (a part of the way) further on, with few binary digits, and whether it is the end."""
        c = self.c(place)
        near = torch.log(torch.tan((c.exp().atan() - _TURN).clamp_min(1e-30)))
        rate = 1 + self.rates[(place >> (_DEPTH - _CELLS))]
        far = torch.minimum(h, torch.minimum(c - near, _DECAY / rate) / self.span) * _END
        # Two digits below the step's own: the path is looked up in few levels, and the step loses at most a quarter.
        digit = (2.0 ** (far.log2().floor() - 2).clamp(0, _DEPTH)).to(place.dtype)
        goal = torch.maximum((place + far.to(place.dtype)) // digit * digit, place + 1)
        last = 1.1 * far >= _END - place  # stretched rather than followed by a sliver
        return torch.where(last, _END, goal), last

    def transition(self, place: Tensor, goal: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(keep, gain, spread, weight): z_s = keep z + gain (D + weight (D' - D)) + spread (W(goal) - W(place))."""
        c, churned = self.c(place), self.churn(goal) - self.churn(place)
        phi_t, phi_s = c.exp().atan(), self.c(goal).exp().atan()
        decay = c - self.c(goal) + churned
        keep = phi_s.sin() / phi_t.sin() * torch.exp(-churned)
        spread = phi_s.sin() * torch.exp(self.total - self.churn(goal))
        b = phi_t.cos() ** 2 * torch.expm1(decay)
        weight = ((1 + b) / (1 + (1 + b).sqrt())).clamp(max=2)
        return keep, -phi_s.cos() * torch.expm1(-decay), spread, weight


@dataclass(frozen=True)
class AdaptiveSDE(Sampler):
    """The reverse SDE dx = [f x - (1 + eta^2)/2 g^2 score] dt + eta g dw, each sample with its own adaptive steps.

    With n^2 = alpha^2 + sigma^2, z = x / n, c = log(sigma / alpha) = log tan(phi), it is for every SDE, c running down,

        dz = v sin(phi) cos(phi) dc - eta^2 sin(phi) eps |dc| + eta sqrt(2) sin(phi) dw.

    All but D(x, t) is linear and is solved exactly: a step by h = c_t - c_s, with A = integral of eta^2 |dc|, is

        z_s = sin(phi_s) / sin(phi_t) exp(-A) z + cos(phi_s) (1 - exp(-h - A)) D + sin(phi_s) sqrt(1 - exp(-2 A)) xi.

    With D at the start it gives z' (Euler), with D + w (D(z', s) - D) it gives z'' (improved Euler), for 2 evaluations.
    The error is the root mean square of (z'' - z') / (atol + rtol max(|z'|, |z'_before|)); up to 1 the step is taken,
    with z''; the next h is 0.9 h error^(-2/3).  w = (1 + b) / (1 + sqrt(1 + b)), b = cos(phi_t)^2 (exp(h + A) - 1),
    goes to 1/2 for small h; for eta = 1 it leaves standard normal data as they are, however long the step, where 1/2
    makes their variance too small.  No step is longer than 0.2 in phi or 2 in h + A: a jump from noise to data lands on
    the mean of the data, where D(z', s) may well be the mean again and the error 0.

    xi is the increment of a Brownian path in the clock exp(2 A) that is fixed for each sample: rejected steps do not
    bias it, and a sample does not depend on its batch mates, as arrived ones leave the batch.

    Jolicoeur-Martineau, Li, Piche-Taillefer, Kachman, Mitliagkas (2021), Gotta Go Fast When Generating Data with
    Score-Based Models, arXiv 2105.14080, there with the steps of Euler and Maruyama in t.

    Arguments:
        steps: only sets where the solver reports on its way.
        eta: a number or a function of t, from 0 on; 0 is the probability flow.
        rtol, atol: the tolerance, relative to z and absolute.
        max_nfe: the most evaluations of a sample between two times of the grid; None: no bound.

    Raises:
        InputError: settings out of range; in a sampling, an eta whose square has an integral over c above 300.
        FloatingPointError: in a sampling, if the model is not finite, a step underflows, or `max_nfe` is passed.
    """

    steps: Steps = 1
    grid: Placing = "uniform_angle"
    eta: Eta = 1.0
    rtol: Positive = 0.02
    atol: Positive = 0.02
    max_nfe: Annotated[int, Range(3, 2**32)] | None = None

    def step(self, denoiser, x, t, s, state, noise):
        sde = denoiser.sde
        real = widest(x.device)
        n_t, n_s = (torch.hypot(*sde.marginal(u)) for u in (t, s))
        z = x.to(real) / n_t
        way = _Way(sde, *(float(-sde.log_snr(u) / 2) for u in (t, s)), self.eta, z)
        tree = BrownianTree(noise.index, noise.seed, noise.step, way.clock, _DEPTH) if way.total else None

        def mean(z: Tensor, place: Tensor, rows: Tensor) -> Tensor:
            return denoised(denoiser.select(rows), z, way.c(place))

        return (n_s * self._solve(z, way, tree, mean, noise.silent)).to(x.dtype), None

    def _solve(self, z: Tensor, way: _Way, tree: BrownianTree | None, mean: Callable, silent: bool) -> Tensor:
        rows = torch.arange(len(z), device=z.device)
        done, before, w, place = z.clone(), z, torch.zeros_like(z), torch.zeros_like(rows)
        h, nfe = torch.ones(len(z), dtype=z.dtype, device=z.device), torch.ones_like(rows)
        x0 = mean(z, place, rows)
        while len(rows):
            goal, last = way.goal(place, h)
            keep, gain, spread, weight = (per_row(a, z) for a in way.transition(place, goal))
            w_goal = w if tree is None else tree(z, rows, goal)
            drawn = spread * (w_goal - w)
            euler = keep * z + gain * x0 + drawn
            change = gain * weight * (mean(euler, goal, rows) - x0)
            nfe += 1
            scale = self.atol + self.rtol * torch.maximum(euler.abs(), before.abs())
            error = (change / scale).flatten(1).square().mean(1).sqrt()
            self._check(error, goal - place, nfe, rows)
            ok = error <= 1
            growth = 0.9 * error.clamp_min(1e-10) ** (-2 / 3)
            h = (goal - place).to(z.dtype) / _END * torch.where(ok, growth.clamp(0.2, 5), growth.clamp(0.1, 0.9))
            arrived = ok & last
            done[rows[arrived]] = (euler + change - drawn * silent)[arrived]
            take = per_row(ok, z) != 0
            z, before, w = (torch.where(take, a, b) for a, b in ((euler + change, z), (euler, before), (w_goal, w)))
            place = torch.where(ok, goal, place)
            left = ~arrived
            z, before, w, place, h, nfe, rows, x0, fresh = (
                a[left] for a in (z, before, w, place, h, nfe, rows, x0, ok)
            )
            if bool(fresh.any()):
                x0[fresh] = mean(z[fresh], place[fresh], rows[fresh])
                nfe += fresh
        return done

    def _check(self, error: Tensor, size: Tensor, nfe: Tensor, rows: Tensor) -> None:
        bad = ~torch.isfinite(error) | (size < 4) & (error > 1)
        if bool(bad.any()):
            i = int(bad.nonzero()[0])
            raise FloatingPointError(
                f"the solver stopped in sample {int(rows[i])} of its batch: error {float(error[i]):.3g} in a step of "
                f"{int(size[i]) / _END:.3g} of the way; the model is not finite, or the tolerance is too small"
            )
        if self.max_nfe is not None and int(nfe.max()) > self.max_nfe:
            raise FloatingPointError(
                f"more evaluations than max_nfe={self.max_nfe}: loosen rtol={self.rtol}, atol={self.atol}"
            )
