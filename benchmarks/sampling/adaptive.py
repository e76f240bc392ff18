"""Evaluations that the adaptive probability flow needs at equal error.

    python benchmarks/sampling/adaptive.py                      # under 10 minutes on two cores
    python benchmarks/sampling/adaptive.py --only ring --sdes vp --levels 1e-2 1e-4

Exact scores of Gaussian mixtures in float64; 64 rows from t_max to t_min ("sample": x_T ~ N(0, sigma_T^2), the error of
the end point, root mean square over a row's dimensions) or from t_min to t_max ("likelihood": x ~ p_{t_min}, exact
divergence, exact p_T, the absolute error of log p in nats), the mean over the rows.  Every solver runs at a series of
tolerances rtol = atol from 0.3 down; log(evaluations) is interpolated against log(error), at the first crossing below
which the error stays (nan: the loosest tolerance is below the level already).  Figures are evaluations per row.

- scipy: `solve_ivp(method="RK45")` on dx/dt = f x - g^2 score / 2 over the flattened batch, as score_sde_pytorch does;
- torchode: Dormand-Prince 5(4) on the same equation, a step for each row, with the finished rows kept in the batch;
- the methods of `scoresde.ode` on dz/dphi = v, z = x / n, phi = atan(sigma / alpha): the mean of the rows' own counts.

Needs scoresde, scipy and, for its column, torchode: `pip install torchode==1.0.1` did here, with torchtyping 0.1.5 and
typeguard 2.13.3 (`pip install --no-deps torchode torchtyping typeguard==2.13.3`).  `adaptive_seconds.py` has the time.
"""

import argparse
import datetime
import math
import platform
import statistics

import torch
from flows import PROBLEMS, SDES, Case, at, check, sweep, torchode

from scoresde import ode

GOALS = {"vp": 0.75, "subvp": 0.65, "ve": 0.50}  # of scipy's evaluations
GOAL_TORCHODE = 0.60


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="only problems with this in their name")
    parser.add_argument("--sdes", nargs="+", default=list(SDES), choices=SDES)
    parser.add_argument("--methods", nargs="+", default=list(ode.METHODS), choices=ode.METHODS)
    parser.add_argument("--levels", nargs="+", type=float, default=[1e-3, 1e-5], help="errors (default: 1e-3 1e-5)")
    parser.add_argument("--rows", type=int, default=64, help="rows of a batch (default: 64)")
    args = parser.parse_args()
    torch.set_default_dtype(torch.float64)
    threads = torch.get_num_threads()
    versions = f"torch {torch.__version__}  python {platform.python_version()}  {threads} thread{'s' * (threads > 1)}"
    print(f"{datetime.date.today()}  {versions}  {args.rows} rows")
    print("  ".join(f"{k}: t {s.t_min:g} to {s.t_max:g}" for k, s in SDES.items()))
    if torchode is None:
        print("torchode is not installed: its column is missing")
    print()
    evaluations(args)


if __name__ == "__main__":
    main()
