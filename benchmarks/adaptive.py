"""Evaluations that the adaptive probability flow needs at equal error, and its wall time.

    python benchmarks/adaptive.py                      # evaluations, then wall time; under 10 minutes on two cores
    python benchmarks/adaptive.py --only ring --sdes vp --levels 1e-2 1e-4

Exact scores of Gaussian mixtures in float64; 64 rows from t_max to t_min ("sample": x_T ~ N(0, sigma_T^2), the error of
the end point, root mean square over a row's dimensions) or from t_min to t_max ("likelihood": x ~ p_{t_min}, exact
divergence, exact p_T, the absolute error of log p in nats), the mean over the rows.  Every solver runs at a series of
tolerances rtol = atol from 0.3 down; log(evaluations) is interpolated against log(error), at the first crossing below
which the error stays (nan: the loosest tolerance is below the level already).  Figures are evaluations per row.

- scipy: `solve_ivp(method="RK45")` on dx/dt = f x - g^2 score / 2 over the flattened batch, as score_sde_pytorch does;
- torchode: Dormand-Prince 5(4) on the same equation, a step for each row, with the finished rows kept in the batch;
- the methods of `scoresde.ode` on dz/dphi = v, z = x / n, phi = atan(sigma / alpha): the mean of the rows' own counts.

Needs scoresde, scipy and, for its column, torchode: `pip install torchode==1.0.1` did here, with torchtyping 0.1.5 and
typeguard 2.13.3 (`pip install --no-deps torchode torchtyping typeguard==2.13.3`).

The wall time is that of a small U-Net trained for some seconds on 8x8 images from a mixture, or of the model in a
folder (`--model`), each solver at the tolerance that gives the asked error, in turns within one process; numpy's BLAS
has one thread during scipy's runs.
"""

import argparse
import contextlib
import datetime
import math
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import scoresde
from scoresde import ode
from scoresde.exact import GaussianMixture
from scoresde.likelihood import velocity_divergence
from scoresde.loss import DenoisingLoss

try:
    import torchode
except ImportError:
    torchode = None

SDES = {"vp": scoresde.VP(), "subvp": scoresde.SubVP(), "ve": scoresde.VE()}
GOALS = {"vp": 0.75, "subvp": 0.65, "ve": 0.50}  # of scipy's evaluations
GOAL_TORCHODE = 0.60


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


def evaluations(args: argparse.Namespace) -> None:
    """The table of evaluations, and how it stands to the goals."""
    check()
    columns = ["scipy", *(["torchode"] if torchode else []), *args.methods]
    print("| problem | SDE | task | error | " + " | ".join(columns) + " | best | of scipy | of torchode |")
    print("|---|---|---|---:|" + "---:|" * len(columns) + "---|---:|---:|")
    ratios: dict[str, list[tuple[str, float, float]]] = {m: [] for m in args.methods}
    for problem in (p for p in PROBLEMS if args.only in p):
        for name in args.sdes:
            for task in ("sample", "likelihood"):
                case = Case(PROBLEMS[problem](SDES[name]), task, args.rows)
                runs = {"scipy": case.scipy, "torchode": case.torchode}
                runs |= {m: lambda tol, m=m, case=case: case.ours(m, tol) for m in args.methods}
                curves = {c: sweep(runs[c], case, min(args.levels)) for c in columns}
                for level in args.levels:
                    found = {c: at(curves[c], level) for c in columns}
                    theirs = found["scipy"], found.get("torchode", math.nan)
                    best = min(args.methods, key=lambda m, found=found: found[m] if found[m] > 0 else math.inf)
                    figures = " | ".join(f"{found[c]:.0f}" for c in columns)
                    shares = " | ".join(f"{found[best] / other:.0%}" for other in theirs)
                    print(f"| {problem} | {name} | {task} | {level:.0e} | {figures} | {best} | {shares} |", flush=True)
                    for m in args.methods:
                        ratios[m].append((name, *(found[m] / other for other in theirs)))
    summary(ratios, args.sdes)


def summary(ratios: dict[str, list[tuple[str, float, float]]], sdes: list[str]) -> None:
    """For each method: the geometric mean and the largest share, and the cells that meet the goal."""
    print(
        "\nShare of scipy's evaluations (mean, largest; cells that meet the goal) and of torchode's row evaluations:\n"
    )
    heads = " | ".join(f"{s}, goal {GOALS[s]:.0%}" for s in sdes)
    print(f"| method | {heads} | torchode, goal {GOAL_TORCHODE:.0%} |\n|---|" + "---|" * (len(sdes) + 1))
    for method, rows in ratios.items():
        cells = [told([r[1] for r in rows if r[0] == s], GOALS[s]) for s in sdes]
        print(f"| {method} | " + " | ".join([*cells, told([r[2] for r in rows], GOAL_TORCHODE)]) + " |")


def told(shares: list[float], goal: float) -> str:
    shares = [s for s in shares if not math.isnan(s)]
    if not shares:
        return "-"
    return f"{statistics.geometric_mean(shares):.0%}, {max(shares):.0%}; {sum(s <= goal for s in shares)}/{len(shares)}"


def check() -> None:
    """The equation in phi is the package's own: v and its divergence by autograd."""
    case = Case(mixture(SDES["vp"]), "likelihood", 4)
    phi, z = torch.tensor([0.1, 0.4, 0.9, 1.4]), case.x
    v, divergence = velocity_divergence(case.model, z, phi, None, {})
    mine = case.in_phi(phi, (z, z), torch.arange(4))
    torch.testing.assert_close((v, divergence), mine, rtol=1e-8, atol=1e-8)


# -- wall time --------------------------------------------------------------------------------------------------------


