"""Wall time of a log-likelihood at equal error: ours beside four other ways, on one network and the same probes.

    python -m venv .bench; .bench/bin/pip install -c constraints.txt -c benchmarks/constraints.txt -e '.[bench]'
    .bench/bin/pip install --no-deps -c benchmarks/constraints.txt k-diffusion torchode torchtyping typeguard
    python run.py task=train sde=vp                                # prints the folder of the digits model
    OMP_NUM_THREADS=1 .bench/bin/python benchmarks/likelihood/likelihood.py --model FOLDER

Held-out digits, uniformly dequantised, from t_min to t_max; every row has one Rademacher probe, the same for all; the
error is the mean of |log p - reference| in nats, the reference Dormand-Prince 8(5,3) in phi at 1e-7 with that probe.
Every method runs at a series of tolerances rtol = atol; at the one where its error falls below the asked level
(interpolated on logarithmic axes) all are timed, in turns within one process.

- ours: `scoresde.log_likelihood`, in phi, each row its own steps, finished rows leave the batch;
- score_sde: the method of score_sde_pytorch: scipy's RK45 in t on the flattened batch in float64, drift and divergence
  evaluated apart, two forward passes and one backward an evaluation; numpy's BLAS has one thread;
- torchdiffeq: dopri5 in t, one step for the batch, one forward and one backward;
- torchode: Dormand-Prince 5(4) in t, a step for each row, finished rows stay in the batch; likewise;
- k-diffusion: its own `sampling.log_likelihood`, dopri5 in sigma / alpha, for y = x / alpha; likewise.
"""

import argparse
import datetime
import math
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import scoresde
from benchmarks.sampling.flows import at, one_blas_thread
from benchmarks.sampling.peers import _sampling
from scoresde import noise
from scoresde.data import stack
from scoresde.likelihood import Hutchinson

try:
    import torchdiffeq
    import torchode
except ImportError as error:
    sys.exit(f"{error.name} is not installed: see the top of this file")


K_DIFFUSION = _sampling()


