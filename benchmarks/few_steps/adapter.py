"""LCM-LoRA: an adapter of few steps of a base, on a model that was fine-tuned from it to digits turned by 90 degrees.

    python benchmarks/few_steps/adapter.py BASE [--folder runs/adapters] [--change turned] [--picture FILE.png]

BASE is the folder of a model of digits.  In `folder` it is fine-tuned to changed digits, and an adapter on it is
trained by consistency on the digits themselves; what is there is taken.  A sample counts as changed where a support
vector machine of the training digits, as they are and changed, takes it for that; Frechet distances are of pixels, to
the held-out digits, changed where the model is.  Times are CPU seconds of the process.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
from sklearn.svm import SVC
from torch import Tensor

import scoresde
from scoresde import metrics
from scoresde.data import Data, Tensors, stack
from scoresde.denoiser import FlowMap
from scoresde.objectives import Consistency
from scoresde.sampling import DDIM, Adams, Renoise

CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    "turned": lambda x: x.rot90(1, (-2, -1)),
    "inverted": lambda x: 16 - x,
}
OFTEN = {"batch_size": 64, "ema": 0.98, "validate_every": 10**6}


def trained(base: scoresde.Model, data: Data, other: Data, folder: Path, change: str):
    """The fine-tuned model, and the one of few steps, an adapter on the base."""
    options = {"steps": 300, "lr": 2e-3, "warmup": 10, **OFTEN}
    tuned = scoresde.train(data=other, start=base, folder=folder / change, progress=False, **options)
    student = Consistency(FlowMap.of(base), data, base, first=12, last=12, grows=0, huber=0.1)
    training = scoresde.Training(steps=250, lr=3e-3, warmup=20, lora=16, log_every=20, **OFTEN)
    return tuned, scoresde.fit(student, data, training, folder / "fast", progress=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("base")
    parser.add_argument("--folder", default="runs/adapters")
    parser.add_argument("--change", choices=CHANGES, default="turned")
    parser.add_argument("--n", type=int, default=500)
    parser.add_argument("--picture", default=None, help="a file: twenty digits of each row of the table with a *")
    asked, data = parser.parse_args(), scoresde.data.digits()
    change, base = CHANGES[asked.change], scoresde.load(asked.base)
    x, held = (stack(part, range(len(part))) for part in (data.train, data.test))
    other = Data(asked.change, Tensors(change(x)), Tensors(change(held)), data.space)
    tuned, fast = trained(base, data, other, Path(asked.folder), asked.change)
    both = tuned.adapted(fast)
    known = torch.cat([x, change(x)]).flatten(1).numpy()
    judge = SVC(C=10.0).fit(known, torch.arange(2).repeat_interleave(len(x)).numpy())
    changed = lambda v: float(judge.predict(v.flatten(1).numpy()).mean())
    shares = f"{100 * changed(change(held)):.1f} % of changed digits and {100 * changed(held):.1f} % of others"
    print(f"the judge takes {shares} for changed\n\n| model | Frechet | changed, % | ms a sample |\n|---|---|---|---|")
    ddim = DDIM(steps=4, grid="uniform_angle", last="none")
    rows = {
        "fine-tuned, 50 steps *": (tuned, Adams(steps=50)),
        "fine-tuned, 4 steps of DDIM": (tuned, ddim),
        "fine-tuned, 4 steps of Adams": (tuned, Adams(steps=4)),
        "fine-tuned, 1 step *": (tuned, Renoise(steps=1)),
        "fine-tuned, 4 steps of renoise": (tuned, Renoise(steps=4)),
        "with the adapter, 1 step *": (both, Renoise(steps=1)),
        "with the adapter, 2 steps": (both, Renoise(steps=2)),
        "with the adapter, 4 steps *": (both, Renoise(steps=4)),
        "base with the adapter, 1 step": (fast, Renoise(steps=1)),
        "base with the adapter, 4 steps": (fast, Renoise(steps=4)),
    }
    sheet = []
    for name, (model, sampler) in rows.items():
        began = time.process_time()
        raw = model.generate(asked.n, sampler, progress=False)
        spent = 1000 * (time.process_time() - began) / asked.n
        real = held if model is fast else change(held)
        far = metrics.frechet(raw.float() / 8 - 1, real.float() / 8 - 1)
        figures = f"{far.value:.2f} ({far.low:.2f} to {far.high:.2f}) | {100 * changed(raw):.1f}"
        print(f"| {name.rstrip(' *')} | {figures} | {spent:.2f} |", flush=True)
        sheet += [raw[:20]] if name.endswith("*") else []
    if asked.picture:
        drawn(sheet, asked.picture)


def drawn(sheet: list[Tensor], file: str) -> None:
    """Two rows of ten digits of each."""
    from PIL import Image

    pixels = [torch.nn.functional.pad((15.9375 * part).to(torch.uint8), (1, 1, 1, 1)) for part in sheet]
    rows = [part.reshape(2, 10, 10, 10).permute(0, 2, 1, 3).reshape(20, 100) for part in pixels]
    gap = torch.full((2, 100), 128, dtype=torch.uint8)
    whole = torch.cat([piece for part in rows for piece in (part, gap)][:-1])
    Image.fromarray(whole.numpy()).resize((600, 6 * len(whole)), Image.NEAREST).save(file, optimize=True)


if __name__ == "__main__":
    main()
