"""Imagen of scenes: guidance and thresholds of the base, what the upsamplers keep, and sentences in other words.

    python run.py experiment=imagen_scenes
    python benchmarks/systems/imagen.py BASE UP32 UP64 [--glide FOLDER] [--n 500] [--only base words cascade]
        [--picture X.png]

BASE, UP32 and UP64 are the folders that the first command names.  The sentences are those of held-out scenes, every
second with a colour and a shape that training never had together; the reader is the data's own.  In other words: each
word of a kind is replaced by another, which training never had, and the picture is read by the sentence as it was.
With the folder of a GLIDE (experiment=glide_scenes), whose reader of words was trained with it, it is told the same.
"""

import argparse
import textwrap
import time
from collections.abc import Iterable, Sequence

import torch
from scenes import NAMES, SHOWN, line
from torch import Tensor

import scoresde
from scoresde.cascade import Cascade, Stage
from scoresde.data import collate
from scoresde.guidance import Guided, Thresholded
from scoresde.sampling import DPMpp2M

OTHER = {
    "size": {"small": "tiny", "large": "big"},
    "colour": {
        "red": "crimson",
        "green": "emerald",
        "blue": "azure",
        "yellow": "golden",
        "purple": "violet",
        "black": "ebony",
    },
    "shape": {
        "circle": "disc",
        "square": "box",
        "triangle": "pyramid",
        "cross": "plus sign",
        "ring": "hoop",
        "star": "pentagram",
    },
    "relation": {
        "above": "over",
        "below": "under",
        "left of": "to the left of",
        "right of": "to the right of",
    },
}
PARAPHRASED = (
    "a tiny crimson disc over a big azure box",
    "a big golden pentagram to the left of a tiny violet hoop",
)


def in_other_words(text: str, kinds: Iterable[str]) -> str:
    """A sentence whose words of these kinds are others."""
    for kind in kinds:
        for word, other in OTHER[kind].items():
            text = f" {text} ".replace(f" {word} ", f" {other} ").strip()
    return text


def guide(scale: float, quantile: float | None):
    """What leads a stage: guidance, and around it dynamic thresholding."""

    def led(model):
        model = Guided(model, scale) if scale != 1 else model
        return model if quantile is None else Thresholded(model, quantile=quantile)

    return led


def stage(model, scale: float, quantile: float | None, steps: int, augment: float = 0.0) -> Stage:
    return Stage(model, DPMpp2M(steps=steps), guide=guide(scale, quantile), augment=augment)


def head(title: str) -> None:
    print(f"\n{title}\n\n| | {' | '.join(NAMES)} | seconds |\n|---|{'---|' * len(NAMES)}---:|", flush=True)


