"""Laws on exact problems that show in seconds whether the mathematics holds on a device; they need torch alone."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .. import noise
from ..denoiser import Preconditioned
from ..exact import GaussianMixture
from ..likelihood import log_likelihood
from ..nets import MLP
from ..sampling import DDIM, PC, RK4, Adams, DPMpp2M, EulerMaruyama, Heun, ProbabilityFlow, sample
from ..sde import EDM, SDE, VE, VP, Cosine, Linear, SubVP, widest

SDES = {"vp": VP(), "subvp": SubVP(), "ve": VE(), "cosine": Cosine(), "linear": Linear(), "edm": EDM()}
SONG = ("vp", "subvp", "ve")
SIGMAS = 5.0  # standard errors that chance may bring: of a hundred figures, one goes beyond in 20,000 runs


@dataclass(frozen=True)
class Check:
    """One figure, which should be at most `tolerance`; `error` where there is none."""

    law: str
    what: str
    figure: float
    tolerance: float
    error: str = ""

    @property
    def passed(self) -> bool:
        return not self.error and self.figure <= self.tolerance  # NaN is not


def mixture(sde: SDE, device: str) -> GaussianMixture:
    """Three Gaussians on the plane, of unequal weights and widths."""
    means = torch.tensor([[-1.0, 0.5], [1.0, 1.0], [0.2, -1.2]], dtype=widest(device))
    stds = torch.tensor([[0.3, 0.6], [0.5, 0.4], [0.7, 0.3]], dtype=widest(device))
    return GaussianMixture(torch.tensor([1.0, 2.0, 3.0], dtype=widest(device)), means, stds, sde).to(device)


def deviations(x: Tensor, expected: Tensor) -> float:
    """The largest distance of the means of the columns of x (n, k) from `expected` (k,), in standard errors."""
    return float(((x.mean(0) - expected).abs() / (x.std(0) / len(x) ** 0.5)).max())


def random_numbers(device: str) -> Iterator[Check]:
    """Philox gives the published words, the same bits here as on the CPU, and normal moments."""
    zero = torch.zeros(1, dtype=torch.int64, device=device)
    words = [int(w) for w in noise.philox((zero, zero, zero, zero), (0, 0))]
    known = [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]  # of Salmon et al.'s Random123
    yield Check(
        "noise", "words that differ from Random123's", sum(a != b for a, b in zip(words, known, strict=True)), 0
    )
    index = torch.arange(64)
    here, there = (noise.bits(i, 999, 7, 3, 2) for i in (index, index.to(device)))
    differ = sum(int((a != b.cpu()).sum()) for a, b in zip(here, there, strict=True))
    yield Check("noise", "words that differ from the CPU's", differ, 0)
    x = torch.empty(64, 4000)
    here, there = noise.normal(x, index, 7, 3, 2), noise.normal(x.to(device), index.to(device), 7, 3, 2).cpu()
    yield Check("noise", "normal numbers, distance from the CPU's", float((here - there).abs().max()), 2e-6)
    z = there.flatten().double()
    powers = torch.stack([z, z**2, z**3, z**4], 1)
    figure = deviations(powers, torch.tensor([0.0, 1.0, 0.0, 3.0], dtype=torch.float64))
    yield Check("noise", "moments 1 to 4 of 256,000, standard errors", figure, SIGMAS)


def marginals(device: str) -> Iterator[Check]:
    """x_t has the mean alpha x_0 and the variance sigma^2; dx = f x dt + g dw keeps them: (s^2)' = 2 f s^2 + g^2."""
    index, x0 = torch.arange(20000, device=device), torch.full((20000, 1), 1.5, device=device)
    for number, (name, sde) in enumerate(SDES.items()):
        times = [sde.t_min + (sde.t_max - sde.t_min) * u for u in (0.1, 0.4, 0.7, 1.0)]
        worst = 0.0
        for step, t in enumerate(times):
            alpha, sigma = (float(a) for a in sde.marginal(t))
            x = sde.perturb(x0, t, noise.normal(x0, index, number, step, 0))
            z = (x.cpu().double() - alpha * 1.5) / sigma
            worst = max(worst, deviations(torch.cat([z, z**2], 1), torch.tensor([0.0, 1.0], dtype=torch.float64)))
        yield Check("marginals", f"{name}: mean and variance, standard errors", worst, SIGMAS)
        t = torch.tensor(times[:-1], dtype=torch.float64)
        h = 1e-6 * t
        (_, low), (_, high), (_, sigma) = (sde.marginal(u) for u in (t - h, t + h, t))
        slope, (f, g2) = (high**2 - low**2) / (2 * h), sde.drift_diffusion(t)
        error = float(((2 * f * sigma**2 + g2) / slope - 1).abs().max())
        yield Check("marginals", f"{name}: drift and diffusion against slopes", error, 1e-6)


