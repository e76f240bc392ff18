"""Emoji from words: is a sample what its caption says, in the style that it says, by a CLIP that was trained apart.

    python run.py experiment=emoji data.root=ROOT folder=FOLDER
    python benchmarks/systems/emoji.py FOLDER CLIP ROOT [--scales 1 2 3] [--half odd] [--n 500] [--kid]
        [--picture X.png]

The captions are those of n test emoji; beside the scales of guidance stand the test emoji themselves.  R-precision: how
often a picture's own caption is nearest among 100 of the test set; `name`: among 50 of its own style, so that only what
is shown counts; `style`: among the eight that say the same in each style.  Emoji are dealt to two halves by their names
in order, all styles of an emoji to one: a scale that is chosen on the even half is measured on the odd one.  With --kid
also KID by EfficientNet-Lite0 to all test emoji, beside that of as many training emoji, of all and by style.
"""

import argparse
import csv
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

import scoresde
from scoresde.data import stack
from scoresde.data.items import column
from scoresde.guidance import Guided
from scoresde.metrics import EfficientNetLite0, kid, r_precision
from scoresde.metrics.estimate import student, wilson
from scoresde.sampling import DPMpp2M

SHOWN = (  # of held-out emoji, one of each style
    "crying face, noto style",
    "bear, old noto style",
    "blue heart, twemoji style",
    "maple leaf, openmoji style",
    "woman student, fluent style",
    "delivery truck, fluent flat style",
    "tomato, fluent 3d style",
    "full moon, firefox style",
)


@dataclass(frozen=True)
class Captions:
    """The captions of test emoji, and of each its words, its style by number, and the half that its emoji is in."""

    texts: list[str]
    names: list[str]
    style: Tensor
    half: Tensor
    styles: list[str]

    @classmethod
    def read(cls, root: Path, files: Sequence[str]) -> "Captions":
        """Of the files of the test set, by its metadata.csv."""
        with (root / "test" / "metadata.csv").open(encoding="utf-8", newline="") as file:
            rows = {row["file_name"]: row for row in csv.DictReader(file)}
        rows = [rows[Path(name).name] for name in files]
        texts = [row["text"] for row in rows]
        names, styles = zip(*(text.rsplit(", ", 1) for text in texts), strict=True)
        kinds, order = sorted({*styles}), sorted({row["name"] for row in rows})
        style = torch.tensor([kinds.index(style) for style in styles])
        return cls(texts, list(names), style, torch.tensor([order.index(row["name"]) % 2 for row in rows]), kinds)


@dataclass(frozen=True)
class Judge:
    """A CLIP, and what it makes of captions."""

    clip: scoresde.TrainedClip
    captions: Captions
    words: Tensor  # (N, E) of all captions
    each: Tensor  # (N, S, E) of what a caption says in each style

    @classmethod
    def made(cls, clip: scoresde.TrainedClip, captions: Captions) -> "Judge":
        every = [f"{name}, {style}" for name in captions.names for style in captions.styles]
        read = torch.cat([clip.of_text(every[k : k + 500]) for k in range(0, len(every), 500)])
        each = read.reshape(len(captions.names), len(captions.styles), -1)
        return cls(clip, captions, each[torch.arange(len(each)), captions.style], each)

    def __call__(self, raw: Tensor, at: Tensor) -> dict[str, tuple[int, int]]:
        """How many of the pictures of the captions `at` are right, and of how many, by what is asked."""
        f = torch.cat([self.clip.of_picture(part) for part in self.clip.encode(raw).split(200)])
        own, style = self.words[at], self.captions.style
        share = r_precision(f, own, self.words, 100)
        within = [0, 0]
        for s in range(len(self.captions.styles)):
            if bool((rows := style[at] == s).any()):
                found = r_precision(f[rows], own[rows], self.words[style == s], 50)
                within = [within[0] + round(found.value * found.n), within[1] + found.n]
        near = (f[:, None] * self.each[at]).sum(2).argmax(1)
        right = int((near == style[at]).sum())
        return {"both": (round(share.value * len(at)), len(at)), "name": tuple(within), "style": (right, len(at))}


def line(name: str, found: Mapping[str, tuple[int, int]], seconds: float | None = None) -> str:
    """A row of the table: per cent with the 95 % interval."""
    cells = []
    for right, n in found.values():
        low, high = wilson(right / n, n, student(float("inf")))
        cells.append(f"{100 * right / n:.1f} ({100 * low:.1f} to {100 * high:.1f})")
    return f"| {name} | {' | '.join(cells)} | {'' if seconds is None else f'{seconds:.0f}'} |"


