"""Host time of one evaluation where the model is free: what a sampler does itself, beside k-diffusion's and azula's.

    OMP_NUM_THREADS=1 python benchmarks/sampling/overhead.py       # needs k-diffusion and azula, see constraints.txt
    OMP_NUM_THREADS=1 python benchmarks/sampling/overhead.py --shape 16 3 16 16 --steps 20

The free model returns half of its input, which for every package is one multiplication.  Each is called as its own
documentation does: k-diffusion by `sample_*(model, x, sigmas)` with its Karras levels, azula by `Sampler(denoiser)(x)`
with its VP schedule, ours by `sample(denoiser, sampler, shape)`, which draws x_T and places the times too.  A row is
the time of a whole call over its evaluations (a call of the model, for however many rows).  `network` has the whole of
`Preconditioned` around a network that returns its input.

Times are CPU seconds of the process, on one thread; all contenders take turns, many times over.  `ratio` is the median
over the turns of ours over the reference of the same turn, `of minima` that of the least times.  The goals: 1.2 times
`sample_euler` without noise, 2 times `sample_euler_ancestral` with it, 4 times `sample_euler` for the adaptive `ode`.
"""

import argparse
import datetime
import math
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from peers import _sampling
from samplers import Echo

import scoresde
from scoresde import sampling as ours

EULER, ANCESTRAL = "k-diffusion euler", "k-diffusion euler_ancestral"


class Free(scoresde.Denoiser):
    """The model that costs one multiplication."""

    def forward(self, x, t, **cond):
        return 0.5 * x


@dataclass
class Contender:
    """`run()` samples once with `evaluations`; `reference` is whose time it is compared with, `goal` the most."""

    run: Callable[[], object]
    evaluations: float
    reference: str | None = None
    goal: float = math.nan


def samplers(steps: int) -> dict[str, tuple[ours.Sampler, str, float]]:
    """Ours by name: the sampler with `steps` evaluations or so, whom it is compared with, and the goal."""
    one, two = {"steps": steps, "last": "none"}, {"steps": steps // 2, "last": "none"}
    plain = {
        "adams": ours.Adams(**one),
        "rectified_adams": ours.RectifiedAdams(**one),
        "ddim": ours.DDIM(**one),
        "dpmpp_2m": ours.DPMpp2M(**one),
        "heun": ours.Heun(**two),
    }
    noisy = {
        "ancestral": ours.DDIM(eta=1.0, **one),
        "euler_maruyama": ours.EulerMaruyama(**one),
        "reverse_diffusion": ours.ReverseDiffusion(**one),
        "exponential": ours.ExponentialEuler(**one),
        "dpmpp_2m_sde": ours.DPMpp2MSDE(**one),
        "sa": ours.SASolver(**one),
        "pc": ours.PC(**two),
    }
    found = {name: (s, EULER, 1.2) for name, s in plain.items()}
    found |= {name: (s, ANCESTRAL, 2.0) for name, s in noisy.items()}
    found |= {"gaussian_adams": (ours.GaussianAdams(**one), EULER, math.nan)}
    return found | {"ode": (ours.ProbabilityFlow(last="none"), EULER, 4.0)}


def mine(shape: tuple[int, ...], steps: int) -> dict[str, Contender]:
    """Ours with the free model, and within `Preconditioned`."""
    free = Free(scoresde.VP())
    network = scoresde.Preconditioned(Echo(), scoresde.VP(), "v").eval()
    found = {}
    for suffix, denoiser in (("", free), (", network", network)):
        for name, (sampler, reference, goal) in samplers(steps).items():
            counted = scoresde.Counted(denoiser)
            scoresde.sample(counted, sampler, shape)
            run = lambda d=denoiser, s=sampler: scoresde.sample(d, s, shape)
            found[name + suffix] = Contender(run, counted.calls, reference, math.nan if suffix else goal)
    return found


def k_diffusion(shape: tuple[int, ...], steps: int) -> dict[str, Contender]:
    """k-diffusion's samplers of one evaluation a step."""
    k = _sampling()
    sigmas = k.get_sigmas_karras(steps, 0.01, 80.0)[:-1]
    sigmas = torch.cat([sigmas, sigmas[-1:] / 2])
    x, model = 80 * torch.randn(shape), lambda x, sigma: 0.5 * x
    names = ("euler", "euler_ancestral", "dpmpp_2m")
    found = {f"k-diffusion {name}": getattr(k, f"sample_{name}") for name in names}
    return {name: Contender(lambda run=run: run(model, x, sigmas, disable=True), steps) for name, run in found.items()}


def azula(shape: tuple[int, ...], steps: int) -> dict[str, Contender]:
    """azula's DDIM, DDPM and the Adams-Bashforth of order 3 in rectified coordinates."""
    from azula import denoise, noise, sample

    class FreeToo(denoise.Denoiser):
        def __init__(self):
            super().__init__()
            self.schedule = noise.VPSchedule()

        def forward(self, x_t, t, **kwargs):
            return denoise.DiracPosterior(mean=0.5 * x_t)

    x, model = torch.randn(shape), FreeToo()
    made = {
        "azula DDIM": sample.DDIMSampler(model, steps=steps, silent=True),
        "azula DDPM": sample.DDPMSampler(model, steps=steps, silent=True),
        "azula vAB 3": sample.vABSampler(model, order=3, steps=steps, silent=True),
    }
    return {name: Contender(lambda s=s: s(x), steps) for name, s in made.items()}


def measure(contenders: dict[str, Contender], turns: int) -> dict[str, list[float]]:
    """CPU seconds an evaluation, `turns` of each in turn; a call that is not timed comes before each that is."""
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(turns):
        for name, contender in contenders.items():
            contender.run()  # else who follows another package pays for filling the caches
            began = time.process_time()
            contender.run()
            found[name].append((time.process_time() - began) / contender.evaluations)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs="+", default=[64, 2], help="of the samples (default: 64 2)")
    parser.add_argument("--steps", type=int, default=50, help="evaluations of a call, about (default: 50)")
    parser.add_argument("--turns", type=int, default=60, help="of each contender (default: 60)")
    parser.add_argument("--only", default="", help="only ours with this in their name")
    args = parser.parse_args()
    torch.set_num_threads(1)
    shape = tuple(args.shape)
    contenders = k_diffusion(shape, args.steps) | azula(shape, args.steps)
    contenders |= {name: c for name, c in mine(shape, args.steps).items() if args.only in name}
    found = measure(contenders, args.turns)
    print(f"{datetime.date.today()}  torch {torch.__version__}  python {platform.python_version()}  1 thread")
    print(f"{shape}, {args.steps} evaluations a call, {args.turns} turns, microseconds of CPU an evaluation\n")
    print("| sampler | least | median | ratio | of minima | goal |\n|---|---:|---:|---:|---:|---:|")
    for name, contender in contenders.items():
        times = found[name]
        least, middle = (f"{1e6 * t:.0f}" for t in (min(times), statistics.median(times)))
        ratios = " | | |"
        if contender.reference:
            theirs = found[contender.reference]
            ratio = statistics.median(a / b for a, b in zip(times, theirs, strict=True))
            goal = "" if math.isnan(contender.goal) else f"{contender.goal:g}"
            ratios = f" {ratio:.2f} | {min(times) / min(theirs):.2f} | {goal} |"
        print(f"| {name} | {least} | {middle} |{ratios}")


if __name__ == "__main__":
    main()
