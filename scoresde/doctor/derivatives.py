"""What the Jacobian of a score must be: Tweedie's covariance, symmetric, and that of a density that diffuses."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from .. import noise
from ..denoiser import Denoiser
from .finding import Finding, errors, judged, listed, unseen, well
from .material import LEVELS, Material, Some

ROWS, FEW_ROWS = 64, 16  # items at which Jacobians, and their derivatives, are looked at
FEW = 4  # dimensions up to which the derivatives of the score are exact
OFF = 1.6, 2.5  # factors between the error and what the model says of it
CURL, RESIDUAL = (1.0, 3.0), (3.0, 9.0)  # loose: a network is no gradient, and no harm comes of a little


def tweedie(material: Material, denoiser: Denoiser, error: Tensor) -> tuple[Finding, Finding]:
    r"""The error on held-out items against the covariance that the model itself says, and the curl of its score.

        E |x_0 - D|^2 = (sigma^2 / alpha) E tr dD/dx,    dD/dx = (alpha / sigma^2) Cov[x_0 | x_t],  symmetric

    by two random signs u, v for each item: tr J = E u^T J u, and |J - J^T| / |J + J^T| (Frobenius) by the squares of
    u^T J v -+ v^T J u.  `error` (L, n) is |D - x_0|^2 / size.  Efron (2011), Tweedie's formula and its second moment;
    Hutchinson (1989); for curl: Saremi (2019), arXiv 1910.09382.
    """
    some = (material.test if len(material.test) >= 8 else material.train).rows(ROWS)
    ratio, z, curl = [], [], []
    for k in range(LEVELS):
        level = material.levels[k]
        trace, odd, even = _forms(material, denoiser, some, k)
        said = (level.sigma**2 / level.alpha) * trace / material.size
        d = error[k, : len(said)] - said
        ratio.append(float(error[k, : len(said)].mean()) / max(float(said.mean()), 1e-300))
        z.append(float(d.mean()) / max(float(d.std()) / math.sqrt(len(d)), 1e-300))
        curl.append(float((odd.mean() / even.mean().clamp_min(1e-300)).sqrt()))
    return _calibrated(material, ratio, z), _curl(material, curl)


def _forms(material: Material, denoiser: Denoiser, some: Some, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of each item: an estimate of tr dD/dx, and the squares of u^T J v - v^T J u and of their sum, (n,) each."""
    x = material.noisy(some, k)[0].requires_grad_()
    index = torch.arange(some.first, some.first + len(x), device=x.device)
    u, v = (noise.rademacher(x.detach(), index, material.seed, i, 1 + k) for i in range(2))
    cond = {name: value for name, value in some.cond.items() if name in denoiser.conditions}
    with torch.enable_grad():
        found = denoiser(x, material.levels[k], cond or None)
        if not found.requires_grad:
            zero = torch.zeros(len(x), dtype=torch.float64)
            return zero, zero, zero
        (ju,) = torch.autograd.grad(found, x, u, retain_graph=True)
        (jv,) = torch.autograd.grad(found, x, v)
    dot = lambda a, b: (a * b).double().flatten(1).sum(1).cpu()
    a, b = dot(ju, v), dot(jv, u)
    return (dot(ju, u) + dot(jv, v)) / 2, (a - b) ** 2, (a + b) ** 2


def _calibrated(material: Material, ratio: list[float], z: list[float]) -> Finding:
    away = [abs(math.log(r)) if r > 0 else math.inf for r in ratio]
    k = max(range(LEVELS), key=lambda i: away[i] if abs(z[i]) > 5 else -1.0)
    many = sum(judged(math.exp(a), *OFF, abs(b)) != "well" for a, b in zip(away, z, strict=True))
    figures = {"levels": listed(material.r), "ratio": listed(ratio)}
    state = judged(math.exp(min(away[k], 50)), *OFF, abs(z[k])) if many >= 2 else "well"
    if state == "well":
        worst = max(away)
        words = f"errors are those that the model's own Jacobian says, to a factor of {math.exp(min(worst, 50)):.2f}"
        return well("Tweedie's covariance", words, **figures)
    words = f"at noise {material.r[k]:.2g} the error is {ratio[k]:.2g} times what the model's own Jacobian says of it"
    change = "the network is not the posterior mean of these items: look at the findings above"
    return Finding("Tweedie's covariance", "suspect", words, errors(z[k]), change, "", figures)


