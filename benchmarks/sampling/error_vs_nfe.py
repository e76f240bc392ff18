"""How far few-step samplers end from the exact end point of the flow: ours beside diffusers, k-diffusion and azula.

    python -m venv .bench; .bench/bin/pip install -c constraints.txt -c benchmarks/constraints.txt -e '.[bench]'
    .bench/bin/pip install --no-deps -c benchmarks/constraints.txt azula k-diffusion
    python run.py task=train sde=vp                                     # prints the folder of the digits model
    python run.py task=train sde=vp data=toy data.kind=swissroll net=mlp
    OMP_NUM_THREADS=1 .bench/bin/python benchmarks/sampling/error_vs_nfe.py --model FOLDER FOLDER --out table.json
    .bench/bin/python benchmarks/sampling/error_vs_nfe.py --check                # the peers' wrappers alone, a minute

Eight random mixtures of 2 to 256 dimensions (`pool.py`, another `--seed`, others) and the networks of `--model`.  VP
(beta 0.1 to 20) from t = 1 to t = 1e-3, every sampler from the same x_T with the same denoiser, in float64 (some
schedulers of diffusers go through float32), without a last step.  `rms` is the root mean square over the samples of
|x - reference| / sqrt(D), `median` its median; the reference is our adaptive flow at rtol = atol = 1e-9.

Every peer is run with every spacing of its times in `SPACINGS`.  A cell is a problem, a budget and one of the two
figures.  Ratios are a peer's figure over ours, so above 1 ours is nearer: of the peer and spacing that is best in that
very cell, and of the single peer and spacing that is best at that budget over all problems (by the product of all its
figures), both chosen on the figures shown, in the peers' favour.  Ours are not chosen: `OURS` is what the configs say,
with `steps` the budget.  `--tuned` adds what `scoresde.tune` finds for the model, on other x_T.  A budget is an upper
bound: samplers of two evaluations a step use one less when it is odd.
"""

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path

import torch
from peers import PACKAGES, Peer, peers
from pool import SDE, Problem, mixtures, network
from torch import Tensor

import scoresde
from scoresde import grids
from scoresde.sampling import Adams, GaussianAdams, Sampler

KINDS = ("rms", "median")


def sine(sde, steps: int, start: float, end: float) -> Tensor:
    """sin(phi) = sin(pi u / 2)^2 between the ends: the times of diffusers' IPNDMScheduler."""
    u = torch.asin(torch.sin(torch.linspace(1, 0, steps + 1, dtype=torch.float64) * math.pi / 2) ** 2) * 2 / math.pi
    high, low = sde.angle(torch.tensor([start, end], dtype=torch.float64))
    return sde.time(-2 * torch.log(torch.tan(low + (high - low) * u)))


def beta(sde, steps: int, start: float, end: float) -> Tensor:
    """t by the quantiles of Beta(0.6, 0.6) (Lee et al., 2024, Beta Sampling is All You Need, arXiv 2407.12173)."""
    from scipy.stats import beta as law

    u = torch.from_numpy(law.ppf(torch.linspace(1, 0, steps + 1, dtype=torch.float64).numpy(), 0.6, 0.6))
    return end + (start - end) * u


SPACINGS = {
    "uniform": grids.uniform,
    "quadratic": grids.quadratic,
    "log_snr": grids.log_snr,
    "karras": grids.karras,
    "beta": beta,
}
OWN = {"sine": sine}
OURS: dict[str, Callable[[int], Sampler]] = {
    "adams": lambda nfe: Adams(steps=nfe),
    "gaussian_adams": lambda nfe: GaussianAdams(steps=nfe),
}


def tuned(problem: Problem, nfe: int) -> Sampler:
    """The sampler that `scoresde.tune` finds, on other x_T than are measured here."""
    shape = (64 if problem.thin else 512, *problem.shape)
    return scoresde.tune(problem.denoiser, nfe, shape, seed=7, last="none", t_min=problem.t_min)[0].sampler


def error(x: Tensor, reference: Tensor) -> dict[str, float]:
    """`rms` and `median` over the samples of |x - reference| / sqrt(D); infinite where x is not finite."""
    away = (x - reference).flatten(1).square().mean(1).sqrt()
    found = {"rms": float(away.square().mean().sqrt()), "median": float(away.median())}
    return {kind: value if math.isfinite(value) else math.inf for kind, value in found.items()}


