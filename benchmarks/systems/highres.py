"""Scenes without words: is a sample what the data are, two whole shapes apart, by the data's own reader.

    python run.py experiment=simple_scenes folder=FOLDER
    python benchmarks/systems/highres.py FOLDER [FOLDER ...] [--n 300] [--steps 20] [--sizes] [--picture X.png]

Of n samples of each folder's model, all from the same noise: `two`: the reader finds two shapes; `layout`: and they
are apart, and one is above the other or left of it by two sixteenths of the side, as a sentence could say; with 95 %
intervals (Wilson).  `off` is how far a picture is from the reader's shapes drawn anew, the root mean square over pixels
in per cent of white, its median over pictures.  Beside them stand true scenes.  Of a model of pyramids the largest
picture is read, and with --sizes the others too, with the root mean square by which its means differ from them.
"""

import argparse
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

import scoresde
from scoresde.data import stack
from scoresde.data.readers.scenes.drawing import INK, masks
from scoresde.data.readers.scenes.reading import LOOSE, read
from scoresde.data.readers.scenes.scene import SIDE, WIDTH, Scene, holds
from scoresde.metrics.estimate import wilson
from scoresde.pictures.pixels import save_png, tile
from scoresde.sampling import DPMpp2M, sample

NAMES = ("two", "layout")


def redrawn(scene: Scene, side: int) -> Tensor:
    """What the reader found, on white: floating (B, 3, side, side), 0 to 1."""
    bank, unit = masks(side), side // SIDE
    found = torch.ones(len(scene), 3, side, side)
    for k in range(scene.shape.shape[1]):
        for i in (scene.shape[:, k] >= 0).nonzero()[:, 0].tolist():
            size = int(scene.size[i, k])
            x, y, w = int(scene.x[i, k] * unit), int(scene.y[i, k] * unit), WIDTH[size] * unit
            share = bank[size, scene.shape[i, k], :w, :w][: side - y, : side - x]
            ink = torch.tensor(INK[scene.colour[i, k]]) / 255 - 1
            found[i, :, y : y + w, x : x + w] += ink[:, None, None] * share
    return found


def judged(raw: Tensor) -> dict[str, Tensor]:
    """By name whether each picture (B, 3, side, side), bytes, is as it should be, and how far it is off."""
    scene, side = read(raw), raw.shape[-1]
    two, (mx, my) = scene.count == 2, scene.middle
    dx, dy = mx[:, 1] - mx[:, 0], my[:, 1] - my[:, 0]
    width = torch.tensor(WIDTH)[scene.size[:, :2].clamp_min(0)].sum(1) / 2
    apart = torch.maximum(dx.abs(), dy.abs()) >= width
    layout = two & apart & holds(dx, dy, LOOSE).any(-1)
    off = 100 * (raw.float() / 255 - redrawn(scene, side)).square().mean((1, 2, 3)).sqrt()
    return {"two": two, "layout": layout, "off": off}


def row(name: str, raw: Tensor, more: str = "") -> str:
    """A line of the table."""
    found, known = [], judged(raw)
    for value in (known[key] for key in NAMES):
        share = float(value.double().mean())
        low, high = wilson(share, len(value), 1.96)
        found.append(f"{100 * share:.1f} ({100 * low:.0f} to {100 * high:.0f})")
    return f"| {name} | {' | '.join(found)} | {float(known['off'].median()):.1f} | {more} |"


def drawn(model: scoresde.Model, n: int, steps: int, batch: int, seed: int = 0) -> tuple[list[Tensor], float]:
    """Samples at all resolutions of the model, bytes, from the smallest; and the seconds a sample."""
    began = time.perf_counter()
    x = sample(model, DPMpp2M(steps), (n, *model.shape), seed, batch_size=batch, autocast="bf16", progress=False)
    seconds = (time.perf_counter() - began) / n
    if model.codec is None:
        return [model.decode(x)], seconds
    return model.codec.pictures(model.space.decode(x)), seconds


def main() -> None:
    """Draws and reads, a row for each folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--n", type=int, default=300)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--sizes", action="store_true")
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--shown", type=int, default=10)
    args = parser.parse_args()
    true = scoresde.data.scenes(size=64, test=args.n)
    print(f"| {args.n} pictures, per cent | {' | '.join(NAMES)} | off | ms a sample |\n|---|---|---|---:|---:|")
    print(row("true scenes", stack(true.train, range(args.n))), flush=True)
    shown = []
    for folder in args.folders:
        model = scoresde.load(folder)
        pictures, seconds = drawn(model, args.n, args.steps, args.batch, args.seed)
        print(row(folder.name, pictures[-1], f"{1e3 * seconds:.0f}"), flush=True)
        for small in pictures[:-1] if args.sizes else []:
            means = F.avg_pool2d(pictures[-1].float(), pictures[-1].shape[-1] // small.shape[-1])
            away = float((means - small).square().mean().sqrt()) / 255
            print(row(f"{folder.name}, {small.shape[-1]} pixels", small, f"its own differs by {away:.3f}"), flush=True)
        shown += [F.interpolate(p[: args.shown].float(), size=64, mode="nearest").byte() for p in pictures]
    if args.picture:
        save_png(args.picture, tile([part.permute(0, 2, 3, 1).numpy() for part in shown]))


if __name__ == "__main__":
    main()
