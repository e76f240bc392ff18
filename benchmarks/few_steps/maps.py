"""How far each method of few steps ends from the exact end points of the flow: mixtures, whose teacher is exact.

    OMP_NUM_THREADS=1 python benchmarks/few_steps/maps.py --problem ring --sde vp --out maps.json   # all methods
    OMP_NUM_THREADS=1 python benchmarks/few_steps/maps.py --problem ring --sde vp --method meanflow --out maps.json
    python benchmarks/few_steps/maps.py --table --out maps.json

`ring` is the toy of that name, eight Gaussians of deviation 0.07 on a circle of radius 1.41; `64d` are eight Gaussians
of 64 numbers, of unit variance a coordinate together.  A student is an MLP of width 64 and 4 blocks in float32, which
begins with random weights, as the teacher is no network; every method has the steps of `METHODS`, batches of 128 and
the same learning rate, and is measured with its averaged weights.  A figure is the root mean square over 2000 noises
and the coordinates of the distance to where the flow of the exact denoiser ends, in float64 with rtol = atol = 1e-9, in
1, 2 and 4 jumps along the flow; its standard error is that of the mean square, by the delta method.  A dash: the
method has not learned that many steps.  `ddim` and `adams` are the exact teacher's own steps.  Seconds are the
processor's.
"""

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

import scoresde
from scoresde.conditions import Landing
from scoresde.denoiser import Denoiser, FlowMap, Preconditioned
from scoresde.exact import GaussianMixture
from scoresde.nets import MLP
from scoresde.objectives import SCM, Consistency, MeanFlow, Pairs, Progressive, Reflow, Shortcut, Trajectory
from scoresde.sampling import DDIM, Adams, Jump, ProbabilityFlow, Sampler, sample
from scoresde.sde import SDE, VE, VP, Linear

SDES: dict[str, SDE] = {"vp": VP(), "ve": VE(), "linear": Linear()}
N = 2000  # noises


class Method(NamedTuple):
    """An objective, its settings, the steps of its training, and whether it has the teacher."""

    objective: type
    settings: dict[str, Any]
    steps: int
    teacher: bool = True


METHODS = {
    "progressive": Method(Progressive, {"first": 32, "stage": 450}, 3600),
    "knowledge": Method(Pairs, {"n": 20000, "steps": 32}, 3000),
    "reflow": Method(Reflow, {"n": 20000, "steps": 32}, 3000),
    "consistency": Method(Consistency, {"first": 8, "last": 16, "grows": 2000, "huber": 0.0}, 3000),
    "consistency_training": Method(Consistency, {"first": 4, "last": 64, "grows": 2000, "huber": 0.06}, 3000, False),
    "ect": Method(Consistency, {"first": 4, "last": 64, "grows": 2000, "huber": 0.0}, 3000, False),
    "scm": Method(SCM, {"warmup": 500}, 2500),
    "scm_training": Method(SCM, {"warmup": 500}, 2500, False),
    "meanflow": Method(MeanFlow, {"small": 1.0}, 2500),
    "meanflow_data": Method(MeanFlow, {"small": 1.0}, 2500, False),
    "shortcut": Method(Shortcut, {}, 3000),
    "shortcut_data": Method(Shortcut, {}, 3000, False),
    "ctm": Method(Trajectory, {"reach": 0.125, "huber": 0.0}, 2500),
}


def ring(sde: SDE) -> GaussianMixture:
    """The density of `data=toy data.kind=ring`, in deviations of its data."""
    angle, unit = torch.arange(8, dtype=torch.float64) * math.pi / 4, math.sqrt(2.01)
    return GaussianMixture(torch.ones(8), 2 / unit * torch.stack([angle.cos(), angle.sin()], 1), 0.1 / unit, sde)


def many(sde: SDE) -> GaussianMixture:
    """Eight Gaussians of 64 numbers with deviations of their own, of unit variance a coordinate together."""
    generator = torch.Generator().manual_seed(0)
    stds = 0.3 + 0.3 * torch.rand(8, 64, generator=generator, dtype=torch.float64)
    means = torch.randn(8, 64, generator=generator, dtype=torch.float64)
    means = means - means.mean(0)
    unit = (means.square().mean() + stds.square().mean()).sqrt()
    return GaussianMixture(torch.ones(8), means / unit, stds / unit, sde)


PROBLEMS = {"ring": ring, "64d": many}


def ends(model: Denoiser, shape: tuple[int, ...], sampler: Sampler, dtype: torch.dtype) -> Tensor:
    """Where samples of seed 5 end, in float64."""
    return sample(model, sampler, shape, seed=5, dtype=dtype, progress=False).double()


def apart(x: Tensor, exact: Tensor) -> tuple[float, float]:
    """The root mean square distance a coordinate, and its standard error."""
    square = (x - exact).square().mean(1)
    root = float(square.mean().sqrt())
    return root, float(square.std()) / math.sqrt(len(square)) / (2 * root)