def _curl(material: Material, curl: list[float]) -> Finding:
    k = max(range(LEVELS), key=curl.__getitem__)
    figures = {"levels": listed(material.r), "curl": listed(curl)}
    if judged(curl[k], *CURL) == "well":
        return well("curl", f"the score is a gradient to {100 * curl[k]:.2g} %", **figures)
    words = f"at noise {material.r[k]:.2g} the antisymmetric part of dD/dx is {curl[k]:.2g} of the symmetric one"
    change = "the score is not a gradient there: train longer, or take a larger network"
    return Finding("curl", "suspect", words, f"{100 * curl[k]:.0f} %", change, "", figures)


def fokker_planck(material: Material, denoiser: Denoiser) -> Finding:
    r"""The residual of the equation that the scores of one density at all times obey.

    In y = x / alpha and tau = (sigma / alpha)^2 the density of every linear SDE diffuses, d p / d tau = 1/2 lap p, so

        d s / d tau = 1/2 grad (div s + |s|^2),    s(y, tau) = grad_y log p = (D - y) / tau.

    The mean square of the difference of both sides, relative to that of d s / d tau (central differences in log tau).
    Up to 4 dimensions the divergence is exact; else by two probes, whose product has no bias.  Lai et al. (2023),
    FP-Diffusion, arXiv 2210.04296.
    """
    some = (material.test if len(material.test) >= 8 else material.train).rows(FEW_ROWS)
    chosen = range(1, LEVELS - 1, 2)
    try:
        with sdpa_kernel(SDPBackend.MATH):  # the fused kernels of attention have no second derivative
            found = [_residual(material, denoiser, some, k) for k in chosen]
    except (RuntimeError, NotImplementedError) as error:
        return unseen("Fokker-Planck", f"the network has no second derivative ({str(error).splitlines()[0][:80]})")
    k = max(range(len(found)), key=found.__getitem__)
    r = [float(material.r[i]) for i in chosen]
    figures = {"levels": listed(r), "residual": listed(found)}
    if judged(found[k], *RESIDUAL) == "well":
        middle = sorted(found)[len(found) // 2]
        return well("Fokker-Planck", f"residual {middle:.2g} of d s / d tau, {found[k]:.2g} at most", **figures)
    words = (
        f"at noise {r[k]:.2g} the score changes with time otherwise than one density's would: residual {found[k]:.2g}"
    )
    return Finding("Fokker-Planck", "suspect", words, f"{found[k]:.2g} times d s / d tau", "train longer", "", figures)


def _residual(material: Material, denoiser: Denoiser, some: Some, k: int) -> float:
    """The relative residual at level k."""
    sde, r = material.sde, float(material.r[k])
    cond = {name: value for name, value in some.cond.items() if name in denoiser.conditions} or None
    h = 0.05  # of log tau

    def at(level) -> Callable[[Tensor], Tensor]:
        tau = (level.sigma / level.alpha) ** 2
        return lambda y: (denoiser((level.alpha * y).to(some.x0.dtype), level, cond).double() - y) / tau

    ends = sde.along(sde.time(-2 * (math.log(r) + torch.tensor([-h / 2, h / 2], dtype=torch.float64))).tolist())
    y = (material.noisy(some, k)[0] / material.levels[k].alpha).double()
    with torch.no_grad():
        before, after = (at(level)(y) for level in ends)
    width = (ends[1].sigma / ends[1].alpha) ** 2 - (ends[0].sigma / ends[0].alpha) ** 2
    slope = (after - before) / width
    sides = [slope - g for g in _right(material, at(material.levels[k]), y, some, k)]
    square = (sides[0] * sides[-1]).flatten(1).sum(1).mean()
    return math.sqrt(max(float(square), 0.0) / max(float(slope.square().flatten(1).sum(1).mean()), 1e-300))


def _right(material: Material, s: Callable, y: Tensor, some: Some, k: int) -> list[Tensor]:
    """1/2 grad (div s + |s|^2), exactly, or by each of two probes."""
    index = torch.arange(some.first, some.first + len(y), device=y.device)
    if material.size <= FEW:
        unit = torch.eye(material.size, dtype=y.dtype, device=y.device).reshape(material.size, 1, *y.shape[1:])
        groups = [list(unit.expand(-1, len(y), *y.shape[1:]))]
    else:
        groups = [[noise.rademacher(y, index, material.seed, i, 50 + k)] for i in range(2)]
    found = []
    for probes in groups:
        with torch.enable_grad():
            leaf = y.detach().requires_grad_()
            value = s(leaf)
            total = value.square().sum()
            for e in probes:
                total = total + (torch.autograd.grad(value, leaf, e, create_graph=True)[0] * e).sum()
            found.append(torch.autograd.grad(total, leaf)[0].detach() / 2)
    return found
