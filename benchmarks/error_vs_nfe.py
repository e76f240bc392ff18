"""How far few-step samplers end from the exact end point of the flow: ours beside diffusers, k-diffusion and azula.

    python -m venv .bench; .bench/bin/pip install -c constraints.txt -c benchmarks/constraints.txt -e '.[bench]'
    .bench/bin/pip install --no-deps -c benchmarks/constraints.txt azula k-diffusion
    python run.py task=train sde=vp                                # prints the folder of the digits model
    OMP_NUM_THREADS=1 .bench/bin/python benchmarks/error_vs_nfe.py --model FOLDER --out table.json
    .bench/bin/python benchmarks/error_vs_nfe.py --check           # the peers' wrappers alone, a minute

VP (beta 0.1 to 20) from t = 1 to a common `--t-min`, every sampler from the same x_T with the same denoiser, in float64
(some schedulers of diffusers go through float32).  `rms` is the root mean square over the samples of |x - reference| /
sqrt(D), `median` its median; the reference is our adaptive flow at rtol = atol = 1e-9 (digits: 1e-6).  `sliced` (sliced
Wasserstein, 128 directions) and `energy` (energy distance) lie between the end points and as many independent exact
samples of p_{t_min}; their floors are two independent exact sets.

Every peer is run with every spacing of its times in `SPACINGS`, and a table shows the one with the least rms at each
budget: a choice made on the figures shown, in the peers' favour.  Ours are chosen in the same way among `OURS`, and the
one that is the default, `DEFAULT`, is always shown.  `tuned` is what `scoresde.tune` finds, on other x_T.  `--share`
shows apart how the peers do with spacings that they do not offer, our grids and IPNDM's.  A budget is an upper bound:
samplers of two evaluations a step use one less when it is odd.  With few evaluations some samples of modes64 end in
another mode than the flow; each adds much to the rms of all, so it takes many samples to compare: read the median too.
"""

import argparse
import dataclasses
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from peers import PACKAGES, Peer, peers
from torch import Tensor

import scoresde
from scoresde import grids, noise
from scoresde.sampling import DDIM, Adams, DPMpp, DPMpp2M, Heun, ProbabilityFlow, RectifiedAdams, Sampler, UniPC
from scoresde.tuning import tune

SDE = scoresde.VP()


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
OUR_SPACINGS = {name: grids.GRIDS[name] for name in ("angle", "uniform_angle", "cosine_angle")}
BY_ANGLE = {"sine": sine, **OUR_SPACINGS}