def trained(method: Method, exact: GaussianMixture, args, more: dict) -> tuple[Denoiser, float]:
    """The student of a method, and the seconds of its training."""
    sde, shape = exact.sde, tuple(exact.means.shape[1:])
    settings = method.settings | more
    data = scoresde.data.as_data(exact.sample(20000, seed=1).float())
    torch.manual_seed(args.seed)
    lands = method.objective.learns(sde, **settings)
    net = MLP(shape, width=args.width, blocks=4, conditions={"landing": Landing()} if lands == "any" else None)
    plain = lands is None
    student = Preconditioned(net, sde, "v") if plain else FlowMap(net, sde, "v", lands)
    teacher = PROBLEMS[exact.name](sde).float() if method.teacher else None
    steps = round(args.scale * method.steps)
    for name in ("stage", "grows", "warmup"):
        settings |= {name: round(args.scale * settings[name])} if name in settings else {}
    objective = method.objective(student, data, teacher, **settings)
    training = scoresde.Training(
        steps=steps,
        batch_size=args.batch,
        lr=args.lr,
        warmup=100,
        ema=0.998,
        seed=args.seed,
        validate_every=steps,
        log_every=max(steps // 5, 1),
    )
    began = time.process_time()
    model = scoresde.fit(objective, data, training, device="cpu", progress=False)
    return model, time.process_time() - began


def reference(exact: GaussianMixture) -> Tensor:
    """The exact end points."""
    return ends(exact, (N, *exact.means.shape[1:]), ProbabilityFlow(rtol=1e-9, atol=1e-9), torch.float64)


def measured(model: Denoiser, exact: Tensor) -> dict[str, tuple[float, float]]:
    """The figures of 1, 2 and 4 jumps, as far as the student can."""
    chain = isinstance(model.lands, tuple)
    can = [n for n in (1, 2, 4) if (len(model.lands) - 1 == n if chain else model.lands != "data" or n == 1)]
    return {str(n): apart(ends(model, tuple(exact.shape), Jump(steps=n), torch.float32), exact) for n in can}


def own(exact: GaussianMixture, there: Tensor) -> list[dict]:
    """The rows of the exact teacher's own steps."""
    shape = tuple(there.shape)
    rows = []
    for name, made in (
        ("ddim", lambda n: DDIM(steps=n, grid="uniform_angle", last="none")),
        ("adams", lambda n: Adams(steps=n, last="none")),
    ):
        found = {str(n): apart(ends(exact, shape, made(n), torch.float64), there) for n in (1, 2, 4, 8)}
        rows.append({"method": name, "seconds": 0.0, "distance": found})
    return rows


def table(rows: list[dict]) -> str:
    """The newest row of each method, for each problem and SDE."""
    newest, out = {(r["problem"], r["sde"], r["method"]): r for r in rows}, []
    order = ["ddim", "adams", *METHODS]
    for problem, sde in dict.fromkeys(key[:2] for key in newest):
        out += [f"\n**{problem}, {sde}**\n", "| method | 1 step | 2 steps | 4 steps | 8 steps | seconds |"]
        out += ["|---|---:|---:|---:|---:|---:|"]
        found = [row for key, row in newest.items() if key[:2] == (problem, sde)]
        for row in sorted(found, key=lambda row: order.index(row["method"])):
            known = [row["distance"].get(n) for n in "1248"]
            cells = [f"{value[0]:.3f} ± {value[1]:.3f}" if value else "–" for value in known]
            seconds = f"{row['seconds']:.0f}" if row["seconds"] else "–"
            out.append(f"| `{row['method']}` | {' | '.join(cells)} | {seconds} |")
    return "\n".join(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problem", nargs="+", default=["ring"], choices=PROBLEMS)
    parser.add_argument("--sde", nargs="+", default=["vp"], choices=SDES)
    parser.add_argument("--method", nargs="+", default=["own", *METHODS], choices=["own", *METHODS])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0, help="of the steps of each training")
    parser.add_argument("--set", nargs="*", default=[], help="settings of the method, huber=0.1")
    parser.add_argument("--out", type=Path, default=Path("maps.json"))
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--table", action="store_true", help="print the table of --out")
    args = parser.parse_args()
    rows = json.loads(args.out.read_text()) if args.out.exists() else []
    if args.table:
        print(table(rows))
        return
    more = {k: json.loads(v) for k, v in (word.split("=") for word in args.set)}
    for problem in args.problem:
        for sde in args.sde:
            exact = PROBLEMS[problem](SDES[sde])
            exact.name = problem
            there = reference(exact)
            for name in args.method:
                if name == "own":
                    found = own(exact, there)
                else:
                    model, seconds = trained(METHODS[name], exact, args, more)
                    found = [{"method": name, "seconds": seconds, "distance": measured(model, there)}]
                for row in found:
                    row |= {
                        "problem": problem,
                        "sde": sde,
                        "seed": args.seed,
                        "set": more,
                        "scale": args.scale,
                        "width": args.width,
                        "batch": args.batch,
                        "lr": args.lr,
                    }
                    print(json.dumps(row), flush=True)
                rows = json.loads(args.out.read_text()) if args.out.exists() else []
                args.out.write_text(json.dumps(rows + found, indent=1))


if __name__ == "__main__":
    main()
