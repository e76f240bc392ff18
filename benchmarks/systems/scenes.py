"""Pictures from sentences: does a picture follow its sentence, by the scale of guidance, on words seen and unseen.

    python run.py experiment=glide_scenes
    python benchmarks/systems/scenes.py FOLDER [--scales 1 2 3 4] [--clip NOISY_CLIP] [--features CLIP]
        [--picture X.png]
    python benchmarks/systems/scenes.py FOLDER --edit

The sentences are those of n held-out scenes, every second with a colour and a shape that training never had together.
The reader is the data's own.  Beside the scales stand true pictures, and true pictures of other sentences: chance.
With the folder of a noised CLIP (`task=contrastive task.noise=true`) the model is led by that too, without its
sentences and with them.  With `--features`, the folder of a CLIP of clean pictures, whose vectors are the features:
Frechet distance, precision and recall against as many other held-out pictures, with 95 % intervals.

With `--edit` the model is one of inpainting (`experiment=glide_scenes_edit`): the box around the first shape of a
held-out scene is cut out, and the sentence says another colour and shape for it.
"""

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

import scoresde
from scoresde import metrics
from scoresde.data import Box, Data, collate, put_back
from scoresde.data.readers.scenes.reading import read
from scoresde.data.readers.scenes.scene import COLOURS, SHAPES, WIDTH
from scoresde.data.readers.scenes.words import told
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
Found = Mapping[str, Tensor]


@dataclass(frozen=True)
class Way:
    """A way to draw: its kind (of one line in the front), its scale, whether the model is told, and who leads it."""

    kind: str
    scale: float
    guide: Callable | None
    told: bool = True

    @property
    def name(self) -> str:
        return f"{self.kind}, w = {self.scale:g}"


def share(found: Found, key: str) -> float:
    return float(found[key].nanmean())


def line(name: str, found: Found, seconds: float | None = None, far: Mapping | None = None) -> str:
    """A row of the table: by attribute the share that is right, of words seen and unseen, in per cent."""
    cells = [f"{100 * share(found, f'{key}_seen'):.1f} / {100 * share(found, f'{key}_unseen'):.1f}" for key in NAMES]
    for e in (far or {}).values():
        cells.append(f"{e.value:.3f} ({e.low:.3f} to {e.high:.3f})")
    return f"| {name} | {' | '.join(cells)} | {'' if seconds is None else f'{seconds:.0f}'} |"


def drawn(model, cond: Mapping, n: int, steps: int, guide, batch: int = 100) -> Tensor:
    """n pictures of the sentences, bytes."""
    options = {"cond": cond, "guide": guide, "batch_size": batch, "progress": False, "seed": 1}
    return model.generate(n, DPMpp2M(steps=steps), **options).to(torch.uint8)


def ways(scales: Sequence[float], texts: Sequence[str], clip=None, clip_scales: Sequence[float] = ()) -> list[Way]:
    """What is compared."""
    found = [Way("CFG", w, (lambda m, w=w: Guided(m, w)) if w != 1 else None) for w in scales]
    for w in clip_scales if clip is not None else ():
        led = lambda m, w=w: ClipGuided(m, clip, texts, w)
        found += [Way("CLIP, no sentence", w, led, False), Way("CLIP and sentence", w, led)]
    return found


def measure(folder: str | None, data: Data, n: int) -> Callable[[Tensor], dict]:
    """A function of n pictures: how far they are from n others of the held-out ones; of nothing without a folder."""
    if folder is None:
        return lambda raw: {}
    clip = scoresde.load(folder)
    features = lambda raw: clip.of_picture(data.encode(raw)).double()
    held = features(collate(data.test, range(n, 2 * n), []).x)

    def far(raw: Tensor) -> dict:
        x = features(raw)
        near = metrics.neighbours(x, held)
        return {"Frechet": metrics.frechet(x, held), **{name: near[name] for name in ("precision", "recall")}}

    return far


def figure(width: float, height: float, rows: int, columns: int, layout: str | None = "constrained"):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot.subplots(rows, columns, figsize=(width, height), layout=layout)