def run_peer(peer: Peer, denoiser, x: Tensor, spacing: Callable, nfe: int, t_min: float) -> tuple[Tensor, int]:
    """The end points of a peer and its evaluations, at most `nfe`."""
    counted = scoresde.Counted(denoiser)
    times = grids.times(spacing, denoiser.sde, peer.steps(nfe), denoiser.sde.t_max, t_min)
    with torch.no_grad():
        out = peer.run(counted, x, times, nfe)
    assert counted.calls <= nfe, f"{peer.name} used {counted.calls} evaluations of {nfe}"
    return out, counted.calls


def contestants(problem: Problem, nfe: int, with_tuned: bool) -> list[tuple[str, str, str, Callable]]:
    """(side, name, spacing, run) of all that take part; run() gives (end points, evaluations)."""
    rows = [("ours", name, "", lambda make=make: problem.ours(make(nfe))) for name, make in OURS.items()]
    if with_tuned and nfe <= 20:
        rows.append(("ours", "tuned", "", lambda: problem.ours(tuned(problem, nfe))))
    start = problem.start()
    for name, peer in peers().items():
        if peer.same or (peer.below is not None and nfe >= peer.below):
            continue
        spacings = {**SPACINGS, **{k: f for k, f in OWN.items() if k == peer.own}}
        for spacing, grid in spacings.items() if peer.places else [("own", grids.log_snr)]:
            run = lambda p=peer, g=grid: run_peer(p, problem.denoiser, start, g, nfe, problem.t_min)
            rows.append(("peer", name, spacing, run))
    return rows


