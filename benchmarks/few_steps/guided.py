"""Class-conditional students that are told the scale of guidance, beside their guided teacher: digits.

    python benchmarks/few_steps/guided.py TEACHER [--method consistency] [--steps 800] [--folder FOLDER]

TEACHER is the folder of a model of digits with cond=[label].  The student is told the label and w, and is called once
a step, where the teacher is called twice.  Of each the share of samples in which a support vector machine of the
training digits sees the class that was asked for, with Wilson's interval, and the Frechet distance of pixels to the
held-out ones.
"""

import argparse
import time

import torch
from sklearn.svm import SVC

import scoresde
from scoresde import metrics
from scoresde.data import Data, stack
from scoresde.denoiser import FlowMap
from scoresde.guidance import Guided
from scoresde.metrics.estimate import wilson
from scoresde.objectives import SCM, Consistency, MeanFlow
from scoresde.sampling import Adams, Jump, Renoise

METHODS = {
    "consistency": (Consistency, "data", {"first": 12, "last": 12, "grows": 0, "huber": 0.1}),
    "scm": (SCM, "data", {}),
    "meanflow": (MeanFlow, "any", {}),
}
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


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("teacher")
    parser.add_argument("--method", choices=METHODS, default="consistency")
    parser.add_argument("--folder", default=None, help="of the student; one that is trained there is taken")
    for name, default in {"steps": 800, "n": 2000, "batch": 64, "sampled": 50}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--lr", type=float, default=5e-4)
    asked, data = parser.parse_args(), scoresde.data.digits()
    teacher, judge = scoresde.load(asked.teacher), Judge(data)
    objective, lands, settings = METHODS[asked.method]
    student = FlowMap.of(teacher, lands, guidance=(SCALES[0], SCALES[-1]))
    training = {"steps": asked.steps, "batch_size": asked.batch, "lr": asked.lr, "ema": 0.998, "log_every": 50}
    began = time.perf_counter()
    model = scoresde.fit(
        objective(student, data, teacher, **settings),
        data,
        scoresde.Training(**training),
        asked.folder,
    )
    print(f"{asked.method}, {asked.steps} steps, {time.perf_counter() - began:.0f} s")
    print(f"the judge is right about {100 * judge.share:.1f} % of the held-out digits\n")
    label = torch.arange(asked.n) % 10
    few = Jump if lands == "any" else Renoise
    print(
        f"| w | teacher, {asked.sampled} | "
        + " | ".join(f"student, {k}" for k in STEPS)
        + " |\n|---|---|"
        + "---|" * len(STEPS)
    )
    for w in SCALES:
        led = Guided(teacher, w)
        x = scoresde.sample(
            led, Adams(steps=asked.sampled), (asked.n, *data.shape), cond={"label": label}, progress=False
        )
        row = [judge.words(data.decode(x), label)]
        for steps in STEPS:
            cond = {"label": label, "guidance": w}
            row.append(judge.words(model.generate(asked.n, few(steps=steps), cond=cond, progress=False), label))
        print(f"| {w:g} | " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
