"""Class-conditional students that are told the scale of guidance, beside their guided teacher: digits.

    python benchmarks/few_steps/guided.py TEACHER [--steps 800] [--folder FOLDER]
    python benchmarks/few_steps/guided.py TEACHER --student FOLDER [FOLDER ...]

TEACHER is the folder of a model of digits with cond=[label].  The students are those in the folders, of task=distill
with task.guidance=[1,4]; or one that is trained here by consistency.  A student is told the label and w, and is called
once a step, where the teacher is called twice.  Of each the share of samples in which a support vector machine of the
training digits sees the class that was asked for, with Wilson's interval, and the Frechet distance of pixels to the
held-out ones.
"""

import argparse
import time
from pathlib import Path

import torch
from sklearn.svm import SVC

import scoresde
from scoresde import metrics
from scoresde.data import Data, stack
from scoresde.guidance import Guided
from scoresde.metrics.estimate import wilson
from scoresde.sampling import Adams, Jump, Renoise, Sampler

SCALES, STEPS = (1.0, 2.0, 3.0, 4.0), (1, 2, 4)


class Judge:
    """Names the digits of pictures, and says how far they are from the held-out ones."""

    def __init__(self, data: Data):
        x, self.held = (stack(part, range(len(part))) for part in (data.train, data.test))
        self.svm = SVC(C=10.0).fit(x.flatten(1).numpy(), data.labels[0].numpy())
        self.share = self.right(self.held, data.labels[1])

    def right(self, x: torch.Tensor, label: torch.Tensor) -> float:
        """The share of pictures that are of their classes."""
        return float((torch.from_numpy(self.svm.predict(x.flatten(1).numpy())) == label).double().mean())

    def words(self, x: torch.Tensor, label: torch.Tensor) -> str:
        share, far = self.right(x, label), metrics.frechet(x.float() / 8 - 1, self.held.float() / 8 - 1)
        low, high = (f"{100 * v:.1f}" for v in wilson(share, len(x), 1.96))
        return f"{100 * share:.1f} ({low} to {high}), {far.value:.2f}"


def samplers(student: scoresde.Model, sampled: int) -> list[Sampler]:
    """How a student draws; one that was told its guidance alone as its teacher does."""
    if student.lands is None:
        return [Adams(steps=sampled)]
    if isinstance(student.lands, tuple):
        return [Jump(steps=len(student.lands) - 1)]
    return [(Jump if student.lands == "any" else Renoise)(steps=steps) for steps in STEPS]


def trained(teacher: scoresde.Model, data: Data, asked: argparse.Namespace) -> scoresde.Model:
    """A student by consistency."""
    settings = {"first": 12, "last": 12, "grows": 0, "huber": 0.1}
    training = {"steps": asked.steps, "batch_size": 64, "lr": asked.lr, "ema": 0.998, "log_every": 50}
    options = {"guidance": (SCALES[0], SCALES[-1]), "training": scoresde.Training(**training)}
    began = time.perf_counter()
    model = scoresde.distill(teacher, data, "consistency", asked.folder, **options, **settings)
    print(f"consistency, {asked.steps} steps, {time.perf_counter() - began:.0f} s")
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("teacher")
    parser.add_argument("--student", nargs="+", default=[], help="folders of students that are told w")
    parser.add_argument("--folder", default=None, help="of the student that is trained; one that is there is taken")
    for name, default in {"steps": 800, "n": 2000, "sampled": 50}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--lr", type=float, default=5e-4)
    asked, data = parser.parse_args(), scoresde.data.digits()
    teacher, judge = scoresde.load(asked.teacher), Judge(data)
    students = {Path(folder).name: scoresde.load(folder) for folder in asked.student}
    students = students or {"consistency": trained(teacher, data, asked)}
    print(f"the judge is right about {100 * judge.share:.1f} % of the held-out digits\n")
    label = torch.arange(asked.n) % 10
    ways = [(name, model, few) for name, model in students.items() for few in samplers(model, asked.sampled)]
    calls = " | ".join(f"{name}, {few.steps}" for name, _, few in ways)
    print(f"| w | teacher, {asked.sampled} | {calls} |\n|---|---|" + "---|" * len(ways))
    for w in SCALES:
        led, cond = Guided(teacher, w), {"label": label}
        options = {"cond": cond, "progress": False}
        x = scoresde.sample(led, Adams(steps=asked.sampled), (asked.n, *data.shape), **options)
        row = [judge.words(data.decode(x), label)]
        told = {"cond": {**cond, "guidance": w}, "progress": False}
        row += [judge.words(model.generate(asked.n, few, **told), label) for _, model, few in ways]
        print(f"| {w:g} | " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
