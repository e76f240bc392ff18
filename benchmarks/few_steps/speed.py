"""Samples per second of a student and of its teacher at equal Frechet distance.

    python benchmarks/few_steps/speed.py STUDENT [TEACHER] --steps 1 2 4

For each number of the student's steps, the teacher takes the fewest steps with which its 95 % interval of the Frechet
distance (`task=evaluate`, `--n` samples) overlaps the student's, by `adams` and by `dpmpp_2m`.  Both then draw the same
number of samples in batches of one size, by turns, and the ratio is the median of the rounds.  The floor of each is its
evaluations times the time of one evaluation of the network alone at that batch size.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import scoresde
from benchmarks.few_steps.data import cell, evaluated, kept
from scoresde.denoiser import Counted
from scoresde.model.folder import described
from scoresde.sampling import Adams, DPMpp2M, Jump, Renoise, Sampler, sample

STEPS = (1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 50)
KINDS = {"adams": Adams, "dpmpp_2m": DPMpp2M}


def overlap(a: dict, b: dict) -> bool:
    """Whether two intervals of the Frechet distance have a point in common."""
    return a["frechet_low"] <= b["frechet_high"] and b["frechet_low"] <= a["frechet_high"]


def equal(teacher: Path, name: str, wanted: dict, n: int, known: dict) -> tuple[int, dict] | None:
    """The fewest steps of the teacher whose interval overlaps that of the student, and its figures; None: none do."""
    for steps in STEPS:
        if (name, steps) not in known:
            known[name, steps] = kept(evaluated(teacher, n, f"sampler={name}", f"sampler.steps={steps}"))
        if overlap(known[name, steps], wanted):
            return steps, known[name, steps]
    return None


def seconds(model: scoresde.Model, sampler: Sampler, n: int) -> float:
    """Of a batch of n."""
    began = time.perf_counter()
    sample(model, sampler, (n, *model.shape), progress=False)
    return time.perf_counter() - began


@torch.no_grad()
def bare(model: scoresde.Model, n: int) -> float:
    """Seconds of one evaluation of the network of n rows, the least of 5."""
    x, c, found = torch.randn(n, *model.shape), torch.zeros(n), []
    cond = ({},) if model.bare.conditions or model.bare.made else ()
    for _ in range(5):
        began = time.perf_counter()
        model.bare.net(x, c, *cond)
        found.append(time.perf_counter() - began)
    return min(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("student", type=Path)
    parser.add_argument("teacher", type=Path, nargs="?", help="by default the one that the student was made of")
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 2, 4], help="of the student")
    parser.add_argument("--n", type=int, default=2000, help="samples of a Frechet distance")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    home = given.teacher or Path(described(given.student)["teacher"]["folder"])
    student, teacher, known = scoresde.load(given.student), scoresde.load(home), {}
    floors = {"student": bare(student, given.batch), "teacher": bare(teacher, given.batch)}
    print(
        "one evaluation of the network alone, batch of",
        given.batch,
        {k: f"{1e3 * v:.1f} ms" for k, v in floors.items()},
    )
    print("| student | Frechet | teacher | Frechet | samples/s, student | teacher | ratio | of the floors |")
    print("|---|---|---|---|---:|---:|---|---:|")
    for steps in given.steps:
        name = "renoise" if student.lands == "data" else "jump"
        own = {"renoise": Renoise, "jump": Jump}[name](steps=steps)
        mine = kept(evaluated(given.student, given.n, f"sampler={name}", f"sampler.steps={steps}"))
        for kind, make in KINDS.items():
            found = equal(home, kind, mine, given.n, known)
            if found is None:
                print(f"| {name} {steps} | {cell(mine, 'frechet')} | {kind}: none up to {STEPS[-1]} | | | | | |")
                continue
            both = ((student, own), (teacher, make(steps=found[0])))
            cells = [f"{name} {steps}", cell(mine, "frechet"), f"{kind} {found[0]}", cell(found[1], "frechet")]
            print(f"| {' | '.join([*cells, *timed(both, floors, given)])} |", flush=True)


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
