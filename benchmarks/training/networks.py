"""Networks, rules and losses at equal wall time: bits/dim of held-out items, and what tells samples from them.

    python benchmarks/training/networks.py runs/networks --minutes 1.4
    python benchmarks/training/networks.py runs/networks-mnist --pictures --minutes 4 --more data=mnist data.root=FOLDER

Each row is trained by `python run.py task=train` with the words beside it, for as many steps as the time holds on one
core with nothing beside it: 40 steps are timed first, by the processor's seconds, and the times are kept in the folder.
What is there is not made again, so the same command goes on where it was stopped; `--only` some rows, `--only-table`
what is there.
"""

import argparse
import json
import os
import resource
import tempfile
from pathlib import Path

from objectives import QUIET, SCORES, cell, run, score

ROWS = {
    "unet (default)": [],
    "rule v": ["rule=v"],
    "loss likelihood": ["loss=likelihood"],
    "unet 48": ["net.channels=48"],
    "unet 64": ["net.channels=64"],
    "unet 32, 2 blocks": ["net.blocks=2"],
    "unet [1,2]": ["net.mults=[1,2]"],
    "ddpm 32": ["net=ddpm", "net.channels=32", "net.mults=[1,2]", "net.blocks=1", "net.groups=8"],
    "ncsnpp 32": ["net=ncsnpp", "net.channels=32", "net.mults=[1,2]", "net.blocks=1"],
    "edm2 32": ["net=edm2", "net.mults=[1,1]", "train.lr=1e-2", "train.weight_decay=0"],
    "dit 2": ["net=dit", "net.patch=2"],
    "dit 1": ["net=dit", "net.patch=1", "net.width=64", "net.blocks=4"],
    "uvit 2": ["net=uvit", "net.patch=2"],
    "jit 2": ["net=jit", "net.patch=2", "rule=x0"],
    "simple_uvit": ["net=simple_uvit", "net.mults=[1]", "net.blocks=4"],
    "mlp": ["net=mlp", "net.width=512"],
    "rule eps": ["rule=eps"],
    "rule edm": ["rule=edm"],
    "rule v, 64": ["rule=v", "net.channels=64"],
}
DEEP = ["net.mults=[1,2,2]", "net.attention=64"]
PICTURES = {  # of 28x28 or 32x32 pixels and 256 levels
    "unet, levels": ["rule=levels", *DEEP],
    "unet, v": ["rule=v", *DEEP],
    "unet, v, octaves": ["rule=v", *DEEP, "net.octaves=[0,1,2,3,4,5,6,7,8]"],
    "ddpmpp, levels": ["rule=levels", "net=ddpmpp", "net.channels=32", "net.blocks=1", "net.mults=[1,2,2]"],
    "dit 4, levels": ["rule=levels", "net=dit", "net.patch=4", "net.width=192", "net.blocks=6"],
}
PICTURED = ["train.batch_size=64", "train.precision=bf16", "train.lr=2e-3", "train.ema=0.995"]
SCORED = {  # the evidence bound: the flow of so many elements takes hours
    "likelihood": ["likelihood.by=elbo", "likelihood.n=512", "likelihood.bound_draws=16", "batch_size=64"],
    "evaluate": ["n=500", "batch_size=100"],
}
TIMED = 40  # steps


def seconds(words: list[str]) -> float:
    """What a step takes: the processor's time of 40 steps more."""

    def whole(steps: int) -> float:
        with tempfile.TemporaryDirectory() as folder:
            few = [f"train.steps={steps}", "train.validate_every=1000000", "train.checkpoint_every=1000000"]
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            run(*words, *few, f"folder={folder}/model", *QUIET, "task=train")
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    return (whole(TIMED + 10) - whole(10)) / TIMED


def main() -> None:
    """Makes what is missing, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--pictures", action="store_true", help="the rows for pictures of bytes")
    parser.add_argument("--only", nargs="*", help="some of the rows, by name")
    parser.add_argument("--only-table", action="store_true")
    parser.add_argument("--more", nargs="*", default=[], help="more words of each training: data=mnist")
    args = parser.parse_args()
    rows = {name: [*words, *PICTURED] for name, words in PICTURES.items()} if args.pictures else ROWS
    names, scored = args.only or list(rows), SCORED if args.pictures else {}
    os.environ["OMP_NUM_THREADS"] = "1"
    args.out.mkdir(parents=True, exist_ok=True)
    kept = args.out / "seconds.json"
    took = json.loads(kept.read_text()) if kept.exists() else {}
    place = lambda name, seed: args.out / f"{''.join(c if c.isalnum() else '_' for c in name)}-{seed}"
    for name in [] if args.only_table else names:
        if name not in took:
            took[name] = seconds([*rows[name], *args.more])
            kept.write_text(json.dumps(took, indent=1))
    for seed in [] if args.only_table else range(args.seeds):
        for name in names:
            steps = f"train.steps={max(1, round(60 * args.minutes / took[name]))}"
            score(place(name, seed), [*rows[name], *args.more], [steps, f"train.seed={seed}"], scored)
    print(f"| network | ms a step | steps | {' | '.join(SCORES)} |\n|---|---:|---:|{'---|' * len(SCORES)}")
    for name in names:
        folders = [place(name, seed) for seed in range(args.seeds)]
        cells = [cell(folders, task, key) for task, _, key in SCORES.values()]
        took_it = took.get(name, float("nan"))
        ms, steps = f"{1000 * took_it:.1f}", f"{60 * args.minutes / took_it:.0f}"
        print(f"| {name} | {ms} | {steps} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
