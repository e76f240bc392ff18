"""What a few steps of a teacher are worth after a student's draft: equal numbers of evaluations of either, or of both.

    python benchmarks/few_steps/corrector.py ring                      # trains a student of the exact mixture first
    python benchmarks/few_steps/corrector.py ring --folder FOLDER      # keeps it there, or takes it from there
    python benchmarks/few_steps/corrector.py FOLDER                    # a student of digits, and its teacher

Of the ring the figure is the energy distance to exact samples, the mean of `--rounds` independent pairs of `--points`
with its standard error; of a folder the Frechet distance of `--n` samples as `task=evaluate` has it, with its 95 %
interval.  The student's own samples in several steps are by `renoise`, the teacher's by `gaussian_adams`.  In each row
all numbers of evaluations are those of student and teacher together.
"""

import argparse
import math
import statistics
import sys
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import scoresde
from benchmarks.few_steps.judge import Judge, drawn, words
from scoresde.denoiser import FlowMap
from scoresde.exact import GaussianMixture
from scoresde.model.teacher import teacher_of
from scoresde.sampling import Corrected, GaussianAdams, Renoise, sample
from scoresde.training import Training, fit

LEVELS = (0.1, 0.2, 0.3)
PAIRS = ((1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3))  # evaluations of the student and of the teacher


def ring() -> GaussianMixture:
    """Eight modes of standard deviation 0.1 on a circle of radius 1.4."""
    a = torch.arange(8) * math.pi / 4
    return GaussianMixture(torch.ones(8), 1.4 * torch.stack([a.cos(), a.sin()], 1), 0.1, scoresde.VP())


def student_of(teacher: GaussianMixture, folder: Path | None, steps: int) -> scoresde.Model:
    """A student of consistency distillation, trained if it is not there."""
    if folder is not None and (folder / "model.json").exists():
        return scoresde.load(folder)
    torch.manual_seed(0)
    net = scoresde.nets.MLP((2,), width=128, blocks=3)
    data = scoresde.data.as_data(teacher.sample(20_000))
    method = scoresde.objectives.Consistency(FlowMap(net, teacher.sde, "v", "data"), data, teacher)
    training = Training(steps=steps, batch_size=512, lr=1e-3, warmup=100, ema=0.999)
    return fit(method, data, training, folder=folder)


def energy(x: Tensor, y: Tensor, directions: int = 32) -> float:
    """The energy distance of points of the plane, |x| being pi/2 times the mean |x . u| over directions u.

    On a line it is twice the integral of the squared difference of the distribution functions.
    """
    angle = torch.arange(directions, dtype=torch.float64) * math.pi / directions
    lines = torch.stack([angle.cos(), angle.sin()])
    a, b = (points.double() @ lines for points in (x, y))
    value, order = torch.cat([a, b]).sort(0)
    step = torch.where(order < len(a), 1 / len(a), -1 / len(b)).cumsum(0)[:-1]
    return float(math.pi / 2 * 2 * (step.square() * value.diff(dim=0)).sum(0).mean())


def on_the_ring(given: argparse.Namespace) -> None:
    """Prints the table of the ring."""
    torch.set_default_dtype(torch.float32)
    teacher = ring()
    student = student_of(teacher, given.folder, given.train)

    def far(model, sampler) -> tuple[float, float]:
        found = []
        for seed in range(given.rounds):
            real = teacher.sample(given.points, seed=1000 + seed)
            found.append(energy(sample(model, sampler, (given.points, 2), seed=seed, progress=False), real))
        return statistics.mean(found), statistics.stdev(found) / len(found) ** 0.5

    told = lambda pair: f"{1e3 * pair[0]:.2f} +- {1e3 * pair[1]:.2f}"
    heads = " | ".join(f"{kind} from {level:g}" for kind in ("gibbs", "flow") for level in LEVELS)
    pairs = [[teacher.sample(given.points, seed=seed + k) for k in (1000, 2000)] for seed in range(given.rounds)]
    floor = 1e3 * statistics.mean(energy(*pair) for pair in pairs)
    print(f"energy distance x 1000, {given.rounds} x {given.points} samples; of exact samples {floor:.2f}")
    print(f"| evaluations | student | teacher | of each | {heads} |\n|---|---|---|---|{'---|' * 6}")
    for both in sorted(PAIRS, key=sum):
        total = sum(both)
        alone = (far(student, Renoise(steps=total)), far(teacher, GaussianAdams(steps=total, last="none")))
        mixed = [
            far(student, Corrected(steps=both[0], refine=both[1], level=level, kind=kind, teacher=teacher))
            for kind in ("gibbs", "flow")
            for level in LEVELS
        ]
        cells = " | ".join(map(told, alone)), " | ".join(map(told, mixed))
        print(f"| {total} | {cells[0]} | {both[0]} + {both[1]} | {cells[1]} |", flush=True)


def of_a_folder(given: argparse.Namespace) -> None:
    """Prints the table of a student in a folder."""
    folder, judge = Path(given.what), Judge(scoresde.data.digits(), given.judge)
    student, teacher = scoresde.load(folder), teacher_of(folder, given.teacher)
    told = lambda model, sampler: words(judge(drawn(model, sampler, given.n)))
    print(f"Frechet distance, {given.n} samples of {folder} and its teacher")
    print(f"| evaluations | student | teacher | of each | {' | '.join(f'gibbs from {level:g}' for level in LEVELS)} |")
    print(f"|---|---|---|---|{'---|' * len(LEVELS)}")
    alone = {}
    for both in sorted(PAIRS, key=sum):
        total = sum(both)
        if total not in alone:
            own = told(student, Renoise(steps=total))
            alone[total] = f"{own} | {told(teacher, GaussianAdams(steps=total, last='none'))}"
        mixed = [Corrected(steps=both[0], refine=both[1], level=level, teacher=teacher) for level in LEVELS]
        cells = " | ".join(told(student, sampler) for sampler in mixed)
        print(f"| {total} | {alone[total]} | {both[0]} + {both[1]} | {cells} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", help="ring, or the folder of a student")
    parser.add_argument("--folder", type=Path, help="of the ring's student")
    parser.add_argument("--teacher", type=Path, help="by default the one that the student was made of")
    parser.add_argument("--judge", type=Path, help="a classifier that task=evaluate has kept")
    parser.add_argument("--train", type=int, default=3000, help="steps of the ring's student")
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--points", type=int, default=40_000, help="of the ring")
    parser.add_argument("--rounds", type=int, default=4)
    given = parser.parse_args()
    on_the_ring(given) if given.what == "ring" else of_a_folder(given)


if __name__ == "__main__":
    main()
