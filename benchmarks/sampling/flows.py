"""Exact flows of mixtures, the ways through them by our solvers and by others', and curves of error against cost."""

import contextlib
import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import scoresde
from scoresde import ode
from scoresde.exact import GaussianMixture
from scoresde.likelihood import velocity_divergence

try:
    import torchode
except ImportError:
    torchode = None

SDES = {"vp": scoresde.VP(), "subvp": scoresde.SubVP(), "ve": scoresde.VE()}


def ring(sde: scoresde.SDE) -> GaussianMixture:
    """Eight modes of standard deviation 0.2 on a circle of radius 1.25."""
    a = torch.arange(8) * math.pi / 4
    return GaussianMixture(torch.ones(8), 1.25 * torch.stack([a.cos(), a.sin()], 1), 0.2, sde)


def mixture(sde: scoresde.SDE, dims: int = 2, components: int = 3) -> GaussianMixture:
    """Unequal weights, normal means, a standard deviation of 0.3 to 0.7 for every coordinate."""
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(components, dims, generator=generator)
    stds = 0.3 + 0.4 * torch.rand(components, dims, generator=generator)
    return GaussianMixture(torch.arange(1.0, components + 1), means, stds, sde)


PROBLEMS: dict[str, Callable] = {"ring": ring, "mixture": mixture, "mixture64": lambda sde: mixture(sde, 64, 10)}


