"""LCM-LoRA: an adapter of few steps of a base, on a model that was fine-tuned from it to digits turned by 90 degrees.

    python benchmarks/few_steps/adapter.py BASE TUNED FAST MNIST [--n 1000] [--picture FILE.png]

BASE is the folder of a class-conditional model of MNIST, TUNED of its fine-tuned one, FAST of the adapter, and MNIST
that of the files.  A classifier of 20 classes, digits upright and turned, says of each sample whether it is turned,
and whether it is its digit, of the right turn; its features make the Frechet distances, to held-out digits of the
right turn.  Times are CPU seconds of the process.
"""

import argparse
import time

import torch
from torch import Tensor

import scoresde
from scoresde import metrics
from scoresde.data import stack
from scoresde.metrics import features
from scoresde.sampling import DDIM, DPMpp2M, Renoise

FITTED_ON = 10_000


def turned(x: Tensor) -> Tensor:
    return x.rot90(1, (-2, -1))


class Judge:
    """Tells upright digits and turned ones, and how far samples are from either."""

    def __init__(self, root: str):
        data = self.data = scoresde.data.mnist(root)
        pick = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(0))[:FITTED_ON]
        both = lambda x: torch.cat([x, turned(x)])
        x, label = data.encode(stack(data.train, pick)), data.labels[0][pick]
        y, held = data.encode(stack(data.test, range(len(data.test)))), data.labels[1]
        held = (both(y), torch.cat([held, held + 10]))
        self.net = features.Learned.fit(both(x), torch.cat([label, label + 10]), held)
        self.real = dict(zip((False, True), self.net(held[0]).chunk(2), strict=True))
        print(
            f"the judge names {100 * self.net.accuracy:.1f} % of the held-out digits and their turn rightly", flush=True
        )

    def words(self, raw: Tensor, label: Tensor, turn: bool) -> str:
        x = self.data.encode(raw)
        named = torch.cat([self.net.net(part.float()).argmax(1) for part in x.split(500)])
        far = metrics.frechet(self.net(x), self.real[turn])
        share = lambda right: f"{100 * float(right.double().mean()):.1f}"
        figures = f"{far.value:.2f} ({far.low:.2f} to {far.high:.2f})"
        return f"{figures} | {share(named >= 10)} | {share(named == label + 10 * turn)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("base", "tuned", "fast", "mnist"):
        parser.add_argument(name)
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--picture", default=None, help="a file: ten digits a row, the rows of the table with * ")
    asked = parser.parse_args()
    base, tuned, fast = (scoresde.load(place) for place in (asked.base, asked.tuned, asked.fast))
    both, judge, label = tuned.adapted(fast), Judge(asked.mnist), torch.arange(asked.n) % 10
    rows = {
        "fine-tuned, 50 steps *": (tuned, DPMpp2M(steps=49), True),
        "fine-tuned, 4 steps of DPM++ 2M": (tuned, DPMpp2M(steps=3), True),
        "fine-tuned, 4 steps of DDIM": (tuned, DDIM(steps=4, grid="uniform_angle", last="none"), True),
        "fine-tuned, 4 steps of Renoise *": (tuned, Renoise(steps=4), True),
        "with the adapter, 1 step": (both, Renoise(steps=1), True),
        "with the adapter, 2 steps": (both, Renoise(steps=2), True),
        "with the adapter, 4 steps *": (both, Renoise(steps=4), True),
        "the base, 50 steps": (base, DPMpp2M(steps=49), False),
        "the base with its adapter, 4 steps": (fast, Renoise(steps=4), False),
    }
    print("| model | Frechet | turned, % | its digit, % | s a sample |\n|---|---|---|---|---|")
    sheet = []
    for name, (model, sampler, turn) in rows.items():
        began = time.process_time()
        raw = model.generate(asked.n, sampler, cond={"label": label}, progress=False)
        seconds = (time.process_time() - began) / asked.n
        print(f"| {name.rstrip(' *')} | {judge.words(raw, label, turn)} | {seconds:.4f} |", flush=True)
        sheet += [raw[:20]] if name.endswith("*") else []
    if asked.picture:
        from PIL import Image

        rows = [part.reshape(2, 10, 28, 28).permute(0, 2, 1, 3).reshape(56, 280) for part in sheet]
        gap = torch.full((6, 280), 128, dtype=torch.uint8)
        whole = torch.cat([piece for part in rows for piece in (part, gap)][:-1])
        Image.fromarray(whole.numpy()).resize((560, 2 * len(whole)), Image.NEAREST).save(asked.picture, optimize=True)


if __name__ == "__main__":
    main()