def samplers(device: str, n: int = 4000) -> Iterator[Check]:
    """First and second moments of samples of an exact mixture."""
    every = {
        "ode": ProbabilityFlow(),
        "pc": PC(steps=150),
        "dpmpp_2m": DPMpp2M(steps=40),
        "adams": Adams(steps=40),
        "euler_maruyama": EulerMaruyama(steps=400),
    }
    cells = [(name, "vp") for name in every] + list(itertools.product(("ode", "dpmpp_2m"), ("subvp", "ve")))
    for name, sde in cells:
        model = mixture(SDES[sde], device)
        weights, means, stds = (a.cpu().double() for a in (model.log_weights.exp(), model.means, model.stds))
        square = (weights[:, None] * (means**2 + stds**2)).sum(0)
        expected = torch.cat([weights @ means, square, (weights * means.prod(1)).sum()[None]])
        x = sample(model, every[name], (n, 2), dtype=widest(device), progress=False).cpu().double()
        figure = deviations(torch.cat([x, x**2, x.prod(1, keepdim=True)], 1), expected)
        yield Check("samplers", f"{name}, {sde}: moments of {n}, standard errors", figure, SIGMAS)


def rows(device: str) -> Iterator[Check]:
    """A network's samples: the CPU's, and the same in batches of another size."""
    torch.manual_seed(0)
    model = Preconditioned(MLP((2,), width=32, blocks=2), VP()).eval()
    here = sample(model, DDIM(steps=20), (50, 2))
    model = model.to(device)
    there = sample(model, DDIM(steps=20), (50, 2))
    yield Check("samples", "a network's, distance from the CPU's", float((here - there.cpu()).abs().max()), 1e-3)
    parts = sample(model, DDIM(steps=20), (50, 2), batch_size=7)
    yield Check("samples", "in batches of 7, distance from all at once", float((parts - there).abs().max()), 1e-4)


def orders(device: str) -> Iterator[Check]:
    """Twice the steps divide the distance from the flow's end by 2^order; in float64 only."""
    if widest(device) != torch.float64:
        return
    model = mixture(SDES["vp"], device)
    t_min = float(model.sde.time(10.0))
    end = sample(model, ProbabilityFlow(rtol=1e-11, atol=1e-11, last="none", t_min=t_min), (16, 2), dtype=torch.float64)
    for kind, steps, order in ((Heun, 200, 2), (RK4, 100, 4)):
        errors = []
        for k in (1, 2):
            sampler = kind(steps=k * steps, grid="uniform_angle", last="none", t_min=t_min)
            x = sample(model, sampler, (16, 2), dtype=torch.float64)
            errors.append((x - end).square().mean().sqrt())
        measured = float(torch.log2(errors[0] / errors[1]))
        yield Check("order", f"{kind.__name__} of order {order}: {measured:.3f}, off by", abs(measured - order), 0.25)


def likelihoods(device: str) -> Iterator[Check]:
    """log p through the flow, by the exact divergence, against the mixture's own."""
    for name in SONG:
        model = mixture(SDES[name], device)
        x = model.sample(64, seed=5)
        there = lambda z, model=model: model.log_prob(z, model.sde.t_max)  # not the prior, which only comes near
        error = log_likelihood(model, x, terminal=there).log_prob - model.log_prob(x, model.sde.t_min)
        tolerance = 1e-3 if widest(device) == torch.float64 else 1e-2
        yield Check("likelihood", f"{name}: nats from the exact log-density", float(error.abs().max()), tolerance)


LAWS = (random_numbers, marginals, samplers, rows, orders, likelihoods)