def drawn(model: scoresde.Model, texts: Sequence[str], scale: float, steps: int, seed: int = 1) -> Tensor:
    """A picture of each text, bytes."""
    guide = (lambda m: Guided(m, scale)) if scale != 1 else None
    options = {"cond": {"text": list(texts)}, "guide": guide, "batch_size": 100, "autocast": "bf16", "progress": False}
    return model.generate(len(texts), DPMpp2M(steps=steps), seed=seed, **options).to(torch.uint8)


def distances(data: scoresde.data.Data, captions: Captions, x: Tensor, at: Tensor) -> None:
    """Prints the KID of samples of the captions `at` to the test emoji, beside that of training emoji, and by style."""
    extractor, labels = EfficientNetLite0(), data.conditions["style"].names
    features = lambda raw: torch.cat([extractor(data.encode(part)) for part in raw.split(100)])
    every = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(0))[: len(at)]
    held_out, train = features(stack(data.test, range(len(data.test)))), features(stack(data.train, every))
    found, words = features(x), lambda one: f"{one.value:.3f} ({one.low:.3f} to {one.high:.3f})"
    own, real = column(data.train, "style", every.numpy()), column(data.test, "style")
    print("\n| KID (95 % interval) | samples | training emoji |\n|---|---|---|")
    print(f"| all | {words(kid(found, held_out))} | {words(kid(train, held_out))} |", flush=True)
    for s, name in enumerate(labels):
        ours, floor = (kid(v[y == s], held_out[real == s]) for v, y in ((found, real[at]), (train, own)))
        print(f"| {name} | {words(ours)} | {words(floor)} |", flush=True)


def sheet(model: scoresde.Model, scale: float, steps: int, path: str, samples: int = 4) -> None:
    """Samples of a few captions, a row each, in two columns."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    x = drawn(model, [text for text in SHOWN for _ in range(samples)], scale, steps, seed=0)
    rows = len(SHOWN) // 2
    figure = plt.figure(figsize=(9.4, 0.95 * rows))
    for k, picture in enumerate(x):
        row, place = divmod(k, samples)
        left = 0.5 * (row // rows) + 0.17 + place * 0.081
        axis = figure.add_axes((left, 1 - (row % rows + 0.97) / rows, 0.078, 0.94 / rows))
        axis.imshow(picture.permute(1, 2, 0).numpy(), interpolation="nearest")
        axis.set(xticks=[], yticks=[])
    for k, text in enumerate(SHOWN):
        place = (0.5 * (k // rows) + 0.164, 1 - (k % rows + 0.5) / rows)
        figure.text(*place, text.replace(", ", ",\n"), ha="right", va="center", fontsize=8)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("clip")
    parser.add_argument("root", type=Path)
    parser.add_argument("--scales", type=float, nargs="+", default=[1.0, 2.0, 3.0])
    parser.add_argument("--half", choices=("even", "odd"), default="odd")
    parser.add_argument("--n", type=int, default=500)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--kid", action="store_true", help="of the samples at the last of the scales")
    parser.add_argument("--picture", default=None, help="samples of eight captions, at the last of the scales")
    args = parser.parse_args()
    model, data = scoresde.load(args.folder), scoresde.data.images(args.root, size=32, cond=["style"])
    judge = Judge.made(scoresde.load(args.clip), captions := Captions.read(args.root, data.test.names))
    at = (captions.half == (args.half == "odd")).nonzero()[:, 0]
    at = at[torch.randperm(len(at), generator=torch.Generator().manual_seed(0))[: args.n]]
    print(f"{len(at)} captions of the {args.half} half, {args.steps} steps, per cent right (95 % interval)\n")
    print("| | caption of 100 | name of 50 | style of 8 | seconds |\n|---|---|---|---|---:|")
    print(line("test emoji", judge(stack(data.test, at), at)), flush=True)
    for scale in args.scales:
        began = time.perf_counter()
        x = drawn(model, [captions.texts[k] for k in at.tolist()], scale, args.steps)
        print(line(f"w = {scale:g}", judge(x, at), time.perf_counter() - began), flush=True)
    if args.picture:
        sheet(model, args.scales[-1], args.steps, args.picture)
    if args.kid:
        distances(data, captions, x, at)


if __name__ == "__main__":
    main()