class Network:
    """A network, ours and scipy's way from noise to t_min: a model's folder, or a U-Net trained for `steps` steps."""

    def __init__(self, sde: scoresde.SDE, steps: int, rows: int, folder: str | None = None):
        self.denoiser = scoresde.load(folder).float() if folder else self.trained(sde, steps)
        self.denoiser.eval()
        self.sde, self.rows = self.denoiser.sde, rows
        shape = self.denoiser.shape if folder else (1, 8, 8)
        self.x = self.sde.prior(torch.randn(rows, *shape, generator=torch.Generator().manual_seed(0)))
        self.exact = self.ours("dopri5", 1e-6)[0]

    @staticmethod
    def trained(sde: scoresde.SDE, steps: int) -> scoresde.Denoiser:
        torch.manual_seed(0)
        data = mixture(sde, 64, 10)
        net = scoresde.nets.UNet((1, 8, 8), channels=32, mults=(1, 2), blocks=1).float()
        denoiser, loss = scoresde.Preconditioned(net, sde, "v"), DenoisingLoss()
        optimizer = torch.optim.AdamW(net.parameters(), 1e-3)
        for i in range(steps):
            optimizer.zero_grad()
            loss(denoiser, data.sample(64, seed=i).reshape(-1, 1, 8, 8)).mean().backward()
            optimizer.step()
        return denoiser

    @torch.no_grad()
    def ours(self, method: str, tolerance: float) -> tuple[Tensor, float]:
        counted = scoresde.Counted(self.denoiser)
        flow = scoresde.sampling.ProbabilityFlow(rtol=tolerance, atol=tolerance, method=method)
        out, _ = flow.step(counted, self.x, self.sde.t_max, self.sde.t_min, None, None)
        return out, counted.rows / self.rows

    @torch.no_grad()
    def scipy(self, tolerance: float) -> tuple[Tensor, float]:
        def f(t: float, y: np.ndarray) -> np.ndarray:
            x = torch.from_numpy(y).reshape(self.x.shape)
            f, g2 = (float(a) for a in self.sde.drift_diffusion(t))
            return (f * x - g2 / 2 * self.denoiser.score(x, t)).flatten().numpy()

        ends, start = (self.sde.t_max, self.sde.t_min), self.x.flatten().numpy()
        with one_blas_thread():
            out = solve_ivp(f, ends, start, "RK45", rtol=tolerance, atol=tolerance)
        return torch.from_numpy(out.y[:, -1]).reshape(self.x.shape), out.nfev

    def error(self, out: Tensor) -> float:
        return float((out - self.exact).flatten(1).square().mean(1).sqrt().mean())


def one_blas_thread() -> contextlib.AbstractContextManager:
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return contextlib.nullcontext()
    return threadpool_limits(1, user_api="blas")


def wall_time(args: argparse.Namespace) -> None:
    """The table of seconds, each solver at the tolerance for the same error."""
    level, repeats = args.wall_level, args.repeats
    print(f"\nWall time of {args.rows} samples of a U-Net to a mean error of {level:.0e}, {repeats} runs in turns:\n")
    print("| SDE | solver | tolerance | evaluations | error | seconds, least | median | of scipy |")
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    for name in [args.model] if args.model else args.sdes:
        net = Network(SDES.get(name), args.train_steps, args.rows, args.model)
        runs = {"scipy RK45 in t": net.scipy}
        runs |= {f"{m} in phi": lambda tol, m=m, net=net: net.ours(m, tol) for m in ("adams", "dopri5")}
        tolerances = {k: at(sweep(run, net, level), level, 0) for k, run in runs.items()}
        seconds: dict[str, list[float]] = {k: [] for k in runs}
        for _ in range(repeats):
            for k, run in runs.items():
                began = time.perf_counter()
                run(tolerances[k])
                seconds[k].append(time.perf_counter() - began)
        for k, run in runs.items():
            out, count = run(tolerances[k])
            least, share = min(seconds[k]), min(seconds[k]) / min(seconds["scipy RK45 in t"])
            figures = f"{tolerances[k]:.1e} | {count:.0f} | {net.error(out):.1e} | {least:.3f}"
            print(f"| {name} | {k} | {figures} | {statistics.median(seconds[k]):.3f} | {share:.0%} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="only problems with this in their name")
    parser.add_argument("--sdes", nargs="+", default=list(SDES), choices=SDES)
    parser.add_argument("--methods", nargs="+", default=list(ode.METHODS), choices=ode.METHODS)
    parser.add_argument("--levels", nargs="+", type=float, default=[1e-3, 1e-5], help="errors (default: 1e-3 1e-5)")
    parser.add_argument("--rows", type=int, default=64, help="rows of a batch (default: 64)")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of each solver (default: 5)")
    parser.add_argument("--wall-level", type=float, default=1e-2, help="the error that is timed (default: 1e-2)")
    parser.add_argument("--train-steps", type=int, default=200, help="of the U-Net that is timed (default: 200)")
    parser.add_argument("--model", help="a folder that run.py made, timed in place of the U-Net")
    parser.add_argument("--skip", default="", choices=["", "evaluations", "wall"], help="leave out one of the tables")
    args = parser.parse_args()
    torch.set_default_dtype(torch.float64)
    threads = torch.get_num_threads()
    versions = f"torch {torch.__version__}  python {platform.python_version()}  {threads} thread{'s' * (threads > 1)}"
    print(f"{datetime.date.today()}  {versions}  {args.rows} rows")
    print("  ".join(f"{k}: t {s.t_min:g} to {s.t_max:g}" for k, s in SDES.items()))
    if torchode is None:
        print("torchode is not installed: its column is missing")
    print()
    if args.skip != "evaluations":
        evaluations(args)
    if args.skip != "wall":
        wall_time(args)


if __name__ == "__main__":
    main()
