"""Where along the log-SNR a bound is estimated, and the known part that is subtracted from its noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...denoiser import Denoiser, Given, bind
from ...errors import InputError
from ...noise import Stream, normal, uniform
from ...sde import SDE, expand, widest
from ..brief import Shapes
from ..paths import start_time


@dataclass(frozen=True, repr=False)
class Plan(Shapes):
    """A density over lambda = log-SNR, constant in each of K equal parts, and the Gaussian's error to subtract there.

    The error of the denoiser of N(mean, std^2) is subtracted `beta` times, and its mean given x_0, which is known, is
    added back: the estimate is unbiased for any of them.

    Arguments:
        edges: (K+1,), increasing from the lambda of t_max to that of t_min.
        mass: (K,), of sum 1.
        beta: (K,).
        mean, std: numbers or tensors that broadcast to an item.
    """

    edges: Tensor
    mass: Tensor
    beta: Tensor
    mean: float | Tensor = 0.0
    std: float | Tensor = 1.0

    @classmethod
    def uniform(cls, sde: SDE, t_min: float, bins: int = 1) -> Plan:
        """Uniform in lambda, nothing subtracted.

        Arguments:
            sde: which gives the lambda of the ends.
            t_min: the end of the way.
            bins: K.

        Returns:
            A `Plan`.
        """
        ends = sde.log_snr(torch.tensor([sde.t_max, t_min], dtype=torch.float64))
        edges = torch.linspace(float(ends[0]), float(ends[1]), bins + 1, dtype=torch.float64)
        return cls(edges, torch.full((bins,), 1 / bins, dtype=torch.float64), torch.zeros(bins, dtype=torch.float64))

    def check(self, sde: SDE, t_min: float) -> Plan:
        """Itself.  Raises `InputError` where it does not reach from t_max to t_min of the SDE."""
        low, high = float(sde.log_snr(sde.t_max)), float(sde.log_snr(t_min))
        if abs(float(self.edges[0]) - low) > 1e-6 or abs(float(self.edges[-1]) - high) > 1e-6:
            have = f"[{float(self.edges[0]):.6g}, {float(self.edges[-1]):.6g}]"
            raise InputError(f"density is a plan for log-SNR in {have}: this bound runs over [{low:.6g}, {high:.6g}]")
        return self

    def cdf(self, log_snr: Tensor) -> Tensor:
        """The mass below each of the values `log_snr`, of any shape, in that shape."""
        edges, mass = self.edges.to(log_snr), self.mass.to(log_snr)
        k = self._part(log_snr)
        return (mass.cumsum(0) - mass)[k] + mass[k] * ((log_snr - edges[k]) / (edges[k + 1] - edges[k])).clamp(0, 1)

    def place(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """The lambda with mass u below it, and 1 / density there: (B,) each, for u (B,) in (0, 1)."""
        edges, mass = self.edges.to(u), self.mass.to(u)
        top = mass.cumsum(0)
        k = torch.searchsorted(top, u, right=True).clamp_max(len(mass) - 1)
        width = edges[k + 1] - edges[k]
        return edges[k] + width * ((u - top[k] + mass[k]) / mass[k]).clamp(0, 1), width / mass[k]

    def known(self, x: Tensor, log_snr: Tensor, eps: Tensor) -> Tensor:
        """beta |eps - eps_G|^2 of the denoiser of N(mean, std^2).

        With S = e^lambda std^2 and y = (x - mean) / std: eps - eps_G = (S eps - sqrt(S) y) / (1 + S).

        Arguments:
            x: x_0 (B, *shape).
            log_snr: lambda (B,).
            eps: the noise (B, *shape).

        Returns:
            (B,).
        """
        s, y = self._gaussian(x, log_snr)
        beta = self.beta.to(log_snr)[self._part(log_snr)]
        return beta * ((s * eps - s.sqrt() * y) / (1 + s)).square().flatten(1).sum(1)

    def mean_known(self, x: Tensor, log_snr: Tensor) -> Tensor:
        """The mean (B,) of `known` over eps given x and log_snr: beta sum (S^2 + S y^2) / (1 + S)^2."""
        s, y = self._gaussian(x, log_snr)
        return self.beta.to(log_snr)[self._part(log_snr)] * (s * (s + y**2) / (1 + s) ** 2).flatten(1).sum(1)

    def integral_known(self, x: Tensor) -> Tensor:
        """The integral (B,) of `mean_known` at x over lambda.

        That of S^2 / (1 + S)^2 is log(1 + S) + 1 / (1 + S), that of S / (1 + S)^2 is -1 / (1 + S).
        """
        if not bool(self.beta.any()):
            return torch.zeros_like(x.flatten(1)[:, 0])
        total, below = 0.0, None
        for k, edge in enumerate(self.edges.to(x)):
            s, y = self._gaussian(x, edge.expand(len(x)))
            here = (torch.log1p(s) + (1 - y**2) / (1 + s)).flatten(1).sum(1)
            if k:
                total = total + self.beta.to(x)[k - 1] * (here - below)
            below = here
        return total

    def _gaussian(self, x: Tensor, log_snr: Tensor) -> tuple[Tensor, Tensor]:
        mean, std = (torch.as_tensor(a).to(x) for a in (self.mean, self.std))
        return expand(log_snr.exp(), x) * std**2, (x - mean) / std

    def _part(self, log_snr: Tensor) -> Tensor:
        edges = self.edges.to(log_snr)
        return torch.searchsorted(edges, log_snr.contiguous(), right=True).clamp(1, len(edges) - 1) - 1


def squared_error(denoiser: Denoiser, x: Tensor, log_snr: Tensor, eps: Tensor, plan: Plan | None) -> Tensor:
    """|eps - eps_hat|^2 = snr |x - D(alpha x + sigma eps)|^2 less the plan's `known`, (B,), for x, eps (B, *shape)."""
    sde = denoiser.sde
    t = sde.time(log_snr)
    with torch.no_grad():
        x0 = denoiser(sde.perturb(x, t, eps), t)
    error = sde.log_snr(t).exp() * (x0 - x).square().flatten(1).sum(1)
    return error if plan is None else error - plan.known(x, log_snr, eps)


