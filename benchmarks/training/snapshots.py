"""Averages that are made of snapshots beside the same averages kept while training: how far they are apart.

    python benchmarks/training/snapshots.py

An MLP on digits, 400 steps; distances of the weights in shares of that between the kept averages of the widths 0.03
and 0.25, for snapshots of 0.05 and 0.1, and of 0.2 too, every so many steps, in float32 and in float16.
"""

import tempfile
from pathlib import Path

import torch
from torch import Tensor

import scoresde
from scoresde.model.kept import weights
from scoresde.model.kept.state import plain_state
from scoresde.training import reconstruct, snapshots

WIDTHS = (0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25)
STEPS = 400
TWO, THREE = (0.05, 0.1), (0.05, 0.1, 0.2)
CASES = [(every, dtype, TWO) for every in (10, 20, 40) for dtype in ("float32", "float16")]
CASES += [(every, "float32", THREE) for every in (10, 20, 40)]


def trained(folder: Path, **options: object) -> None:
    torch.manual_seed(0)
    denoiser = scoresde.Preconditioned(scoresde.nets.MLP((1, 8, 8), width=32, blocks=1), scoresde.VP())
    settings = {"steps": STEPS, "batch_size": 32, "lr": 3e-3, "progress": False, "validate_every": 10**6}
    scoresde.train(denoiser, scoresde.data.digits(), folder=folder, **settings, **options)


def flat(state: dict[str, Tensor], names: list[str]) -> Tensor:
    return torch.cat([state[name].flatten().double() for name in names])


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        trained(Path(place, "kept"), snapshots=STEPS, sigma_rel=WIDTHS)
        there = weights.read(snapshots.taken(Path(place, "kept"))[STEPS])[0]
        names = sorted({name.partition("/")[2] for name in there})
        kept = {w: flat({n: there[f"{w}/{n}"] for n in names}, names) for w in WIDTHS}
        far = (kept[WIDTHS[0]] - kept[WIDTHS[-1]]).norm()
        print("| snapshots | " + " | ".join(map(str, WIDTHS)) + " |")
        print("|---" * (len(WIDTHS) + 1) + "|")
        for every, dtype, kinds in CASES:
            folder = Path(place, f"{every}-{dtype}-{len(kinds)}")
            trained(folder, snapshots=every, snapshot_dtype=dtype, sigma_rel=kinds)
            found = {w: flat(plain_state(reconstruct(folder, w).bare), names) for w in WIDTHS}
            row = (f"{100 * float((found[w] - kept[w]).norm() / far):.2g} %" for w in WIDTHS)
            print(f"| {STEPS // every} of {len(kinds)}, {dtype} | " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
