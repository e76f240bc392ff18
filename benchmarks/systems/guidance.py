"""Fidelity against diversity of guided digits: are samples read as their class, and how far are they from the data?

    python run.py cond=[label] task=train folder=runs/labels
    python run.py cond=[label] task=train folder=runs/weaker train.steps=200 net.channels=16
    python run.py task=train folder=runs/plain
    python benchmarks/systems/guidance.py --model runs/labels --weaker runs/weaker --plain runs/plain \
        --classifier FOLDER

The judge is a classifier that was trained on one half of the training digits, apart from all that is judged.  Samples
have all classes in equal numbers, from the same noise in every row (seed 0).  `read as its class` is the share that
the judge reads as the class asked for, `surprise` its mean -log p of that class, in nats; `class shares` the largest
deviation of a class's share among the samples as read, in standard errors; `Frechet` the distance of the judge's
features to those of the held-out digits, with its 95 % interval; `real` are training digits that the judge was not
trained on.  With `--picture FILE` the front is drawn: recall, how much of the data the samples cover, against the
surprise, how clearly they are of their class.
"""

import argparse
import math
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

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
        logits = torch.cat([judge.net(part.float()) for part in x.split(512)])
    read = logits.argmax(1)
    surprise = float(torch.nn.functional.cross_entropy(logits.double(), labels))
    right = (read == labels).double()
    share = torch.bincount(labels, minlength=10).double() / len(labels)
    seen = torch.bincount(read, minlength=10).double() / len(read)
    away = float(((seen - share).abs() / (share * (1 - share) / len(read)).sqrt()).max())
    frechet = metrics.frechet(features, test, 20, seed)
    few = metrics.neighbours(features, test, 5, 20, seed)
    return {"accuracy": float(right.mean()), "surprise": surprise, "shares": away, "frechet": frechet, **few}


def line(name: str, found: dict, seconds: float) -> str:
    value = lambda e, digits=2: f"{e.value:.{digits}f} ({e.low:.{digits}f} to {e.high:.{digits}f})"
    error = math.sqrt(found["accuracy"] * (1 - found["accuracy"]) / 700)
    figures = [f"{100 * found['accuracy']:.1f} +- {100 * error:.1f}", f"{found['surprise']:.2g}"]
    figures += [f"{found['shares']:.1f}", value(found["frechet"])]
    figures += [value(found[name]) for name in ("precision", "recall")]
    return f"| {name} | {' | '.join(figures)} | {seconds:.0f} |"


def draw(path: Path, rows: dict[str, dict]) -> None:
    """Recall against surprise, a point with its interval for each way, joined by kind; the best is below, right."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(7.5, 5), layout="constrained")
    kinds = {
        "classifier-free": lambda name: name.startswith("cfg") and "," not in name,
        "classifier-free, 0.2 < sigma/alpha < 2": lambda name: "interval" in name,
        "by a weaker model": lambda name: name.startswith("autoguidance"),
        "by a classifier": lambda name: name.startswith("classifier"),
        "projected (APG)": lambda name: name.startswith("apg"),
        "rescaled by 0.7": lambda name: "rescale" in name,
        "real digits": lambda name: name == "real",
    }
    for kind, of in kinds.items():
        own = {name: found for name, found in rows.items() if of(name)}
        if not own:
            continue
        x, y = [[found[key] for found in own.values()] for key in ("recall", "surprise")]
        ends = [[e.value - e.low for e in x], [e.high - e.value for e in x]]
        line = axis.errorbar([e.value for e in x], y, xerr=ends, marker="o", capsize=2, lw=1.2, label=kind)
        line[0].set_color("black" if kind == "real digits" else line[0].get_color())
        for name, e, up in zip(own, x, y, strict=True):
            scale = "" if name == "real" else f"w = {name.split(',')[0].split()[-1]}"
            axis.annotate(scale, (e.value, up), xytext=(4, 4), textcoords="offset points", fontsize=8)
    axis.set(yscale="log", xlabel="recall: share of held-out digits that the samples cover, 95 % interval")
    axis.set(ylabel="mean -log p(class asked for) by the judge, nats", title="Guidance of digits, 700 samples each")
    axis.legend(fontsize=8)
    figure.savefig(path, dpi=110)


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
    print("| | read as its class, % | surprise, nats | class shares, s.e. | Frechet | precision | recall | seconds |")
    print("|---|---:|---:|---:|---|---|---|---:|")
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