def fit_plan(
    denoiser: Denoiser,
    x: Tensor,
    t_min: float | None = None,
    bins: int = 24,
    seed: int = 0,
    offset: int = 0,
    control: bool = True,
    cond: Given = None,
) -> Plan:
    """The plan that makes a bound of this denoiser vary little, from 2 `bins` evaluations of it on data.

    In each part of the log-SNR two noises e, e' for every row give the errors f, f' of the denoiser and g, g' of the
    Gaussian with the moments of x:

        beta = sum (f - f')(g - g') / sum (g - g')^2        mass ~ sqrt(mean of (f - beta g)^2) + a floor

    the regression that leaves least variance, and importance sampling of what is left.

    Arguments:
        denoiser: the model.
        x: x_0 (B, *shape).
        t_min: the end of the way; None: the SDE's own.
        bins: parts of the log-SNR.
        seed, offset: as in `elbo`.
        control: False keeps beta = 0.
        cond: the conditions of the rows, by name.

    Returns:
        A `Plan`, for `density`.
    """
    denoiser = bind(denoiser, cond, len(x))
    sde, t_min = denoiser.sde, start_time(denoiser.sde, t_min)
    real = widest(x.device)
    x, index = x.to(real), torch.arange(offset, offset + len(x), device=x.device)
    flat = Plan.uniform(sde, t_min, bins)
    mean, std = x.mean(0), x.std(0, unbiased=False)
    std = std.clamp_min(0.1 * std.square().mean().sqrt().clamp_min(1e-6))
    gaussian = Plan(flat.edges, flat.mass, torch.ones_like(flat.mass), mean, std)
    beta, mass = [], []
    for k in range(bins):
        u = uniform(x.new_empty(len(x), 1), index, seed, *Stream.PLAN_PLACE(k))[:, 0]
        log_snr, _ = flat.place((k + u) / bins)
        noise = [normal(x, index, seed, *Stream.PLAN_NOISE(2 * k + i)) for i in range(2)]
        f = [squared_error(denoiser, x, log_snr, eps, None) for eps in noise]
        g = [gaussian.known(x, log_snr, eps) for eps in noise]
        beta.append(float(((f[0] - f[1]) * (g[0] - g[1])).sum() / (g[0] - g[1]).square().sum()) if control else 0.0)
        mass.append(float(torch.stack([f[i] - beta[-1] * g[i] for i in range(2)]).square().mean().sqrt()))
    mass = torch.tensor(mass, dtype=torch.float64)
    mass = mass + 0.1 * mass.mean() + 1e-12
    return Plan(flat.edges, mass / mass.sum(), torch.tensor(beta, dtype=torch.float64), mean, std)
