"""Seconds of the adaptive probability flow at equal error: of a network's samples, and of a mixture's, which is cheap.

    OMP_NUM_THREADS=1 python benchmarks/sampling/adaptive_seconds.py                 # both tables, minutes
    OMP_NUM_THREADS=1 python benchmarks/sampling/adaptive_seconds.py --skip network  # CPU seconds on 2-D mixtures

Wall time of a small U-Net trained for some seconds on 8x8 images from a mixture, or of the model in a folder
(`--model`), each solver at the tolerance that gives the asked error, in turns within one process; numpy's BLAS has one
thread during scipy's runs.

CPU seconds of 1024 rows from x_T to t_min by `ProbabilityFlow` (Adams, each row its own steps), scipy's RK45 and
torchdiffeq's dopri5, both with one step for the batch, on dx/dt = f x - g^2 score / 2 with f and g^2 in closed form.
The denoiser costs about as much as the solver: it is the solver's own time that shows.  The least of the runs of each
tolerance, in turns; log(seconds) is interpolated against log(error).  Needs torchdiffeq.
"""

import argparse
import datetime
import math
import platform
import statistics
import time

import numpy as np
import torch
from flows import PROBLEMS, SDES, at, mixture, one_blas_thread, sweep
from scipy.integrate import solve_ivp
from torch import Tensor

import scoresde
from scoresde.loss import DenoisingLoss
from scoresde.sampling import ProbabilityFlow


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


def _vp(sde: scoresde.SDE, t: float) -> tuple[float, float]:
    beta = sde.beta_min + t * (sde.beta_max - sde.beta_min)
    return -beta / 2, beta


def _subvp(sde: scoresde.SDE, t: float) -> tuple[float, float]:
    f, beta = _vp(sde, t)
    integral = sde.beta_min * t + (sde.beta_max - sde.beta_min) * t**2 / 2
    return f, beta * -math.expm1(-2 * integral)


def _ve(sde: scoresde.SDE, t: float) -> tuple[float, float]:
    rate = math.log(sde.sigma_max / sde.sigma_min)
    return 0.0, 2 * rate * (sde.sigma_min * math.exp(rate * t)) ** 2


RATES = {"vp": _vp, "subvp": _subvp, "ve": _ve}


class Rows:
    """A mixture's rows x_T, and the ways of three solvers to t_min."""

    def __init__(self, problem: str, name: str, rows: int):
        self.sde, self.rates = SDES[name], RATES[name]
        self.model = PROBLEMS[problem](self.sde)
        dims = self.model.means.shape[1]
        self.x = self.sde.prior(torch.randn(rows, dims, generator=torch.Generator().manual_seed(5)))
        self.exact = self.ours(1e-11, "dop853")

    def ours(self, tolerance: float, method: str = "adams") -> Tensor:
        flow = ProbabilityFlow(rtol=tolerance, atol=tolerance, method=method)
        return flow.step(self.model, self.x, self.sde.t_max, self.sde.t_min, None, None)[0]

    def in_t(self, t: float, x: Tensor) -> Tensor:
        f, g2 = self.rates(self.sde, t)
        return f * x - g2 / 2 * self.model.score(x, t)

    def scipy(self, tolerance: float) -> Tensor:
        f = lambda t, y: self.in_t(t, torch.from_numpy(y).reshape(self.x.shape)).flatten().numpy()
        ends, start = (self.sde.t_max, self.sde.t_min), self.x.flatten().numpy()
        out = solve_ivp(f, ends, start, "RK45", rtol=tolerance, atol=tolerance)
        return torch.from_numpy(out.y[:, -1]).reshape(self.x.shape)

    def torchdiffeq(self, tolerance: float) -> Tensor:
        from torchdiffeq import odeint

        ends = torch.tensor([self.sde.t_max, self.sde.t_min])
        options = {"step_t": ends[1:]}  # without it the last step goes past the end
        f = lambda t, x: self.in_t(float(t), x)
        return odeint(f, self.x, ends, method="dopri5", rtol=tolerance, atol=tolerance, options=options)[-1]

    @torch.no_grad()
    def curves(self, repeats: int) -> dict[str, list[tuple[float, float, float]]]:
        """(tolerance, CPU seconds, error) of every solver at 1e-1, .., 1e-8."""
        runs = {"ours": self.ours, "scipy": self.scipy, "torchdiffeq": self.torchdiffeq}
        found: dict[str, list[tuple[float, float, float]]] = {k: [] for k in runs}
        for tolerance in (10.0**-k for k in range(1, 9)):
            seconds = dict.fromkeys(runs, math.inf)
            for _ in range(repeats):
                for k, run in runs.items():
                    began = time.process_time()
                    run(tolerance)
                    seconds[k] = min(seconds[k], time.process_time() - began)
            for k, run in runs.items():
                error = float((run(tolerance) - self.exact).square().mean(1).sqrt().mean())
                found[k].append((tolerance, seconds[k], error))
        return found


def cpu_seconds(args: argparse.Namespace) -> None:
    """The table of CPU seconds at equal error."""
    print(f"\nCPU milliseconds of {args.cpu_rows} samples at equal error, the least of {args.repeats} runs in turns:\n")
    print("| problem | SDE | error | ours | scipy RK45 | torchdiffeq dopri5 | of scipy | of torchdiffeq |")
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    for problem in ("mixture", "ring"):
        for name in args.sdes:
            curves = Rows(problem, name, args.cpu_rows).curves(args.repeats)
            for level in args.levels:
                ours, *theirs = (1e3 * at(curves[k], level) for k in ("ours", "scipy", "torchdiffeq"))
                figures = " | ".join(f"{v:.1f}" for v in (ours, *theirs))
                shares = " | ".join(f"{ours / v:.2f}" for v in theirs)
                print(f"| {problem} | {name} | {level:.0e} | {figures} | {shares} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sdes", nargs="+", default=list(SDES), choices=SDES)
    parser.add_argument("--levels", nargs="+", type=float, default=[1e-2, 1e-3, 1e-4, 1e-5], help="errors, of mixtures")
    parser.add_argument("--cpu-rows", type=int, default=1024, help="rows of a mixture (default: 1024)")
    parser.add_argument("--rows", type=int, default=64, help="rows of the network (default: 64)")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of each solver (default: 5)")
    parser.add_argument("--wall-level", type=float, default=1e-2, help="the error that is timed (default: 1e-2)")
    parser.add_argument("--train-steps", type=int, default=200, help="of the U-Net that is timed (default: 200)")
    parser.add_argument("--model", help="a folder that run.py made, timed in place of the U-Net")
    parser.add_argument("--skip", default="", choices=["", "network", "mixtures"], help="leave out one of the tables")
    args = parser.parse_args()
    torch.set_default_dtype(torch.float64)
    threads = torch.get_num_threads()
    versions = f"torch {torch.__version__}  python {platform.python_version()}  {threads} thread{'s' * (threads > 1)}"
    print(f"{datetime.date.today()}  {versions}")
    if args.skip != "mixtures":
        cpu_seconds(args)
    if args.skip != "network":
        wall_time(args)


if __name__ == "__main__":
    main()
