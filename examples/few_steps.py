"""Models of few steps of an exact teacher, and how far they end from where its flow does.

    python examples/few_steps.py                                      # three methods on eight Gaussians, a few minutes
    python examples/few_steps.py --methods shortcut ctm --steps 3000  # others, for longer
    python examples/few_steps.py --steps 50                           # a look at it

The teacher is a mixture in closed form, which has no network: a student begins with random weights then, and a trained
model's student would begin as its teacher (`scoresde.distill(model, data)`).  Printed is the root mean square distance,
a coordinate, of 1, 2 and 4 jumps from the ends of the exact flow that begins with the same noise; a dash where the
student has not learned so many.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

import scoresde
from scoresde.conditions import Landing
from scoresde.denoiser import LANDING, FlowMap
from scoresde.exact import GaussianMixture
from scoresde.sampling import Adams, Jump, sample
from scoresde.students import METHODS

SDE = scoresde.VP()
STEPS = (1, 2, 4)


def teacher() -> GaussianMixture:
    """Eight Gaussians on a circle."""
    angle = torch.arange(8, dtype=torch.float64) * math.pi / 4
    means = 1.4 * torch.stack([angle.cos(), angle.sin()], 1)
    return GaussianMixture(torch.ones(8, dtype=torch.float64), means, 0.1, SDE)


def untrained(method: str) -> FlowMap:
    """A student of a method, with a network of its own."""
    lands = METHODS[method].objective.learns(SDE)
    told = {LANDING: Landing()} if lands == "any" else None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = scoresde.nets.MLP((2,), width=192, blocks=4, conditions=told)
    return FlowMap(net, SDE, "v", lands)


def distances(student: scoresde.Denoiser, ends: torch.Tensor) -> list[str]:
    """How far its jumps end from these."""
    found = []
    for steps in STEPS:
        try:
            x = sample(student, Jump(steps=steps), tuple(ends.shape), seed=1, progress=False)
            found.append(f"{float((x - ends).square().mean().sqrt()):.3f}")
        except scoresde.InputError:  # steps that it has not learned
            found.append("-")
    return found


def main(words: list[str] | None = None) -> dict[str, list[str]]:
    """Trains and prints; the distances of each method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=["consistency", "meanflow", "shortcut"], metavar="METHOD")
    parser.add_argument("--steps", type=int, default=1500, help="of each training")
    parser.add_argument("--n", type=int, default=1000, help="noises that are looked at")
    args = parser.parse_args(words)
    exact = teacher()
    data = scoresde.data.as_data(exact.sample(20000, seed=1).float())
    ends = sample(exact, Adams(steps=200, last="none"), (args.n, 2), seed=1, dtype=torch.float64, progress=False)
    training = {"steps": args.steps, "batch_size": 512, "ema": 0.998, "validate_every": args.steps}
    found = {"teacher's own ddim": distances(exact.float(), ends)}
    exact = teacher().float()
    for method in args.methods:
        student = scoresde.distill(exact, data, method, student=untrained(method), training=training)
        found[method] = distances(student, ends)
    print(f"{'':20}" + "".join(f"{f'{steps} steps':>10}" for steps in STEPS))
    for name, values in found.items():
        print(f"{name:20}" + "".join(f"{value:>10}" for value in values))
    return found


if __name__ == "__main__":
    main()
