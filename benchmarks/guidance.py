"""Fidelity against diversity of guided digits: are samples read as their class, and how far are they from the data?

    python run.py cond=[label] task=train folder=runs/labels
    python run.py cond=[label] task=train folder=runs/weaker train.steps=200 net.channels=16
    python run.py task=train folder=runs/plain
    python benchmarks/guidance.py --model runs/labels --weaker runs/weaker --plain runs/plain --classifier FOLDER

The judge is a classifier that was trained on one half of the training digits, apart from all that is judged.  Samples
have all classes in equal numbers, from the same noise in every row (seed 0).  `read as its class` is the share that
the judge reads as the class asked for; `class shares` the largest deviation of a class's share among the samples as
read, in standard errors; `Frechet` the distance of the judge's features to those of the held-out digits, with its 95
% interval; `real` are training digits that the judge was not trained on.  With `--picture FILE` the front is drawn.
"""

import argparse
import math
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import scoresde
from scoresde import data, metrics
from scoresde.guidance import Autoguided, ClassifierGuided, Guided, Projected
from scoresde.sampling import DPMpp2M


def judge_of(digits) -> tuple[metrics.Learned, torch.Tensor, torch.Tensor]:
    """The judge, and the training digits that it has not seen, with their labels."""
    order = torch.randperm(len(digits.train), generator=torch.Generator().manual_seed(0))
    seen, rest = order[: len(order) // 2], order[len(order) // 2 :]
    items = lambda index: digits.encode(data.stack(digits.train, index))
    held = digits.encode(data.stack(digits.test, range(len(digits.test)))), digits.labels[1]
    return metrics.Learned.fit(items(seen), digits.labels[0][seen], held, 1500), items(rest), digits.labels[0][rest]


def ways(args) -> dict:
    """What is judged, by its name: a function (labels) -> (denoiser, cond)."""
    model = scoresde.load(args.model)
    cond = lambda y: {"label": y}
    found = {f"cfg {w:g}": (lambda y, w=w: (Guided(model, w), cond(y))) for w in (0.0, 1.0, 1.5, 2.0, 3.0, 5.0)}
    for w in (2.0, 3.0, 5.0):
        found[f"cfg {w:g}, interval 0.2 to 2"] = lambda y, w=w: (Guided(model, w, interval=(0.2, 2.0)), cond(y))
    found["apg 3"] = lambda y: (Guided(model, 3.0, how=Projected()), cond(y))
    found["cfg 3, rescale 0.7"] = lambda y: (Guided(model, 3.0, rescale=0.7), cond(y))
    if args.weaker:
        weaker = scoresde.load(args.weaker)
        for w in (1.5, 2.0, 3.0):
            found[f"autoguidance {w:g}"] = lambda y, w=w: (Autoguided(model, weaker, w), cond(y))
    if args.plain and args.classifier:
        plain, classifier = scoresde.load(args.plain), scoresde.load(args.classifier)
        for s in (1.0, 2.0, 4.0, 8.0, 16.0):
            found[f"classifier {s:g}"] = lambda y, s=s: (ClassifierGuided(plain, classifier, y, s), None)
    return found


def judged(judge, test, x, labels, seed: int = 0) -> dict:
    """The figures of samples x (n, *shape) in the model's space."""
    features = judge(x)
    with torch.no_grad():
        read = torch.cat([judge.net(part.float()).argmax(1) for part in x.split(512)])
    right = (read == labels).double()
    share = torch.bincount(labels, minlength=10).double() / len(labels)
    seen = torch.bincount(read, minlength=10).double() / len(read)
    away = float(((seen - share).abs() / (share * (1 - share) / len(read)).sqrt()).max())
    frechet = metrics.frechet(features, test, 20, seed)
    few = metrics.neighbours(features, test, 5, 20, seed)
    return {"accuracy": float(right.mean()), "shares": away, "frechet": frechet, **few}


def line(name: str, found: dict, seconds: float) -> str:
    value = lambda e, digits=2: f"{e.value:.{digits}f} ({e.low:.{digits}f} to {e.high:.{digits}f})"
    error = math.sqrt(found["accuracy"] * (1 - found["accuracy"]) / 700)
    figures = [f"{100 * found['accuracy']:.1f} +- {100 * error:.1f}", f"{found['shares']:.1f}", value(found["frechet"])]
    figures += [value(found[name]) for name in ("precision", "recall")]
    return f"| {name} | {' | '.join(figures)} | {seconds:.0f} |"


def draw(path: Path, rows: dict[str, dict]) -> None:
    """Accuracy against the Frechet distance, a point with its interval for each way, joined by kind."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    kinds = {"cfg": "cfg ", "cfg, interval": "interval", "autoguidance": "autoguidance", "classifier": "classifier"}
    for kind, word in kinds.items():
        own = {n: f for n, f in rows.items() if word in n and "rescale" not in n and (kind != "cfg" or "," not in n)}
        x = [100 * f["accuracy"] for f in own.values()]
        y = [f["frechet"].value for f in own.values()]
        ends = [
            [f["frechet"].value - f["frechet"].low for f in own.values()],
            [f["frechet"].high - f["frechet"].value for f in own.values()],
        ]
        if own:
            axis.errorbar(x, y, ends, marker="o", capsize=2, lw=1, label=kind)
    for name, found in rows.items():
        axis.annotate(
            name.split(",")[0].split()[-1],
            (100 * found["accuracy"], found["frechet"].value),
            fontsize=7,
            xytext=(3, 3),
            textcoords="offset points",
        )
    real = rows["real"]
    axis.axhline(real["frechet"].value, color="0.6", lw=1, ls="--", label="real digits")
    axis.set(xlabel="read as the class asked for, %", ylabel="Frechet distance")
    axis.legend(fontsize=8)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("model", "weaker", "plain", "classifier"):
        parser.add_argument(f"--{name}", default=None)
    parser.add_argument("--n", type=int, default=700)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--picture", type=Path, default=None)
    args = parser.parse_args()
    digits = data.digits()
    judge, rest, own = judge_of(digits)
    test = judge(digits.encode(data.stack(digits.test, range(len(digits.test)))))
    labels = torch.arange(args.n) * 10 // args.n
    print(f"the judge names {100 * judge.accuracy:.1f} % of 300 held-out digits; {args.n} samples, {args.steps} steps")
    print("| | read as its class, % | class shares, s.e. | Frechet | precision | recall | seconds |")
    print("|---|---:|---:|---|---|---|---:|")
    rows = {"real": judged(judge, test, rest[: args.n], own[: args.n])}
    print(line("real", rows["real"], 0))
    for name, make in ways(args).items():
        began = time.perf_counter()
        denoiser, cond = make(labels)
        x = scoresde.sample(denoiser, DPMpp2M(steps=args.steps), (args.n, *digits.shape), cond=cond, progress=False)
        seconds = time.perf_counter() - began
        x = digits.encode(digits.decode(x))  # as a file would have them
        rows[name] = judged(judge, test, x, labels)
        print(line(name, rows[name], seconds), flush=True)
    if args.picture:
        draw(args.picture, rows)


if __name__ == "__main__":
    main()
