"""Seconds per sample of a latent model and of pixel models, in one run.

    OMP_NUM_THREADS=1 python benchmarks/systems/latents.py runs/ldm runs/pixel       # folders of trained models
    OMP_NUM_THREADS=1 python benchmarks/systems/latents.py runs/ldm_scenes --net 64  # beside an untrained U-Net

`--net C` makes a U-Net of C channels of what the first model draws, with one resolution more for each halving of the
latents; its weights do not matter for its time.  All take turns; a figure is the median of the turns, of a whole call
of `generate`: x_T, the network, and the decoder of a latent model.  `ratio` is the median over turns of a model's time
over the first one's.  Times are CPU seconds of the process, on one thread, which keeps what it frees as `run.py` does.
"""

import argparse
import datetime
import math
import platform
import statistics
import time

import torch

import scoresde
from scoresde.machine import memory
from scoresde.sampling import DPMpp2M


class Pixels:
    """An untrained U-Net of items like those of a model, which draws them."""

    def __init__(self, model, channels: int):
        shape = tuple(model.outer.shape)
        halvings = round(math.log2(shape[-1] / model.shape[-1]))
        mults = (1, *(2,) * (1 + halvings))
        net = scoresde.nets.UNet(shape, channels=channels, mults=mults, blocks=1, attention=64)
        self.denoiser, self.shape = scoresde.Preconditioned(net.eval(), scoresde.VP(), "v"), shape
        self.about = (
            f"U-Net, {channels} channels x {list(mults)}, {sum(p.numel() for p in net.parameters()):,} parameters"
        )

    @torch.no_grad()
    def generate(self, n, sampler, seed, **_):
        return scoresde.sample(self.denoiser, sampler, (n, *self.shape), seed=seed, progress=False)


def seconds(model, n: int, sampler, seed: int) -> float:
    """CPU seconds per sample of one call."""
    start = time.process_time()
    model.generate(n, sampler=sampler, seed=seed, progress=False)
    return (time.process_time() - start) / n


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", help="of trained models, a latent one first")
    parser.add_argument("--net", type=int, nargs="*", default=[], help="channels of untrained U-Nets of the pixels")
    parser.add_argument("--n", type=int, default=32)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--turns", type=int, default=5)
    given = parser.parse_args()
    memory.keep_freed()
    found = {folder: scoresde.load(folder) for folder in given.folders}
    first = found[given.folders[0]]
    found |= {(made := Pixels(first, channels)).about: made for channels in given.net}
    sampler, turns = DPMpp2M(steps=given.steps), []
    for model in found.values():
        seconds(model, 2, sampler, 0)
    for seed in range(given.turns):
        turns.append([seconds(model, given.n, sampler, seed) for model in found.values()])
    print(f"{datetime.date.today()}, {platform.processor() or platform.machine()}, torch {torch.__version__}, ", end="")
    print(f"{torch.get_num_threads()} thread, {given.n} samples, {given.steps} steps, {given.turns} turns\n")
    print("| model | draws | ms a sample | ratio |\n|---|---|---:|---:|")
    for i, (name, model) in enumerate(found.items()):
        own = statistics.median(turn[i] for turn in turns)
        ratio = statistics.median(turn[i] / turn[0] for turn in turns)
        print(f"| {name} | {' x '.join(map(str, model.shape))} | {1000 * own:.1f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
