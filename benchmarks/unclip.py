"""Pictures by way of their embeddings: what the embedding loses, what the prior loses, and changes by words.

    python run.py experiment=unclip_scenes
    python benchmarks/unclip.py [runs/unclip_scenes] [--scales 1 2] [--picks 1 2 8] [--n 500] [--changes 200]

The sentences are those of n held-out scenes, every second with a colour and a shape that training never had together;
the reader is the data's own.  Told the embedding of the true picture the decoder shows what the embedding keeps of it;
told one that the prior draws of the sentence, the whole.  Changes: true pictures whose first shape is to have another
colour, by the difference of two texts, of the whole sentence or of that shape alone ("a red circle" to "a green
circle"); read are the colour that it then has, and whether the picture is what it was otherwise.
"""

import argparse
import time
from collections.abc import Mapping

import torch
from scenes import NAMES, line
from torch import Tensor

import scoresde
from scoresde.data import Data, collate
from scoresde.guidance import Guided
from scoresde.sampling import DPMpp2M
from scoresde.unclip import Unclip

COLOURS = ("red", "green", "blue", "yellow", "purple", "black")
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", default="runs/unclip_scenes")
    parser.add_argument("--scales", type=float, nargs="+", default=[1.0, 2.0])
    parser.add_argument("--picks", type=int, nargs="*", default=[1, 2, 8])
    parser.add_argument("--n", type=int, default=500)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--changes", type=int, default=200, help="pictures to change; 0: none")
    parser.add_argument("--amounts", type=float, nargs="+", default=[0.0, 0.25, 0.5, 0.75])
    args = parser.parse_args()
    prior, decoder, clip = (scoresde.load(f"{args.folder}/{name}") for name in ("prior", "decoder", "clip"))
    both, data = Unclip(prior, decoder, clip), scoresde.data.scenes()
    real = collate(data.test, range(args.n), ["caption"])
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
    if args.changes:
        print("\n| texts, amount | new colour | old colour | shape | size | relation | all, new | seconds |")
        print("|---|---:|---:|---:|---:|---:|---:|---:|")
        sentences = data.conditions["caption"].decode(real.cond["caption"])[: args.changes]
        for brief in (False, True):
            changes(both, data, real.x[: args.changes], sentences, brief, args.amounts)


if __name__ == "__main__":
    main()
