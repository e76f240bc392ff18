"""How much farther a student's samples are than its teacher's, by one jackknife of both: digits.

    python benchmarks/few_steps/paired.py STUDENT... --teacher runs/digits --steps 1 --n 10000 [--device cuda]

The interval of one Frechet distance to the 300 held-out digits is mostly theirs, and all samples share it.  Here
held-out items, samples and real items are dealt into the same 20 groups and left out together: `farther` is the
student's distance less the teacher's, `beyond` is that above the floor less twice the teacher's above it,

    (d_student - floor) - 2 (d_teacher - floor),

below zero where the student is at most twice as far from the floor; 95 % intervals.  The floor is of the training items
that did not train the judge.
"""

import argparse
import sys
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import scoresde
from benchmarks.few_steps.judge import Judge, drawn
from scoresde.data import stack
from scoresde.metrics.estimate import interval, jackknife
from scoresde.metrics.moments import Moments, frechet_gaussians, parts
from scoresde.sampling import DDIM, Adams, Jump, Renoise, Sampler

GROUPS = 20


def groups(features: Tensor, side: int) -> Moments:
    """Their moments, dealt into the groups."""
    return Moments.of(features, parts(len(features), GROUPS, side), GROUPS)


def distances(x: Moments, y: Moments) -> Tensor:
    """The Frechet distance of all, and of all but each group (1 + GROUPS,)."""
    pairs = [(x, y), *((x.total(g), y.total(g)) for g in range(GROUPS))]
    return torch.tensor([frechet_gaussians(*a.gaussian(), *b.gaussian()) for a, b in pairs], dtype=torch.float64)


def told(values: Tensor) -> str:
    """The estimate of a sum of distances, less its bias of order 1/n, with its interval."""
    value, error = jackknife(float(values[0]), values[1:], correct=True)
    found = interval(value, error, GROUPS - 1, 0, 0, "")
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"


def own(student: scoresde.Model, steps: int) -> Sampler:
    """The sampler of a student."""
    if student.lands is None:
        return DDIM(steps=steps)
    return (Renoise if student.lands == "data" else Jump)(steps=steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("students", type=Path, nargs="+")
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1, help="of the students")
    parser.add_argument("--more", type=int, default=10, help="of the teacher, by adams")
    parser.add_argument("--n", type=int, default=10000)
    parser.add_argument("--judge", type=Path, help="a classifier that task=evaluate has kept")
    parser.add_argument("--device", default="cpu", help="cpu, cuda")
    given = parser.parse_args()
    data = scoresde.data.digits()
    judge = Judge(data, given.judge)
    held = groups(judge.real, 0)
    index = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(0))[len(data.train) // 2 :]
    floor = distances(groups(judge.extractor(data.encode(stack(data.train, index))), 1), held)

    def far(folder: Path, sampler: Sampler | None, side: int) -> Tensor:
        model = scoresde.load(folder).to(given.device)
        x = drawn(model, sampler or own(model, given.steps), given.n).cpu()
        return distances(groups(judge.extractor(data.encode(x)), side), held)

    teacher = far(given.teacher, Adams(steps=given.more), 2)
    print(f"floor {told(floor)}, teacher in {given.more} steps {told(teacher)}\n")
    print(f"| student, steps = {given.steps} | Frechet | farther | beyond |\n|---|---|---|---|")
    for folder in given.students:
        student = far(folder, None, 3)
        sums = (student, student - teacher, student - 2 * teacher + floor)
        print(f"| {folder.name} | {' | '.join(map(told, sums))} |", flush=True)


if __name__ == "__main__":
    main()
