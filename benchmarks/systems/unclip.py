"""Pictures by way of their embeddings: what CLIP, embedding and prior lose of a sentence, and changes by words.

    python run.py experiment=unclip_scenes
    python benchmarks/systems/unclip.py [runs/unclip_scenes] [--scales 1 2] [--picks 1 2 8] [--n 500] [--changes 200]

The sentences are those of n held-out scenes, every second with a colour and a shape that training never had together;
the reader is the data's own.  Told the embedding of the true picture the decoder shows what the embedding keeps of it;
told one that the prior draws of the sentence, the whole.  Changes: true pictures whose first shape is to have another
colour, by the difference of two texts, of the whole sentence or of that shape alone ("a red circle" to "a green
circle"); read are the colour that it then has, and whether the picture is what it was otherwise.
"""

import argparse
import re
import time
from collections.abc import Mapping

import torch
from scenes import NAMES, SHOWN, line
from torch import Tensor

import scoresde
from scoresde.data import Data, collate
from scoresde.guidance import Guided
from scoresde.sampling import DPMpp2M
from scoresde.unclip import Unclip

COLOURS = ("red", "green", "blue", "yellow", "purple", "black")
WRONG = ("the relation reversed", "the sizes exchanged", "the colours exchanged", "the shapes exchanged")
REVERSED = {"above": "below", "below": "above", "left of": "right of", "right of": "left of"}
SENTENCE = re.compile(rf"a (\w+) (\w+) (\w+) ({'|'.join(REVERSED)}) a (\w+) (\w+) (\w+)")
BATCH = 100


def led(w: float):
    """Classifier-free guidance of scale w."""
    return (lambda model: Guided(model, w)) if w != 1 else None


def cut(n: int) -> list[slice]:
    return [slice(i, min(i + BATCH, n)) for i in range(0, n, BATCH)]


def drawn(both: Unclip, raw: Tensor, cond: Mapping, picks: int, w: float, steps: int) -> Tensor:
    """Pictures of the sentences, picks of the prior's each; of no picks: of the true pictures' embeddings."""
    found, sampler = [], DPMpp2M(steps=steps)
    for k, rows in enumerate(cut(len(raw))):
        own = {name: value[rows] for name, value in cond.items()}
        e = both.embed(len(raw[rows]), own, seed=k, picks=picks, sampler=sampler) if picks else both.seen(raw[rows])
        found.append(both.draw(e, own, seed=100 + k, sampler=sampler, guide=led(w)))
    return torch.cat(found).to(torch.uint8)


def held(clip, data: Data, n: int = 1000) -> None:
    """How often a held-out picture is nearer to its sentence than to that made wrong in one way."""
    real = collate(data.test, range(n), ["caption"])
    sentences = data.conditions["caption"].decode(real.cond["caption"])
    f = torch.cat([clip.of_picture(data.encode(part)) for part in real.x.split(BATCH)])
    own, found = (f * clip.of_text(sentences)).sum(1), []
    for name in WRONG:
        texts = [wrong(sentence, name) for sentence in sentences]
        other = torch.tensor([a != b for a, b in zip(texts, sentences, strict=True)])
        found.append(100 * float((own > (f * clip.of_text(texts)).sum(1))[other].double().mean()))
    print(f"per cent of {n} pictures nearer to their sentence than to that with\n\n| {' | '.join(WRONG)} |")
    print(f"|{'---:|' * len(WRONG)}\n| {' | '.join(f'{value:.1f}' for value in found)} |\n")


def wrong(sentence: str, name: str) -> str:
    """A sentence of two shapes with the relation reversed, or what `WRONG` says exchanged between them."""
    size, colour, shape, relation, *other = SENTENCE.fullmatch(sentence).groups()
    first, k = [size, colour, shape], WRONG.index(name) - 1
    if k < 0:
        relation = REVERSED[relation]
    else:
        first[k], other[k] = other[k], first[k]
    return f"a {' '.join(first)} {relation} a {' '.join(other)}"


def recoloured(sentences: list[str], brief: bool) -> tuple[list[str], list[str], list[str]]:
    """Texts before and after, and the sentences after: the first shape has the next colour.

    `brief`: the texts are of that shape alone, without its size.
    """
    before, after, whole = [], [], []
    for k, sentence in enumerate(sentences):
        _, size, colour, shape, *rest = sentence.split(" ")
        new = [c for c in COLOURS if c != colour][k % 5]
        whole.append(" ".join(["a", size, new, shape, *rest]))
        before.append(f"a {colour} {shape}" if brief else sentence)
        after.append(f"a {new} {shape}" if brief else whole[-1])
    return before, after, whole