def measure(problem: Problem, args) -> list[dict]:
    """A row of figures for each sampler, spacing and budget.

    From the third budget on a `thin` problem runs only the pairs (peer, spacing) that were among the best third, or the
    best twelve, by one of the figures at the budget before.
    """
    reference, rows, kept = problem.flow(), [], None
    for nfe in sorted(args.nfe):
        found = []
        for side, name, spacing, run in contestants(problem, nfe, args.tuned):
            if side == "ours" or kept is None or (name, spacing) in kept:
                x, calls = run()
                row = {"problem": problem.name, "nfe": nfe, "side": side, "name": name, "spacing": spacing}
                found.append({**row, "evaluations": calls, **error(x, reference)})
        theirs = [r for r in found if r["side"] == "peer"]
        if problem.thin and nfe >= sorted(args.nfe)[:2][-1]:
            best = [r for kind in KINDS for r in sorted(theirs, key=lambda r: r[kind])[: max(12, len(theirs) // 3)]]
            kept = {(r["name"], r["spacing"]) for r in best}
        rows += found
    return rows


def single(rows: list[dict], nfe: int) -> tuple[str, str]:
    """The peer and spacing with the least product of all figures at a budget, among those run on every problem."""
    problems, logs = {r["problem"] for r in rows}, {}
    for r in rows:
        if r["side"] == "peer" and r["nfe"] == nfe:
            logs.setdefault((r["name"], r["spacing"]), []).append(math.log(r["rms"]) + math.log(r["median"]))
    return min((k for k, v in logs.items() if len(v) == len(problems)), key=lambda k: sum(logs[k]))


def tables(rows: list[dict]) -> str:
    """The cells, and their ratios by budget."""
    names = list(dict.fromkeys(r["name"] for r in rows if r["side"] == "ours"))
    cells = ["| evaluations | problem | best peer: rms, median | best single peer | " + " | ".join(names) + " |"]
    cells += ["|---:|---|---|---|" + "---|" * len(names)]
    head = (
        "| evaluations | best single peer | sampler | over it: least, mean | over the best of each cell: least, mean |"
    )
    lines, pair = [head, "|---:|---|---|---|---|"], lambda a, b: f"{a:.1e} / {b:.1e}"
    for nfe in sorted({r["nfe"] for r in rows}):
        one, ratios = single(rows, nfe), {}
        for problem in dict.fromkeys(r["problem"] for r in rows):
            here = [r for r in rows if r["nfe"] == nfe and r["problem"] == problem]
            theirs = [r for r in here if r["side"] == "peer"]
            best = {k: min(theirs, key=lambda r, k=k: r[k]) for k in KINDS}
            that = next(r for r in theirs if (r["name"], r["spacing"]) == one)
            who = "; ".join(f"{best[k]['name']} {best[k]['spacing']} {best[k][k]:.1e}" for k in KINDS)
            shown = [f"{nfe}", problem, who, pair(*(that[k] for k in KINDS))]
            for name in names:
                us = next((r for r in here if r["name"] == name), None)
                if us is None:
                    shown.append("")
                    continue
                found = [[best[k][k] / us[k], that[k] / us[k]] for k in KINDS]
                ratios.setdefault(name, []).extend(found)
                shown.append(f"{pair(us['rms'], us['median'])} ({found[0][0]:.2f} / {found[1][0]:.2f})")
            cells.append("| " + " | ".join(shown) + " |")
        for name, found in ratios.items():
            words = []
            for i in (1, 0):
                for k in range(2):
                    values = [r[i] for r in found[k::2]]
                    words.append((min(values), math.exp(sum(map(math.log, values)) / len(values))))
            texts = [f"rms {a[0]:.2f}, {a[1]:.2f}; median {b[0]:.2f}, {b[1]:.2f}" for a, b in (words[:2], words[2:])]
            lines.append(f"| {nfe} | {' '.join(one)} | {name} | {' | '.join(texts)} |")
    return "\n".join([*lines, "", *cells])


def check() -> None:
    """Every peer must converge to the exact flow of a Gaussian, whose end point is known; equals must be equal."""
    means = torch.tensor([[1.0, -2.0]], dtype=torch.float64)
    stds = torch.tensor([[0.05, 1.0]], dtype=torch.float64)
    gaussian = scoresde.exact.GaussianMixture(torch.ones(1, dtype=torch.float64), means, stds, SDE)
    problem = Problem("gaussian", gaussian, (2,), 64)
    start = problem.start()
    (a, b), (c, d) = SDE.marginal(1.0), SDE.marginal(problem.t_min)
    exact = c * means + torch.hypot(c * stds, d) / torch.hypot(a * stds, b) * (start - a * means)
    assert error(problem.flow(), exact)["rms"] < 1e-7
    everyone = peers()
    assert {name.split()[0] for name in everyone} == set(PACKAGES), "install all the packages to check them"
    for name, peer in everyone.items():
        ends = {nfe: run_peer(peer, gaussian, start, grids.log_snr, nfe, problem.t_min)[0] for nfe in (9, 125, 500)}
        coarse, fine = (error(ends[nfe], exact)["rms"] for nfe in (125, 500))
        order = math.log(coarse / fine, 4)
        print(f"{name:48} 125: {coarse:.1e}  500: {fine:.1e}  order {order:.2f}", flush=True)
        assert fine < 1e-2 and (order > 0.75 or fine < 2e-6), f"{name} does not tend to the end point"
        if peer.same:
            twin = run_peer(everyone[peer.same], gaussian, start, grids.log_snr, 9, problem.t_min)[0]
            assert error(ends[9], twin)["rms"] < 1e-5, f"{name} is not {peer.same}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1000, help="of the mixtures (default: 1000)")
    parser.add_argument("--model", nargs="*", default=[], help="folders of trained models")
    parser.add_argument("--only", nargs="*", help="only problems with one of these words: 64-D, digits")
    parser.add_argument("--nfe", nargs="+", type=int, default=[5, 10, 20, 50, 100], help="budgets of evaluations")
    parser.add_argument("--tuned", action="store_true", help="also what scoresde.tune finds, up to 20 evaluations")
    parser.add_argument("--out", type=Path, help="write all figures as JSON")
    parser.add_argument("--check", action="store_true", help="only see that every peer tends to the right end point")
    args = parser.parse_args()
    if args.check:
        return check()
    rows = []
    for problem in [*mixtures(args.seed), *map(network, args.model)]:
        if args.only is None or any(word in problem.name for word in args.only):
            rows += measure(problem, args)
            print(f"{problem.name} done", flush=True)
            if args.out:
                args.out.write_text(json.dumps(rows, indent=1))
    print(tables(rows))


if __name__ == "__main__":
    main()
