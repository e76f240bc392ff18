"""Objectives on digits, at equal steps: bits/dim of the held-out digits, the Frechet distance of samples to them, and
how often a classifier of pixels tells the two apart.

    python benchmarks/training/objectives.py runs/objectives --seeds 3

Each row is trained by `python run.py task=train` with the words beside it, under several seeds; a cell is the mean over
the seeds, +- the standard deviation of one where there are several.  What is in the folder is not made again, so the
same command goes on where it was stopped; `--only-table` prints what is there.  Samples: 1000 by dpmpp_2m in 20 steps.
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

ROOT = Path(__file__).resolve().parents[2]
ROWS = {
    "plain": [],
    "uncertainty weighting": ["objective.uncertainty=true"],
    "min-SNR (5)": ["loss.weight=min_snr"],
    "self-conditioning (0.5)": ["objective.self_condition=0.5"],
}
NO_MORE = MappingProxyType({})
QUIET = ["tracker=none", "gif=false", "device=cpu"]
SCORES = {
    "bits/dim": ("likelihood", ["task=likelihood"], "bits_per_dim"),
    "Frechet": (
        "evaluate",
        ["task=evaluate", "task.metrics=[frechet,c2st]", "n=1000", "sampler=dpmpp_2m", "sampler.steps=20"],
        "frechet",
    ),
}
SCORES["two-sample test"] = (*SCORES["Frechet"][:2], "c2st")


def run(*words: str) -> None:
    """One command, told as it is."""
    print("python run.py", *words, file=sys.stderr, flush=True)
    subprocess.run([sys.executable, str(ROOT / "run.py"), *words], check=True, stdout=subprocess.DEVNULL)


def summary(folder: Path, task: str) -> dict | None:
    """What a task's run beneath a model's folder found; None where there is none."""
    found = sorted(folder.glob(f"{task}-*/summary.json"))
    return json.loads(found[0].read_text()) if found else None


def score(folder: Path, words: list[str], more: list[str], scored: Mapping[str, list[str]] = NO_MORE) -> None:
    """Trains and scores a model, as far as that has not been done; `scored`: more words of a task that scores."""
    base = [f"folder={folder}", *QUIET]
    if not (folder / "model.safetensors").exists():
        run(*words, *more, *base, "task=train")
    for task, own, _ in SCORES.values():
        if summary(folder, task) is None:
            run(*base, *own, *scored.get(task, []))


def cell(folders: list[Path], task: str, key: str) -> str:
    """The mean of a figure over the seeds that are there."""
    found = [float(known[key]) for folder in folders if (known := summary(folder, task)) is not None]
    spread = f" +- {statistics.stdev(found):.3f}" if len(found) > 1 else ""
    return f"{statistics.mean(found):.3f}{spread} ({len(found)})" if found else "not there"


def main() -> None:
    """Makes what is missing, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only-table", action="store_true")
    parser.add_argument("more", nargs="*", help="more words of each training: train.steps=300")
    args = parser.parse_intermixed_args()
    place = lambda name, seed: args.out / f"{''.join(c if c.isalnum() else '_' for c in name)}-{seed}"
    for seed in [] if args.only_table else range(args.seeds):
        for name, words in ROWS.items():
            score(place(name, seed), words, [f"train.seed={seed}", *args.more])
    print(f"| objective | {' | '.join(SCORES)} |\n|---|{'---|' * len(SCORES)}")
    for name in ROWS:
        folders = [place(name, seed) for seed in range(args.seeds)]
        print(f"| {name} | {' | '.join(cell(folders, task, key) for task, _, key in SCORES.values())} |")


if __name__ == "__main__":
    main()