def changes(both: Unclip, data: Data, raw: Tensor, sentences: list[str], brief: bool, amounts: list[float]) -> None:
    """Rows of the table of changes."""
    before, after, whole = recoloured(sentences, brief)
    began, found = time.perf_counter(), []
    for rows in cut(len(raw)):
        found.append(both.changed(raw[rows], before[rows], after[rows], amounts, rtol=1e-2, atol=1e-2))
    found, seconds = torch.cat(found).to(torch.uint8), time.perf_counter() - began
    told = lambda texts: {"caption": data.conditions["caption"].rows("caption", texts, len(texts))}
    for k, amount in enumerate(amounts):
        new, old = (data.judge(found[:, k], told(texts)) for texts in (whole, sentences))
        share = lambda read, name: 100 * float(torch.cat([read[f"{name}_{p}"] for p in ("seen", "unseen")]).nanmean())
        kept = [share(new, name) for name in ("shape", "size", "relation")]
        cells = [share(new, "colour"), share(old, "colour"), *kept, share(new, "all")]
        name = "that shape" if brief else "the sentence"
        print(
            f"| {name}, {amount:g} | {' | '.join(f'{c:.1f}' for c in cells)} | {seconds / len(amounts):.0f} |",
            flush=True,
        )


def sheet(both: Unclip, raw: Tensor, sentences: list[str], w: float, picks: int, steps: int, path: str) -> None:
    """Pictures of four sentences; of four true pictures variations, walks to four others, and changes: a row each."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    sampler, wide, few = DPMpp2M(steps=steps), 8, 4
    options = {"sampler": sampler, "guide": led(w), "seed": 3}
    texts = [SHOWN[k] for k in (0, 1, 2, 4)]
    cond = {"caption": [text for text in texts for _ in range(wide)]}
    words = both.generate(few * wide, cond, picks=picks, first=None, **options).unflatten(0, (few, wide))
    a, b, how = raw[:few], raw[few : 2 * few], {"rtol": 1e-2, "atol": 1e-2}
    varied = torch.cat([a[:, None], both.variations(a, wide - 1, **options)], 1)
    walks = both.between(a, b, wide, **how)
    before, after, _ = recoloured(sentences[:few], False)
    amounts = [k / (wide - 1) for k in range(wide - 1)]
    changed = torch.cat([a[:, None], both.changed(a, before, after, amounts, **how)], 1)
    rows = torch.cat([part.to(torch.uint8) for part in (words, varied, walks, changed)])
    to = [f"{old.split()[2]} to {new.split()[2]} {new.split()[3]}" for old, new in zip(before, after, strict=True)]
    names = (
        texts + [f"{what} {k + 1}" for what in ("variations of picture", "walk from picture") for k in range(few)] + to
    )
    figure, axes = plt.subplots(len(rows), wide, figsize=(0.62 * wide + 3.0, 0.65 * len(rows)))
    for picture, axis in zip(rows.flatten(0, 1), axes.flat, strict=True):
        axis.imshow(picture.permute(1, 2, 0).numpy(), interpolation="nearest")
        axis.set(xticks=[], yticks=[])
    figure.subplots_adjust(0.37, 0.01, 0.99, 0.99, 0.05, 0.08)
    for k, text in enumerate(names):
        figure.text(0.36, 1 - (k + 0.5) / len(rows), text, ha="right", va="center", fontsize=7.5)
    figure.savefig(path, dpi=90)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", default="runs/unclip_scenes")
    parser.add_argument("--scales", type=float, nargs="+", default=[1.0, 2.0])
    parser.add_argument("--picks", type=int, nargs="*", default=[1, 2, 8])
    parser.add_argument("--n", type=int, default=500)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--changes", type=int, default=200, help="pictures to change; 0: none")
    parser.add_argument("--amounts", type=float, nargs="+", default=[0.0, 0.25, 0.5, 0.75])
    parser.add_argument("--picture", default=None, help="a sheet of samples, variations, walks and changes")
    args = parser.parse_args()
    prior, decoder, clip = (scoresde.load(f"{args.folder}/{name}") for name in ("prior", "decoder", "clip"))
    both, data = Unclip(prior, decoder, clip), scoresde.data.scenes()
    real = collate(data.test, range(args.n), ["caption"])
    held(clip, data)
    print(f"{args.n} pictures, {args.steps} steps, per cent right: pairs seen / unseen in training\n")
    print(f"| | {' | '.join(NAMES)} | seconds |\n|---|{'---|' * len(NAMES)}---:|")
    print(line("true pictures", data.judge(real.x, real.cond)))
    print(line("true pictures of other sentences", data.judge(real.x, {"caption": real.cond["caption"].roll(2, 0)})))
    for w in args.scales:
        for picks in (0, *args.picks):
            began = time.perf_counter()
            found = data.judge(drawn(both, real.x, real.cond, picks, w, args.steps), real.cond)
            name = f"picked of {picks}" if picks else "embeddings of the true pictures"
            print(line(f"{name}, w = {w:g}", found, time.perf_counter() - began), flush=True)
    sentences = data.conditions["caption"].decode(real.cond["caption"])
    if args.picture:
        sheet(both, real.x, sentences, args.scales[-1], max(args.picks), args.steps, args.picture)
    if args.changes:
        print("\n| texts, amount | new colour | old colour | shape | size | relation | all, new | seconds |")
        print("|---|---:|---:|---:|---:|---:|---:|---:|")
        for brief in (False, True):
            changes(both, data, real.x[: args.changes], sentences[: args.changes], brief, args.amounts)


if __name__ == "__main__":
    main()
