"""The density of few-step samples on the ring, whose exact one is known: how near it is, and where jumps fold.

    python benchmarks/few_steps/density.py                   # trains a student of MeanFlow first
    python benchmarks/few_steps/density.py --folder FOLDER   # keeps it there, or takes it from there

For 1, 2, 4 and 8 jumps: of `--n` exact samples how many have no inverse, the mean log p of the others beside the exact
one of the same rows; of as many samples of the student how many have no inverse, and of how many another noise than
their own was found, which makes the same sample.
"""

import argparse
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import scoresde
from benchmarks.few_steps.corrector import ring
from scoresde.conditions import Landing
from scoresde.denoiser import FlowMap
from scoresde.exact import GaussianMixture
from scoresde.likelihood import map_likelihood
from scoresde.sampling import Jump, noises, sample
from scoresde.training import Training, fit


def student_of(teacher: GaussianMixture, folder: Path | None, steps: int) -> scoresde.Model:
    """A student of MeanFlow, trained if it is not there."""
    if folder is not None and (folder / "model.json").exists():
        return scoresde.load(folder)
    torch.manual_seed(0)
    net = scoresde.nets.MLP((2,), width=128, blocks=3, conditions={"landing": Landing()})
    data = scoresde.data.as_data(teacher.sample(20_000))
    method = scoresde.objectives.MeanFlow(FlowMap(net, teacher.sde, "v", "any"), data, teacher)
    training = Training(steps=steps, batch_size=512, lr=1e-3, warmup=100, ema=0.999)
    return fit(method, data, training, folder=folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--train", type=int, default=4000, help="steps of the student")
    parser.add_argument("--n", type=int, default=500)
    given = parser.parse_args()
    teacher, n = ring(), given.n
    student = student_of(teacher, given.folder, given.train)
    x = teacher.sample(n, teacher.sde.t_min, seed=1)
    exact = teacher.log_prob(x.double(), teacher.sde.t_min)
    print("| jumps | no inverse, exact samples | log p | exact | error of a row | no inverse, its own | other noise |")
    print("|---:|---:|---|---:|---:|---:|---:|")
    began = time.perf_counter()
    for steps in (1, 2, 4, 8):
        found = map_likelihood(student, x.double(), Jump(steps=steps))
        kept = found.failed < 0
        apart = (found.log_prob - exact)[kept].abs().median()
        own = sample(student, Jump(steps=steps), (n, 2), seed=5, dtype=torch.float64)
        back = map_likelihood(student, own, Jump(steps=steps))
        noise = student.sde.prior(noises(student, (n, 2), seed=5).double())
        other = int(((back.latent - noise).abs().amax(1) > 1e-3).sum())
        value, stderr = float(found.log_prob[kept].mean()), float(found.log_prob[kept].std() / kept.sum() ** 0.5)
        cells = [steps, int((~kept).sum()), f"{value:.3f} +- {stderr:.3f}", f"{float(exact[kept].mean()):.3f}"]
        cells += [f"{float(apart):.3f}", int((back.failed >= 0).sum()), other]
        print(f"| {' | '.join(map(str, cells))} |", flush=True)
    print(f"{n} rows, {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
