"""Samples per second of a student and of its teacher at equal Frechet distance.

    python benchmarks/few_steps/speed.py STUDENT [TEACHER] --steps 1 2 4

For each number of the student's steps, the teacher takes the fewest steps with which it is no worse: the 95 % interval
of its Frechet distance, of `--n` samples as `task=evaluate` has it, overlaps the student's or lies below it; by
`adams`, `dpmpp_2m` and `gaussian_adams`.  Both then draw the same number of samples in batches of one size, by turns,
and the ratio is the median of the rounds.  The floor of each is its evaluations times the time of one evaluation of the
network alone at that batch size.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import scoresde
from benchmarks.few_steps.judge import Judge, drawn, words
from scoresde.denoiser import Counted
from scoresde.metrics import Estimate
from scoresde.model.teacher import teacher_of
from scoresde.sampling import Adams, DPMpp2M, GaussianAdams, Jump, Renoise, Sampler, sample

STEPS = (1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 50)
KINDS = {"adams": Adams, "dpmpp_2m": DPMpp2M, "gaussian_adams": lambda steps: GaussianAdams(steps=steps, last="none")}


def equal(far: Callable[[Sampler], Estimate], name: str, wanted: Estimate, known: dict) -> tuple | None:
    """The sampler of fewest steps that is no worse than the student's figure, and its own; None: none of `STEPS` is."""
    for steps in STEPS:
        sampler = KINDS[name](steps=steps)
        if (name, steps) not in known:
            known[name, steps] = far(sampler)
        if known[name, steps].low <= wanted.high:
            return sampler, known[name, steps]
    return None


def seconds(model: scoresde.Model, sampler: Sampler, n: int) -> float:
    """Of a batch of n, which the host has seen."""
    began = time.perf_counter()
    sample(model, sampler, (n, *model.shape), progress=False).cpu()
    return time.perf_counter() - began


@torch.no_grad()
def bare(model: scoresde.Model, n: int) -> float:
    """Seconds of one evaluation of the network of n rows, the least of 5."""
    device, found = next(model.parameters()).device, []
    x, c = torch.randn(n, *model.shape, device=device), torch.zeros(n, device=device)
    cond = ({},) if model.bare.conditions or model.bare.made else ()
    for _ in range(5):
        began = time.perf_counter()
        model.bare.net(x, c, *cond).cpu()
        found.append(time.perf_counter() - began)
    return min(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("student", type=Path)
    parser.add_argument("teacher", type=Path, nargs="?", help="by default the one that the student was made of")
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 2, 4], help="of the student")
    parser.add_argument("--n", type=int, default=2000, help="samples of a Frechet distance")
    parser.add_argument("--judge", type=Path, help="a classifier that task=evaluate has kept")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="cpu", help="cpu, cuda")
    given = parser.parse_args()
    student, teacher, known = scoresde.load(given.student), teacher_of(given.student, given.teacher), {}
    student, teacher = student.to(given.device), teacher.to(given.device)
    judge = Judge(scoresde.data.digits(), given.judge)
    floors = {"student": bare(student, given.batch), "teacher": bare(teacher, given.batch)}
    print(
        f"one evaluation of the network alone, batch of {given.batch}:", *(f"{v * 1e3:.1f} ms" for v in floors.values())
    )
    print("| student | Frechet | teacher | Frechet | samples/s, student | teacher | ratio | of the floors |")
    print("|---|---|---|---|---:|---:|---|---:|")
    for steps in given.steps:
        own = (Renoise if student.lands == "data" else Jump)(steps=steps)
        mine = judge(drawn(student, own, given.n).cpu())
        for name in KINDS:
            found = equal(lambda sampler: judge(drawn(teacher, sampler, given.n).cpu()), name, mine, known)
            cells = [f"{type(own).__name__} {steps}", words(mine)]
            if found is None:
                print(f"| {' | '.join(cells)} | {name}: none up to {STEPS[-1]} | | | | | |")
                continue
            cells += [f"{name} {found[0].steps}", words(found[1])]
            more = timed(((student, own), (teacher, found[0])), floors, given)
            print(f"| {' | '.join([*cells, *more])} |", flush=True)


def timed(both: tuple, floors: dict[str, float], given: argparse.Namespace) -> list[str]:
    """Samples a second of each of two models with their samplers, drawn by turns, the ratio, and that of the floors."""
    rounds = [[seconds(*one, given.batch) for one in both] for _ in range(given.rounds + 1)][1:]
    rates = [f"{given.batch / statistics.median(times):.0f}" for times in zip(*rounds, strict=True)]
    ratios, calls = sorted(b / a for a, b in rounds), []
    for model, sampler in both:
        counted = Counted(model)
        sample(counted, sampler, (2, *model.shape), progress=False)
        calls.append(counted.calls)
    least = calls[1] * floors["teacher"] / (calls[0] * floors["student"])
    return [*rates, f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})", f"{least:.2f}"]


if __name__ == "__main__":
    main()