class Case:
    """A mixture and a task: its start, both of its equations, and the error of an end."""

    def __init__(self, model: GaussianMixture, task: str, n: int):
        self.model, self.sde, self.task, self.n = model, model.sde, task, n
        sde, self.dims, self.density = model.sde, model.means.shape[1], task == "likelihood"
        if self.density:
            self.start, self.end = sde.t_min, sde.t_max
            self.x = model.sample(n, sde.t_min, seed=3)
            self.exact = model.log_prob(self.x, sde.t_min)
        else:
            self.start, self.end = sde.t_max, sde.t_min
            self.x = sde.prior(torch.randn(n, self.dims, generator=torch.Generator().manual_seed(5)))
            self.exact = None
            self.exact = self.ours("dop853", 1e-12)[0]
            theirs = self.scipy(1e-10, "DOP853")[0]
            assert (theirs - self.exact).abs().max() < 1e-6, "two references, in phi and in t, disagree"

    def denoised(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """D(x, t) and its divergence, in closed form: with posterior means m and scores g of the components,

        D = sum_k p_k m_k      div D = sum_k p_k (alpha sum_d s_k^2 / v_k + m_k (g_k - sum_j p_j g_j))
        """
        alpha, sigma = self.sde.marginal(t)
        logits, distance, variance = self.model._components(x, alpha, sigma)
        gain = alpha.reshape(-1, 1, 1) * self.model.stds**2 / variance
        posterior, score = self.model.means + gain * distance, -distance / variance
        p = logits.softmax(1)[..., None]
        spread = score - (p * score).sum(1, keepdim=True)
        return (p * posterior).sum(1), (p * (gain + posterior * spread)).sum((1, 2))

    def in_phi(self, phi: Tensor, state: tuple[Tensor, ...], rows: Tensor) -> tuple[Tensor, ...]:
        t = self.sde.time(-2 * torch.log(torch.tan(phi)))
        n, cos, sin = torch.hypot(*self.sde.marginal(t)), phi.cos(), phi.sin()
        x0, divergence = self.denoised(n[:, None] * state[0], t)
        v = (cos[:, None] * state[0] - x0) / sin[:, None]
        return (v, ((cos * self.dims - n * divergence) / sin)[:, None])[: len(state)]

    def in_t(self, t: Tensor, x: Tensor) -> Tensor:
        """(dx/dt, div) as one tensor (n, D + 1), or dx/dt (n, D)."""
        (f, g2), (alpha, sigma) = self.sde.drift_diffusion(t), self.sde.marginal(t)
        x = x[:, : self.dims]
        x0, divergence = self.denoised(x, t)
        score = (alpha[:, None] * x0 - x) / sigma[:, None] ** 2
        dx = f[:, None] * x - g2[:, None] / 2 * score
        if not self.density:
            return dx
        rate = f * self.dims - g2 / 2 * (alpha * divergence - self.dims) / sigma**2
        return torch.cat([dx, rate[:, None]], 1)

    def state(self) -> Tensor:
        return torch.cat([self.x, torch.zeros(self.n, 1)], 1) if self.density else self.x

    def result(self, y: Tensor) -> Tensor:
        """x at the end, or log p at the start, from the state in t at the end."""
        return self.model.log_prob(y[:, : self.dims], self.sde.t_max) + y[:, self.dims] if self.density else y

    def ours(self, method: str, tolerance: float) -> tuple[Tensor, float]:
        n_start, n_end = (float(torch.hypot(*self.sde.marginal(t))) for t in (self.start, self.end))
        phi_start, phi_end = (self.sde.angle(t).expand(self.n) for t in (self.start, self.end))
        state = (self.x / n_start, torch.zeros(self.n, 1))[: 1 + self.density]
        (z, *more), nfe = ode.integrate(self.in_phi, state, phi_start, phi_end, tolerance, tolerance, method)
        y = n_end * z
        if more:
            y = torch.cat([y, more[0] + self.dims * math.log(n_end / n_start)], 1)
        return self.result(y), float(nfe.double().mean())

    def scipy(self, tolerance: float, method: str = "RK45") -> tuple[Tensor, float]:
        def f(t: float, y: np.ndarray) -> np.ndarray:
            return self.in_t(torch.full((self.n,), t), torch.from_numpy(y).reshape(self.n, -1)).flatten().numpy()

        start = self.state().flatten().numpy()
        out = solve_ivp(f, (self.start, self.end), start, method, rtol=tolerance, atol=tolerance)
        return self.result(torch.from_numpy(out.y[:, -1]).reshape(self.n, -1)), out.nfev

    def torchode(self, tolerance: float) -> tuple[Tensor, float]:
        calls = 0

        def f(t: Tensor, y: Tensor) -> Tensor:
            nonlocal calls
            calls += 1  # of the whole batch: evaluations of every row
            return self.in_t(t, y)

        term = torchode.ODETerm(f)
        control = torchode.IntegralController(atol=tolerance, rtol=tolerance, term=term)
        solver = torchode.AutoDiffAdjoint(torchode.Dopri5(term=term), control)
        ends = (torch.full((self.n,), t) for t in (self.start, self.end))
        with torch.no_grad():
            out = solver.solve(torchode.InitialValueProblem(self.state(), *ends))
        assert (out.status == 0).all()
        return self.result(out.ys[:, -1]), calls

    def error(self, out: Tensor) -> float:
        apart = out - self.exact
        return float((apart.abs() if self.density else apart.square().mean(1).sqrt()).mean())


Curve = list[tuple[float, float, float]]  # tolerance, evaluations, error


def sweep(run: Callable[[float], tuple[Tensor, float]], case: Case, least: float) -> Curve:
    """From loose to tight tolerances, until the error is below `least`."""
    curve: Curve = []
    for tolerance in 10.0 ** -np.arange(0.5, 10.1, 0.5):
        out, evaluations = run(float(tolerance))
        curve.append((float(tolerance), evaluations, case.error(out)))
        if len(curve) > 2 and curve[-1][2] < least and curve[-2][2] < least:
            break
    return curve


def at(curve: Curve, level: float, column: int = 1) -> float:
    """Evaluations (or tolerance, column 0) where the error falls below the level for good; nan where it never does."""
    value, error = (np.log([max(point[i], 1e-300) for point in curve]) for i in (column, 2))
    error = np.maximum.accumulate(error[::-1])[::-1]
    if column == 1:
        value = np.minimum.accumulate(value[::-1])[::-1]  # a tighter tolerance that happened to cost less counts
    below = np.nonzero(error <= math.log(level))[0]
    if not len(below) or below[0] == 0:
        return math.nan
    i = int(below[0])
    share = (error[i - 1] - math.log(level)) / (error[i - 1] - error[i])
    return math.exp(value[i - 1] + share * (value[i] - value[i - 1]))


def check() -> None:
    """The equation in phi is the package's own: v and its divergence by autograd."""
    case = Case(mixture(SDES["vp"]), "likelihood", 4)
    phi, z = torch.tensor([0.1, 0.4, 0.9, 1.4]), case.x
    v, divergence = velocity_divergence(case.model, z, phi, None, {})
    mine = case.in_phi(phi, (z, z), torch.arange(4))
    torch.testing.assert_close((v, divergence), mine, rtol=1e-8, atol=1e-8)


def one_blas_thread() -> contextlib.AbstractContextManager:
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return contextlib.nullcontext()
    return threadpool_limits(1, user_api="blas")