# name -> (evaluations -> sampler); last step and end time are set by the benchmark.
DEFAULT = "Adams(order=2, correct=True) angle"  # what `sampler=adams` is
OURS: dict[str, Callable[[int], Sampler]] = {}
for grid in ("angle", "uniform_angle", "cosine_angle", "quadratic", "log_snr"):
    for order, correct in ((1, False), (2, False), (3, False), (4, False), (1, True), (2, True), (3, True), (4, True)):
        for kind in (Adams, RectifiedAdams):
            OURS[f"{kind.__name__}(order={order}, correct={correct}) {grid}"] = (
                lambda nfe, kind=kind, order=order, correct=correct, grid=grid: kind(
                    steps=nfe, order=order, correct=correct, grid=grid
                )
            )
    OURS[f"Adams(order=4, runge_kutta) {grid}"] = lambda nfe, grid=grid: Adams(
        steps=max(1, nfe - 12), order=4 if nfe > 12 else 1, start="runge_kutta", grid=grid
    )
    OURS[f"DDIM {grid}"] = lambda nfe, grid=grid: DDIM(steps=nfe, grid=grid)
    OURS[f"Heun {grid}"] = lambda nfe, grid=grid: Heun(steps=nfe // 2, grid=grid)
    OURS[f"DPMpp2M {grid}"] = lambda nfe, grid=grid: DPMpp2M(steps=nfe, grid=grid)
    OURS[f"DPMpp(order=3) {grid}"] = lambda nfe, grid=grid: DPMpp(steps=nfe, grid=grid)
    for order in (2, 3):
        OURS[f"UniPC(order={order}) {grid}"] = lambda nfe, order=order, grid=grid: UniPC(
            steps=nfe, order=order, grid=grid
        )


@dataclass
class Problem:
    """A denoiser and what is drawn: `n` samples of `shape`; `thin`: too slow for every peer (see `measure`)."""

    name: str
    denoiser: scoresde.Denoiser
    shape: tuple[int, ...]
    n: int
    tolerance: float
    t_min: float
    thin: bool = False

    def start(self, seed: int = 0) -> Tensor:
        """x_T as `scoresde.sample` draws it."""
        like = torch.empty(self.n, *self.shape, dtype=torch.float64)
        return self.denoiser.sde.prior(noise.normal(like, torch.arange(self.n), seed, 0, 0))

    def ours(self, sampler: Sampler, denoiser=None, seed: int = 0) -> Tensor:
        """The end points of one of our samplers, from `start(seed)`, without a last step."""
        sampler = dataclasses.replace(sampler, last="none", t_min=self.t_min)
        return scoresde.sample(denoiser or self.denoiser, sampler, (self.n, *self.shape), seed, dtype=torch.float64)

    def flow(self, seed: int = 0) -> Tensor:
        """The exact end points."""
        return self.ours(ProbabilityFlow(rtol=self.tolerance, atol=self.tolerance), seed=seed)

    def exact(self, seed: int) -> Tensor:
        """Independent samples of p_{t_min}."""
        if isinstance(self.denoiser, scoresde.exact.GaussianMixture):
            return self.denoiser.sample(self.n, self.t_min, seed)
        return self.flow(seed)


def side(name: str, spacing: str, ours: bool) -> str:
    """ "ours", "tuned" for the one fitted to the model, "peer", or "shared": a peer with a spacing that it lacks."""
    if ours:
        return "tuned" if name == "tuned" else "ours"
    return "shared" if spacing in BY_ANGLE and spacing != peers()[name].own else "peer"


def tuned(problem: Problem, nfe: int) -> Sampler | None:
    """The sampler that `scoresde.tuning.tune` finds for up to 20 evaluations, on other x_T than are measured here."""
    if nfe > 20:
        return None
    shape = (64 if problem.thin else 512, *problem.shape)
    best = tune(problem.denoiser, nfe, shape, seed=7, last="none", t_min=problem.t_min)[0]
    print(f"{'':20}tuned: {best.name}, {best.grid} grid, {best.rms:.2e} / {best.median:.2e} on its own x_T", flush=True)
    return best.sampler


def ring(t_min: float) -> Problem:
    """Eight modes on a circle of radius 1, standard deviation 0.1."""
    angle = torch.arange(8, dtype=torch.float64) * math.pi / 4
    means = torch.stack([angle.cos(), angle.sin()], 1)
    mixture = scoresde.exact.GaussianMixture(torch.ones(8, dtype=torch.float64), means, 0.1, SDE)
    return Problem("ring", mixture, (2,), 1024, 1e-9, t_min)


def modes(t_min: float) -> Problem:
    """Ten modes in 64 dimensions: means of standard deviation 1, components 0.1 to 0.5."""
    means = noise.normal(torch.empty(10, 64, dtype=torch.float64), torch.arange(10), 1, 0, 0)
    stds = torch.linspace(0.1, 0.5, 10, dtype=torch.float64)
    weights = torch.linspace(1, 2, 10, dtype=torch.float64)
    return Problem("modes64", scoresde.exact.GaussianMixture(weights, means, stds, SDE), (64,), 1024, 1e-9, t_min)


def digits(t_min: float, folder: str) -> Problem:
    """A trained network of 8x8 digits, its folder given by --model."""
    denoiser = scoresde.load(folder).eval()
    return Problem("digits", denoiser, tuple(denoiser.shape), 128, 1e-6, t_min, thin=True)


def distances(x: Tensor, y: Tensor) -> dict[str, float]:
    """Sliced Wasserstein-1 over 128 fixed directions, and the energy distance, of two sets of one size."""
    x, y = x.flatten(1), y.flatten(1)
    rays = torch.randn(x.shape[1], 128, dtype=x.dtype, generator=torch.Generator().manual_seed(0))
    rays = rays / rays.norm(dim=0)
    sliced = ((x @ rays).sort(0).values - (y @ rays).sort(0).values).abs().mean()
    energy = 2 * torch.cdist(x, y).mean() - torch.cdist(x, x).mean() - torch.cdist(y, y).mean()
    return {"sliced": float(sliced), "energy": float(energy)}


def error(x: Tensor, reference: Tensor) -> dict[str, float]:
    """`rms` and `median` over the samples of |x - reference| / sqrt(D)."""
    away = (x - reference).flatten(1).square().mean(1).sqrt()
    return {"rms": float(away.square().mean().sqrt()), "median": float(away.median())}


def run_peer(peer: Peer, denoiser, x: Tensor, spacing: Callable, nfe: int, t_min: float) -> tuple[Tensor, int]:
    """The end points of a peer and its evaluations, at most `nfe`."""
    counted = scoresde.Counted(denoiser)
    times = grids.times(spacing, denoiser.sde, peer.steps(nfe), denoiser.sde.t_max, t_min)
    with torch.no_grad():
        out = peer.run(counted, x, times, nfe)
    assert counted.calls <= nfe, f"{peer.name} used {counted.calls} evaluations of {nfe}"
    return out, counted.calls


def contestants(problem: Problem, nfe: int, args) -> list[tuple[str, str, bool, Callable]]:
    """(name, spacing, ours, run) of all that take part; run() gives (end points, evaluations)."""

    def ours(sampler: Sampler):
        counted = scoresde.Counted(problem.denoiser)
        return problem.ours(sampler, counted), counted.calls

    rows = [(name, "", True, lambda make=make: ours(make(nfe))) for name, make in OURS.items()]
    fitted = tuned(problem, nfe)
    if fitted is not None:
        rows.append(("tuned", "", True, lambda: ours(fitted)))
    start = problem.start()
    for name, peer in peers().items():
        if (peer.below is not None and nfe >= peer.below) or (problem.thin and peer.same):
            continue
        spacings = {**SPACINGS, **{k: f for k, f in BY_ANGLE.items() if args.share or k == peer.own}}
        if not peer.places:
            spacings = {"own": grids.log_snr}
        for spacing, grid in spacings.items():
            run = lambda p=peer, g=grid: run_peer(p, problem.denoiser, start, g, nfe, problem.t_min)
            rows.append((name, spacing, False, run))
    return [row for row in rows if args.only in row[0]]


def measure(problem: Problem, args) -> list[dict]:
    """A row of figures for each sampler, spacing and budget.

    A `thin` problem leaves out the peers that compute the same as another one, and runs, from the third budget on, only
    the third of the pairs (peer, spacing) that was best at the budget before.
    """
    reference, truth = problem.flow(), problem.exact(1001)
    floor = distances(problem.exact(1002), truth)
    rows, kept = [], None
    for nfe in sorted(args.nfe):
        found = []
        for name, spacing, our, run in contestants(problem, nfe, args):
            if kept is None or (name, spacing) in kept or name in (DEFAULT, "tuned"):
                x, calls = run()
                who = {"problem": problem.name, "nfe": nfe, "side": side(name, spacing, our)}
                found.append(
                    {
                        **who,
                        "name": name,
                        "spacing": spacing,
                        "evaluations": calls,
                        **error(x, reference),
                        **distances(x, truth),
                    }
                )
        if problem.thin and nfe >= sorted(args.nfe)[:2][-1]:
            sides = [sorted((r for r in found if r["side"] == each), key=_rms) for each in ("ours", "peer", "shared")]
            kept = {(r["name"], r["spacing"]) for rows in sides for r in rows[: max(12, len(rows) // 3)]}
        flow = {"problem": problem.name, "nfe": nfe, "name": "exact", "spacing": "", "side": "exact", "evaluations": 0}
        rows += [*found, {**flow, "rms": 0.0, "median": 0.0, **distances(reference, truth), "floor": floor}]
        table(found, args.all)
    flow = distances(reference, truth)
    print(f"{problem.name}: exact end points: {_show(flow)}; two independent exact sets: {_show(floor)}\n", flush=True)
    return rows


def _show(figures: dict) -> str:
    return ", ".join(f"{name} {value:.2e}" for name, value in figures.items())


def _rms(row: dict) -> float:
    return row["rms"] if math.isfinite(row["rms"]) else math.inf


def best(rows: list[dict]) -> list[dict]:
    """Each sampler with its best spacing, the best first."""
    names = {row["name"]: None for row in rows}
    return sorted((min((r for r in rows if r["name"] == name), key=_rms) for name in names), key=_rms)


def table(rows: list[dict], everything: bool) -> None:
    """Prints one budget of one problem: the best of each side, and with `everything` all the others."""
    sides = {each: best([r for r in rows if r["side"] == each]) for each in ("ours", "tuned", "peer", "shared")}
    shown = [r for side in sides.values() for r in (side if everything else side[:1])]
    shown += [r for r in sides["ours"] if r["name"] == DEFAULT and r not in shown]
    for row in sorted(shown, key=_rms):
        figures = "".join(f"{row[k]:11.2e}" for k in ("rms", "median", "sliced", "energy"))
        label = f"{row['side']:8}{row['name']} {row['spacing']}"
        print(f"{row['problem']:9}{row['nfe']:4}{row['evaluations']:5}  {label:64}{figures}", flush=True)
    for each in ("ours", "tuned"):
        for peer in ("peer", "shared") if sides[each] else ():
            for kind in ("rms", "median") if sides[peer] else ():
                least, us = (
                    min(r[kind] for r in rows if r["side"] == peer),
                    min(r[kind] for r in rows if r["side"] == each),
                )
                print(f"{'':20}least {kind} of {peer} over that of {each}: {least / us:.2f}", flush=True)


def check() -> None:
    """Every peer must converge to the exact flow of a Gaussian, whose end point is known; equals must be equal."""
    means = torch.tensor([[1.0, -2.0]], dtype=torch.float64)
    stds = torch.tensor([[0.05, 1.0]], dtype=torch.float64)
    gaussian = scoresde.exact.GaussianMixture(torch.ones(1, dtype=torch.float64), means, stds, SDE)
    problem = Problem("gaussian", gaussian, (2,), 64, 1e-9, 1e-3)
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
    parser.add_argument("--problem", nargs="+", default=["ring", "modes64", "digits"], help="ring, modes64, digits")
    parser.add_argument("--nfe", nargs="+", type=int, default=[5, 10, 20, 50, 100], help="budgets of evaluations")
    parser.add_argument("--only", default="", help="only samplers with this in their name")
    parser.add_argument("--model", help="the folder of a trained model, for digits (skipped without it)")
    parser.add_argument("--n", type=int, help="samples (default: 1024, digits 128)")
    parser.add_argument("--t-min", type=float, default=1e-3, help="the end time (default: 1e-3)")
    parser.add_argument("--share", action="store_true", help="also the peers with grids that they lack")
    parser.add_argument("--all", action="store_true", help="print every sampler")
    parser.add_argument("--out", type=Path, help="write all figures as JSON")
    parser.add_argument("--check", action="store_true", help="only see that every peer tends to the right end point")
    args = parser.parse_args()
    if args.check:
        return check()
    given = {"n": args.n} if args.n else {}
    rows = []
    print(f"{'problem':9}{'nfe':>4}{'used':>5}  {'':64}{'rms':>11}{'median':>11}{'sliced':>11}{'energy':>11}")
    for name in args.problem:
        if name != "digits":
            problem = {"ring": ring, "modes64": modes}[name](args.t_min)
        elif args.model:
            problem = digits(args.t_min, args.model)
        else:
            continue
        rows += measure(dataclasses.replace(problem, **given), args)
        if args.out:
            args.out.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
