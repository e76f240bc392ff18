"""A cascade of digits, 4 x 4 to 8 x 8: what augmentation, truncation and guidance of each stage do.

    python run.py experiment=cascade_digits
    python benchmarks/systems/cascades.py --base runs/BASE --up runs/UP [--plain runs/PLAIN]

BASE and UP are the folders that the first command names; PLAIN is one of a second stage that was trained without noise
in what it is told (`experiment=cascade_digits_up objective.condition_noise=0`).  The judge and its columns are those of
`guidance.py` beside this.  `second stage alone` is told the digits of 4 x 4 that training digits have, which the judge
was not trained on: what a perfect first stage would give.
"""

import argparse
import time

import torch
from guidance import judge_of, judged, line

import scoresde
from scoresde import data
from scoresde.cascade import Cascade, Stage
from scoresde.data.views.lower import means
from scoresde.guidance import Guided
from scoresde.sampling import DPMpp2M


def stage(folder: str, scale: float, **settings) -> Stage:
    """A stage of a model's folder, guided."""
    return Stage(scoresde.load(folder), DPMpp2M(), guide=lambda model: Guided(model, scale), **settings)


def ways(args) -> dict[str, Cascade]:
    """What is judged, by its name."""
    pair = lambda up, base_scale=1.0, scale=1.0, truncate=0.0, **own: Cascade(
        [stage(args.base, base_scale, truncate=truncate), stage(up, scale, **own)]
    )
    found = {f"augment {s:g}": pair(args.up, augment=s) for s in (0.0, 0.1, 0.2, 0.4)}
    found |= {f"truncate {s:g}": pair(args.up, truncate=s) for s in (0.1, 0.2, 0.4)}
    found |= {f"scales {a:g}, {b:g}; augment 0.1": pair(args.up, a, b, augment=0.1) for a, b in SCALES}
    return found | ({"trained without noise": pair(args.plain)} if args.plain else {})


SCALES = ((1.5, 1.0), (1.0, 1.5), (1.5, 1.5), (2.0, 2.0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", required=True)
    parser.add_argument("--up", required=True)
    parser.add_argument("--plain", default=None)
    parser.add_argument("--n", type=int, default=700)
    args = parser.parse_args()
    digits = data.digits()
    judge, rest, own = judge_of(digits)
    test = judge(digits.encode(data.stack(digits.test, range(len(digits.test)))))
    labels = torch.arange(args.n) * 10 // args.n
    print(f"the judge names {100 * judge.accuracy:.1f} % of 300 held-out digits; {args.n} samples")
    print("| | read as its class, % | surprise, nats | class shares, s.e. | Frechet | precision | recall | seconds |")
    print("|---|---:|---:|---:|---|---|---|---:|")
    print(line("real", judged(judge, test, rest[: args.n], own[: args.n]), 0))
    up, known = stage(args.up, 1.0), {"label": own[: args.n], "seen": means(rest[: args.n], 2)}
    x = up.draw(args.n, cond=up.told(known, len(rest[: args.n])), progress=False)
    print(line("second stage alone", judged(judge, test, digits.encode(digits.decode(x)), own[: args.n]), 0))
    for name, made in ways(args).items():
        began = time.perf_counter()
        x = made.generate(args.n, cond={"label": labels}, progress=False)
        seconds = time.perf_counter() - began
        print(line(name, judged(judge, test, digits.encode(x), labels), seconds), flush=True)


if __name__ == "__main__":
    main()