def front(rows: Sequence[tuple[Way, Found]], path: Path) -> None:
    """The shares over the scales of classifier-free guidance."""
    picture, axes = figure(9, 3.4, 1, 2)
    rows = [(way.scale, found) for way, found in rows if way.kind == "CFG"]
    for axis, which in zip(axes, ("seen", "unseen"), strict=True):
        for name in NAMES:
            axis.plot([w for w, _ in rows], [share(f, f"{name}_{which}") for _, f in rows], "o-", label=name)
        axis.set(title=f"pairs of colour and shape {which} in training", xlabel="guidance scale", ylim=(0, 1.02))
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("share that is right")
    axes[1].legend(loc="lower right")
    picture.savefig(path, dpi=110)


def variety(rows: Sequence[tuple[Way, Found]], far: Sequence[Mapping], real: Mapping, path: Path) -> None:
    """Fidelity against diversity: the share of pictures that are wrong against recall, a line for each kind."""
    picture, axis = figure(7, 4.4, 1, 1)
    for kind in dict.fromkeys(way.kind for way, _ in rows):
        own = [(way, found, e["recall"]) for (way, found), e in zip(rows, far, strict=True) if way.kind == kind]
        x = [e.value for _, _, e in own]
        ends = [[e.value - e.low for _, _, e in own], [e.high - e.value for _, _, e in own]]
        y = [100 - 50 * (share(found, "all_seen") + share(found, "all_unseen")) for _, found, _ in own]
        axis.errorbar(x, y, xerr=ends, marker="o", capsize=2, lw=1.2, label=kind)
        for (way, _, _), a, b in zip(own, x, y, strict=True):
            axis.annotate(f"{way.scale:g}", (a, b), xytext=(4, 4), textcoords="offset points", fontsize=8)
    axis.axvline(real["recall"].value, color="black", lw=1, ls=":", label="recall of true pictures")
    axis.set(xlabel="recall: share of held-out pictures that the samples cover, 95 % interval")
    axis.set(ylabel="pictures with something of the sentence wrong, %", yscale="symlog", ylim=(0, 130))
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    picture.savefig(path, dpi=110)


def sheet(x: Tensor, texts: Sequence[str], path: Path) -> None:
    """Pictures (rows, columns, 3, side, side), a row for each text."""
    rows, columns = x.shape[:2]
    picture, axes = figure(1.0 * columns + 3.4, 1.05 * rows, rows, columns, None)
    for raw, axis in zip(x.flatten(0, 1), axes.flat, strict=True):
        axis.imshow(raw.permute(1, 2, 0).numpy(), interpolation="nearest")
        axis.set(xticks=[], yticks=[])
    picture.subplots_adjust(0.34, 0.01, 0.99, 0.99, 0.05, 0.08)
    for k, text in enumerate(texts):
        picture.text(0.33, 1 - (k + 0.5) / rows, text, ha="right", va="center", fontsize=8.5)
    picture.savefig(path, dpi=110)


def compare(args, model, data: Data) -> None:
    """The table of the scales, and its pictures."""
    real = collate(data.test, range(args.n), ["caption"])
    others = {"caption": real.cond["caption"].roll(2, 0)}
    texts = data.conditions["caption"].decode(real.cond["caption"])
    away = measure(args.features, data, args.n)
    true = away(real.x)
    print(f"{args.n} pictures, {args.steps} steps, per cent right: pairs seen / unseen in training\n")
    print(f"| | {' | '.join([*NAMES, *true])} | seconds |\n|---|{'---|' * (len(NAMES) + len(true))}---:|")
    print(line("true pictures", data.judge(real.x, real.cond), far=true))
    print(line("true pictures of other sentences", data.judge(real.x, others), far=true))
    clip, rows, far = scoresde.load(args.clip) if args.clip else None, [], []
    for way in ways(args.scales, texts, clip, args.clip_scales):
        began = time.perf_counter()
        size = args.n if not way.told or way.kind != "CFG" else 100  # the texts that lead have a row for each sample
        x = drawn(model, real.cond if way.told else {}, args.n, args.steps, way.guide, size)
        seconds = time.perf_counter() - began
        rows.append((way, data.judge(x, real.cond)))
        far.append(away(x))
        print(line(way.name, rows[-1][1], seconds, far[-1]), flush=True)
    if args.picture:
        beside = lambda what: args.picture.with_stem(f"{args.picture.stem}_{what}")
        front(rows, beside("front"))
        best = max((row for row in rows if row[0].kind == "CFG"), key=lambda row: share(row[1], "all_seen"))[0]
        said = {"caption": [text for text in SHOWN for _ in range(8)]}
        x = drawn(model, said, 8 * len(SHOWN), args.steps, best.guide)
        sheet(x.unflatten(0, (-1, 8)), SHOWN, args.picture)
        if true:
            variety(rows, far, true, beside("variety"))