class Case:
    """A model, `rows` held-out digits with their probes, and the reference."""

    def __init__(self, folder: str, rows: int):
        self.model = scoresde.load(folder).eval()
        self.sde, data, index = self.model.sde, scoresde.data.digits(), torch.arange(rows)
        raw = stack(data.test, index)
        self.x = data.encode(raw, noise.uniform(raw.float(), index, 0, 1)).double()
        self.e = Hutchinson(1).probes(self.x, index, 0)[:, 0]
        self.dims, self.evaluations = self.x[0].numel(), 0.0
        self.exact = self.ours(1e-7, "dop853")

    def ours(self, tolerance: float, method: str = "adams") -> Tensor:
        found = scoresde.log_likelihood(self.model, self.x, 1, tolerance, tolerance, method=method)
        self.evaluations = float(found.nfe.double().mean())
        return found.log_prob

    def drift(self, t: float | Tensor, x: Tensor) -> Tensor:
        """dx/dt of the probability flow, t a number or (B,)."""
        f, g2 = (torch.as_tensor(a).reshape(-1, *[1] * (x.ndim - 1)).to(x) for a in self.sde.drift_diffusion(t))
        return f * x - g2 / 2 * self.model.score(x, t)

    def both(self, t: float | Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """dx/dt and its divergence by the probe: one forward pass and one backward."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            dx = self.drift(t, x)
            (product,) = torch.autograd.grad(dx, x, self.e)
        return dx.detach(), (product * self.e).flatten(1).sum(1)

    def total(self, x: Tensor, integral: Tensor) -> Tensor:
        return self.sde.prior_log_prob(x) + integral

    def score_sde(self, tolerance: float) -> Tensor:
        calls = 0

        def f(t: float, y: np.ndarray) -> np.ndarray:
            nonlocal calls
            calls += 1
            x = torch.from_numpy(y[: self.x.numel()]).reshape(self.x.shape)
            times = torch.full((len(x),), t, dtype=torch.float64)
            with torch.no_grad():
                dx = self.drift(times, x)
            divergence = self.both(times, x)[1]
            return torch.cat([dx.flatten(), divergence]).numpy()

        start = torch.cat([self.x.flatten(), torch.zeros(len(self.x), dtype=torch.float64)]).numpy()
        with one_blas_thread():
            out = solve_ivp(f, (self.sde.t_min, self.sde.t_max), start, "RK45", rtol=tolerance, atol=tolerance)
        self.evaluations = calls
        y = torch.from_numpy(out.y[:, -1])
        return self.total(y[: self.x.numel()].reshape(self.x.shape), y[self.x.numel() :])

    def torchdiffeq(self, tolerance: float) -> Tensor:
        calls = 0

        def f(t: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            nonlocal calls
            calls += 1
            return self.both(float(t), state[0])

        start = (self.x, self.x.new_zeros(len(self.x)))
        ends = torch.tensor([self.sde.t_min, self.sde.t_max], dtype=torch.float64)
        options = {"step_t": ends[1:]}  # without it the last step goes past the end
        with torch.no_grad():
            x, integral = torchdiffeq.odeint(
                f, start, ends, method="dopri5", rtol=tolerance, atol=tolerance, options=options
            )
        self.evaluations = calls
        return self.total(x[-1], integral[-1])

    def torchode(self, tolerance: float) -> Tensor:
        calls = 0

        def f(t: Tensor, y: Tensor) -> Tensor:
            nonlocal calls
            calls += 1
            dx, divergence = self.both(t, y[:, :-1].reshape(self.x.shape))
            return torch.cat([dx.flatten(1), divergence[:, None]], 1)

        term = torchode.ODETerm(f)
        control = torchode.IntegralController(atol=tolerance, rtol=tolerance, term=term)
        solver = torchode.AutoDiffAdjoint(torchode.Dopri5(term=term), control)
        start = torch.cat([self.x.flatten(1), self.x.new_zeros(len(self.x), 1)], 1)
        ends = (start.new_full((len(start),), t) for t in (self.sde.t_min, self.sde.t_max))
        with torch.no_grad():
            out = solver.solve(torchode.InitialValueProblem(start, *ends))
        assert (out.status == 0).all()
        self.evaluations = calls
        y = out.ys[:, -1]
        return self.total(y[:, :-1].reshape(self.x.shape), y[:, -1])

    def k_diffusion(self, tolerance: float) -> Tensor:
        sde = self.sde
        (alpha, sigma), (alpha_end, sigma_end) = (map(float, sde.marginal(t)) for t in (sde.t_min, sde.t_max))

        def model(y: Tensor, ratio: Tensor) -> Tensor:
            t = sde.time(-2 * ratio.log())
            return self.model(y * sde.marginal(t)[0].reshape(-1, *[1] * (y.ndim - 1)), t)

        y = self.x / alpha
        with mock.patch("torch.randint_like", lambda x, _: (self.e + 1) / 2):
            found, told = K_DIFFUSION.log_likelihood(
                model, y, sigma / alpha, sigma_end / alpha_end, atol=tolerance, rtol=tolerance
            )
        self.evaluations = told["fevals"]
        return found - self.dims * math.log(alpha)

    def error(self, log_prob: Tensor) -> float:
        return float((log_prob - self.exact).abs().mean())


def sweep(case: Case, run: Callable[[float], Tensor], least: float) -> list[tuple[float, float, float]]:
    """(tolerance, evaluations, error) from loose to tight, until the error is below `least` twice."""
    curve: list[tuple[float, float, float]] = []
    for tolerance in 10.0 ** -np.arange(0.0, 7.1, 0.5):
        error = case.error(run(float(tolerance)))
        curve.append((float(tolerance), case.evaluations, error if math.isfinite(error) else math.inf))
        if len(curve) > 1 and max(curve[-1][2], curve[-2][2]) < least:
            break
    return curve


def tolerance_for(curve: list[tuple[float, float, float]], level: float) -> float:
    """The tolerance at which the error falls below the level; the loosest one if it is there already."""
    return curve[0][0] if max(error for _, _, error in curve) <= level else at(curve, level, 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="the folder of a trained digits model")
    parser.add_argument("--rows", type=int, default=64, help="examples (default: 64)")
    parser.add_argument("--levels", nargs="+", type=float, default=[0.3, 0.1, 0.03], help="errors in nats")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of each (default: 5)")
    args = parser.parse_args()
    case = Case(args.model, args.rows)
    print(
        f"{datetime.date.today()}  torch {torch.__version__}  python {platform.python_version()}  "
        f"{torch.get_num_threads()} threads  {args.rows} rows of {case.dims} dimensions\n"
    )
    names = ("ours", "score_sde", "torchdiffeq", "torchode", "k_diffusion")
    runs = {name: getattr(case, name) for name in names}
    curves = {name: sweep(case, run, min(args.levels)) for name, run in runs.items()}
    print("| error, nats | method | tolerance | evaluations | its error | seconds, least | median | times ours |")
    print("|---:|---|---:|---:|---:|---:|---:|---:|")
    for level in args.levels:
        tolerances = {name: tolerance_for(curve, level) for name, curve in curves.items()}
        seconds: dict[str, list[float]] = {name: [] for name in names}
        told = {}
        for _ in range(args.repeats):
            for name, run in runs.items():
                if math.isnan(tolerances[name]):
                    continue
                began = time.perf_counter()
                out = run(tolerances[name])
                seconds[name].append(time.perf_counter() - began)
                told[name] = case.evaluations, case.error(out)
        for name in (n for n in names if seconds[n]):
            least, median = min(seconds[name]), statistics.median(seconds[name])
            figures = f"{tolerances[name]:.1e} | {told[name][0]:.0f} | {told[name][1]:.2g} | {least:.2f} | {median:.2f}"
            print(f"| {level:g} | {name} | {figures} | {least / min(seconds['ours']):.2f} |", flush=True)


if __name__ == "__main__":
    main()
