"""Pictures from sentences: does a picture follow its sentence, by the scale of guidance, on words seen and unseen.

    python run.py experiment=glide_scenes
    python benchmarks/scenes.py FOLDER [--scales 1 2 3 4] [--n 500] [--clip NOISY_CLIP] [--picture X.png]

The sentences are those of n held-out scenes, every second with a colour and a shape that training never had together.
The reader is the data's own.  Beside the scales stand true pictures, and true pictures of other sentences: chance.
With the folder of a noised CLIP (`task=contrastive task.noise=true`) the model without its sentences is led by that.
"""

import argparse
import time
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

import scoresde
from scoresde.data import Data, collate
from scoresde.guidance import ClipGuided, Guided
from scoresde.sampling import DPMpp2M

NAMES = ("colour", "shape", "size", "relation", "all")
SHOWN = (
    "a small red circle above a large blue square",
    "a large blue square above a small red circle",
    "a large yellow star left of a small purple ring",
    "a small green triangle below a large red circle",
    "a large red star right of a small green triangle",
    "a small blue ring above a large yellow cross",
)


def line(name: str, found: Mapping[str, Tensor], seconds: float | None = None) -> str:
    """A row of the table: by attribute the share that is right, of words seen and unseen, in per cent."""
    share = lambda key: f"{100 * float(found[key].nanmean()):.1f}"
    cells = [f"{share(f'{key}_seen')} / {share(f'{key}_unseen')}" for key in NAMES]
    return f"| {name} | {' | '.join(cells)} | {'' if seconds is None else f'{seconds:.0f}'} |"


def drawn(model, data: Data, cond: Mapping, n: int, steps: int, guide) -> Tensor:
    """n pictures of the sentences, bytes."""
    options = {"cond": cond, "guide": guide, "batch_size": 100, "progress": False, "seed": 1}
    return model.generate(n, DPMpp2M(steps=steps), **options).to(torch.uint8)


def front(rows: Sequence[tuple[float, Mapping[str, Tensor]]], path: str) -> None:
    """The shares over the scales of guidance, as a picture."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True)
    for axis, which in zip(axes, ("seen", "unseen"), strict=True):
        for name in NAMES:
            axis.plot([w for w, _ in rows], [float(f[f"{name}_{which}"].nanmean()) for _, f in rows], "o-", label=name)
        axis.set(title=f"pairs of colour and shape {which} in training", xlabel="guidance scale", ylim=(0, 1.02))
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("share that is right")
    axes[1].legend(loc="lower right")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def sheet(model, data: Data, scale: float, steps: int, path: str, samples: int = 8) -> None:
    """Samples of a few sentences, a row each."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    texts = [text for text in SHOWN for _ in range(samples)]
    x = drawn(model, data, {"caption": texts}, len(texts), steps, lambda m: Guided(m, scale))
    figure, axes = plt.subplots(len(SHOWN), samples, figsize=(1.0 * samples + 3.4, 1.05 * len(SHOWN)))
    for picture, axis in zip(x, axes.flat, strict=True):
        axis.imshow(picture.permute(1, 2, 0).numpy(), interpolation="nearest")
        axis.set(xticks=[], yticks=[])
    figure.subplots_adjust(0.34, 0.01, 0.99, 0.99, 0.05, 0.08)
    for k, text in enumerate(SHOWN):
        figure.text(0.33, 1 - (k + 0.5) / len(SHOWN), text, ha="right", va="center", fontsize=8.5)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--scales", type=float, nargs="+", default=[1.0, 1.5, 2.0, 3.0, 4.0, 6.0])
    parser.add_argument("--n", type=int, default=500)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--clip", default=None)
    parser.add_argument("--clip-scales", type=float, nargs="+", default=[1.0, 3.0])
    parser.add_argument("--picture", default=None, help="the front as a picture, and beside it a sheet of samples")
    args = parser.parse_args()
    model, data = scoresde.load(args.folder), scoresde.data.scenes()
    real = collate(data.test, range(args.n), ["caption"])
    others = {"caption": real.cond["caption"].roll(2, 0)}
    print(f"{args.n} pictures, {args.steps} steps, per cent right: pairs seen / unseen in training\n")
    print(f"| | {' | '.join(NAMES)} | seconds |\n|---|{'---|' * len(NAMES)}---:|")
    print(line("true pictures", data.judge(real.x, real.cond)))
    print(line("true pictures of other sentences", data.judge(real.x, others)))
    rows = []
    guides = [(f"w = {w:g}", w, (lambda m, w=w: Guided(m, w)) if w != 1 else None) for w in args.scales]
    if args.clip:
        clip, texts = scoresde.load(args.clip), data.conditions["caption"].decode(real.cond["caption"])
        led = lambda w: lambda m: ClipGuided(m, clip, texts, w)
        guides += [(f"CLIP guidance, w = {w:g}", None, led(w)) for w in args.clip_scales]
    for name, w, guide in guides:
        began = time.perf_counter()
        x = drawn(model, data, real.cond if w is not None else {}, args.n, args.steps, guide)
        found = data.judge(x, real.cond)
        print(line(name, found, time.perf_counter() - began), flush=True)
        rows += [(w, found)] if w is not None else []
    if args.picture:
        front(rows, args.picture)
        best = max(rows, key=lambda row: float(row[1]["all_seen"].nanmean()))[0]
        sheet(model, data, best, args.steps, args.picture.replace(".png", "_samples.png"))


if __name__ == "__main__":
    main()