def edits(data: Data, n: int, seed: int = 0) -> tuple[Tensor, Tensor, list[str], list[str]]:
    """Held-out pictures (n, ...), what is seen of them, their sentences, and the new ones."""
    real = collate(data.test, range(n), ["caption"])
    before, scene = data.conditions["caption"].decode(real.cond["caption"]), read(real.x)
    generator, x, after = torch.Generator().manual_seed(seed), data.encode(real.x), []
    seen = x.clone()
    for i, text in enumerate(before):
        _, colour, shape = told(text).shapes[0]
        k = next(k for k in range(3) if scene.colour[i, k] == colour and scene.shape[i, k] == shape)
        box = [(float(part[i, k]) - 0.5) / 16 for part in (scene.y, scene.x)]
        ends = [min(1.0, start + (WIDTH[int(scene.size[i, k])] + 1) / 16) for start in box]
        cut = Box(low=tuple(max(0.0, start) for start in box), high=tuple(ends))
        seen[i] = cut(x[i : i + 1], torch.zeros(1, dtype=torch.long), 0)[0]
        other = int(torch.randint(len(COLOURS) * len(SHAPES) - 1, (), generator=generator))
        other += other >= colour * len(SHAPES) + shape  # all but the one that is there
        new = f"{COLOURS[other // len(SHAPES)]} {SHAPES[other % len(SHAPES)]}"
        after.append(text.replace(f"{COLOURS[colour]} {SHAPES[shape]}", new, 1))
    return real.x, seen, before, after


def edit(args, model, data: Data) -> None:
    """How often an edited picture is what the new sentence says, by the scale of guidance."""
    raw, seen, before, after = edits(data, args.n)
    kind = data.conditions["caption"]
    cond = {"caption": kind.rows("caption", after, args.n), "seen": seen}
    print(f"{args.n} edits, {args.steps} steps, per cent right: pairs seen / unseen in training\n")
    print(f"| | {' | '.join(NAMES)} | seconds |\n|---|{'---|' * len(NAMES)}---:|")
    print(line("the pictures before, by the new sentences", data.judge(raw, cond)))
    best, kept = None, None
    for way in ways(args.scales, after):
        began = time.perf_counter()
        x = drawn(model, cond, args.n, args.steps, way.guide)
        x = data.decode(put_back(data.encode(x), seen)).to(torch.uint8)
        found = data.judge(x, cond)
        print(line(way.name, found, time.perf_counter() - began), flush=True)
        if best is None or share(found, "all_seen") > best:
            best, kept = share(found, "all_seen"), x
    if args.picture:
        hole = torch.where(seen.isnan(), 128, raw)
        x = torch.stack([raw, hole, kept], 1)[:8]
        sheet(x, [f"{a}\nto: {b}" for a, b in zip(before[:8], after[:8], strict=True)], args.picture)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--scales", type=float, nargs="+", default=[1.0, 1.5, 2.0, 3.0, 4.0, 6.0])
    parser.add_argument("--n", type=int, default=500)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--clip", default=None)
    parser.add_argument("--clip-scales", type=float, nargs="+", default=[1.0, 3.0])
    parser.add_argument("--features", default=None)
    parser.add_argument("--edit", action="store_true")
    parser.add_argument("--picture", type=Path, default=None, help="samples; beside it the front and the variety")
    args = parser.parse_args()
    model, data = scoresde.load(args.folder), scoresde.data.scenes()
    (edit if args.edit else compare)(args, model, data)


if __name__ == "__main__":
    main()