class Bench:
    """The models, the held-out sentences, and the reader."""

    def __init__(self, args: argparse.Namespace):
        self.args, self.models = args, [scoresde.load(folder) for folder in args.folders]
        self.scenes = scoresde.data.scenes()
        self.real = collate(self.scenes.test, range(args.n), ["caption"])
        self.texts = self.scenes.conditions["caption"].decode(self.real.cond["caption"])

    def drawn(self, stages: Sequence[Stage], texts: Sequence[str]) -> list[Tensor]:
        """The pictures of each stage, bytes."""
        options = {"cond": {"caption": [*texts]}, "progress": False, "batch_size": 100, "seed": 1, "autocast": "bf16"}
        parts = Cascade(stages).draw(len(texts), **options)
        return [one.model.decode(x).to(torch.uint8) for one, x in zip(stages, parts, strict=True)]

    def row(self, name: str, stages: Sequence[Stage], texts: Sequence[str], each: bool = False) -> None:
        """Prints what the reader says of the last stage's pictures, or of those of each."""
        began = time.perf_counter()
        parts = self.drawn(stages, texts)
        seconds = time.perf_counter() - began
        for x in parts if each else parts[-1:]:
            words = f"{name}, {x.shape[-1]} pixels" if each else name
            print(line(words, self.scenes.judge(x, self.real.cond), seconds), flush=True)

    def base(self) -> None:
        """Scales of guidance, without a threshold and with it."""
        head(f"The base, {self.args.n} pictures of 16 pixels, {self.args.steps} steps")
        print(line("true pictures", self.scenes.judge(self.real.x, self.real.cond)))
        others = {"caption": self.real.cond["caption"].roll(2, 0)}
        print(line("true pictures of other sentences", self.scenes.judge(self.real.x, others)))
        for scale in self.args.scales:
            for quantile in (None, self.args.quantile) if scale > 1 else (None,):
                name = f"w = {scale:g}" + (", threshold" if quantile is not None else "")
                self.row(name, [stage(self.models[0], scale, quantile, self.args.steps)], self.texts)

    def words(self) -> None:
        """Sentences in other words, and of a GLIDE the same."""
        made = {"frozen encoder": self.models[0]}
        if self.args.glide:
            made["trained with the model"] = scoresde.load(self.args.glide)
        head(f"In other words, {self.args.n} pictures of 16 pixels, w = {self.args.scale:g}")
        for name, model in made.items():
            for kinds in ((), *((kind,) for kind in OTHER), (*OTHER,)):
                texts = [in_other_words(text, kinds) for text in self.texts]
                which = "all four" if len(kinds) > 1 else "".join(kinds) or "none"
                self.row(f"{name}: {which}", [stage(model, self.args.scale, None, self.args.steps)], texts)

    def cascade(self) -> None:
        """All stages, by the guidance and the augmentation of the upsamplers."""
        head(f"The cascade, {self.args.n} pictures, w = {self.args.scale:g} of the base, of the upsamplers as said")
        for scale, quantile, augment in self.args.ups:
            ups = [stage(up, scale, quantile, self.args.up_steps, augment) for up in self.models[1:]]
            made = [stage(self.models[0], self.args.scale, None, self.args.steps), *ups]
            name = f"w = {scale:g}, augment {augment:g}" + (", threshold" if quantile is not None else "")
            self.row(name, made, self.texts, each=True)

    def picture(self, path: str) -> None:
        """Samples of a few sentences, two of them through all stages."""
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot as plt

        texts = [*SHOWN, *PARAPHRASED]
        ups = [stage(up, 1.0, None, self.args.up_steps, 0.1) for up in self.models[1:]]
        made = [stage(self.models[0], self.args.scale, None, self.args.steps), *ups]
        parts = self.drawn(made, [text for text in texts for _ in range(4)])
        figure, axes = plt.subplots(len(texts), len(parts) + 3, figsize=(9.2, 1.05 * len(texts)))
        for k, text in enumerate(texts):
            for j, x in enumerate([*(x[4 * k] for x in parts), *parts[-1][4 * k + 1 : 4 * k + 4]]):
                axes[k, j].imshow(x.permute(1, 2, 0).numpy(), interpolation="nearest")
                axes[k, j].set(xticks=[], yticks=[])
            words = textwrap.fill(text, 40)
            figure.text(0.33, 1 - (k + 0.5) / len(texts), words, ha="right", va="center", fontsize=8.5)
        figure.subplots_adjust(0.34, 0.01, 0.99, 0.99, 0.05, 0.08)
        figure.savefig(path, dpi=100)


def settings() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", help="of the base, and of the upsamplers in order")
    parser.add_argument("--glide", default=None)
    parser.add_argument("--n", type=int, default=300)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--up-steps", type=int, default=10)
    parser.add_argument("--scale", type=float, default=3.0, help="of the base in the cascade and in other words")
    parser.add_argument("--scales", type=float, nargs="+", default=[1.0, 2.0, 3.0, 5.0, 8.0])
    parser.add_argument("--quantile", type=float, default=0.995)
    parser.add_argument("--only", nargs="*", default=["base", "words", "cascade"])
    parser.add_argument("--picture", default=None)
    args = parser.parse_args()
    args.ups = [(1.0, None, 0.1), (1.0, None, 0.0), (2.0, args.quantile, 0.1)]
    return args


def main() -> None:
    args = settings()
    bench = Bench(args)
    for name in args.only:
        if name != "cascade" or len(args.folders) > 1:
            getattr(bench, name)()
    if args.picture:
        bench.picture(args.picture)


if __name__ == "__main__":
    main()
