"""Where a training looks, and whether the layout of larger pictures is learned: 16x16 scenes of two shapes.

    python benchmarks/training/layout.py --steps 800

A red disc and a blue square on white, apart from each other, with the label of which is above.  A small U-Net is
trained at log(sigma / alpha) ~ N(mean, std^2) for each pair, and 300 scenes are asked for by label: how many have both
shapes and the order that was asked for, read from their pixels.  True scenes are read without a mistake.
"""

import argparse
import math
import time

import numpy as np
import torch
from torch import Tensor

import scoresde
from scoresde.loss import DenoisingLoss, lognormal
from scoresde.sampling import GaussianAdams

SIZE = 16
ASKED = ((None, None), (-1.0, 1.5), (0.7, 1.5))


def scenes(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """n pictures (n, 3, 16, 16) in [-1, 1], and whether the disc is above (n,)."""
    draw = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    pictures, above = [], []
    while len(pictures) < n:
        r, half = draw.integers(2, 4, 2)
        disc, square = draw.integers(r, SIZE - r, 2), draw.integers(half, SIZE - half, 2)
        if abs(disc[0] - square[0]) < 4 or abs(disc - square).max() <= r + half:
            continue
        picture = np.ones((3, SIZE, SIZE), np.float32)
        picture[1:, (rows - disc[0]) ** 2 + (columns - disc[1]) ** 2 <= r * r] = -1
        picture[:2, (abs(rows - square[0]) <= half) & (abs(columns - square[1]) <= half)] = -1
        pictures.append(picture)
        above.append(int(disc[0] < square[0]))
    return torch.from_numpy(np.stack(pictures)), torch.tensor(above)


def read(x: Tensor) -> tuple[Tensor, Tensor]:
    """Whether both shapes are there, and whether the disc is above."""
    masks = [((x[:, a] > 0) & (x[:, b] < 0)).double() for a, b in ((0, 2), (2, 0))]
    sizes = [m.sum((1, 2)) for m in masks]
    places = [(m * torch.arange(SIZE)[:, None]).sum((1, 2)) / n.clamp_min(1) for m, n in zip(masks, sizes, strict=True)]
    return (sizes[0] >= 8) & (sizes[1] >= 8), (places[0] < places[1]).long()


def main() -> None:
    """Trains and reads, a row for each distribution."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=800)
    steps = parser.parse_args().steps
    x, above = scenes(4000)
    there, order = read(x)
    assert bool(there.all()) and torch.equal(order, above)
    data = scoresde.data.from_tensor(x, cond={"label": above})
    asked = torch.arange(300) % 2
    print("| mean | std | by the data | both shapes | right order | both | seconds |")
    print("|---:|---:|---|---:|---:|---:|---:|")
    for mean, std in ASKED:
        torch.manual_seed(0)
        net = scoresde.nets.UNet(data.shape, 32, (1, 2), 1, dropout=0.1, conditions=dict(data.conditions))
        objective = scoresde.objectives.Denoising(
            scoresde.Preconditioned(net, scoresde.VP()), DenoisingLoss(times=lognormal(mean, std)), data
        )
        began, training = time.perf_counter(), scoresde.Training(steps, 64, ema=0.995)
        model = scoresde.training.fit(objective, data, training, progress=False)
        seconds = time.perf_counter() - began
        found = model.generate(300, GaussianAdams(steps=16), cond={"label": asked}, progress=False)
        there, order = read(found)
        right = there & (order == asked)
        figures = (f"{float(v.double().mean()):.3f}" for v in (there, (order == asked)[there], right))
        said, follows = objective.loss.times.normal, "yes" if mean is None else ""
        print(f"| {said[0]:g} | {said[1]:g} | {follows} | {' | '.join(figures)} | {seconds:.0f} |", flush=True)
    print(f"\n1 s.e. of a share of 0.97 of 300: {math.sqrt(0.97 * 0.03 / 300):.3f}")


if __name__ == "__main__":
    main()
