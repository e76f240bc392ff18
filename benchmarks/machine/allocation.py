"""What it costs that the C library gives freed memory back to the system, and what `machine.memory.keep_freed` saves.

    OMP_NUM_THREADS=1 python benchmarks/machine/allocation.py

A U-Net of 3 x 64 x 64 pixels, 32 channels: one evaluation of 16 and of 64 rows, and a step of training of 32 rows in
bfloat16, in processes of their own by turns; CPU milliseconds a row, the median of the turns, and the most memory held.
"""

import argparse
import datetime
import json
import resource
import statistics
import subprocess
import sys
import time


def work(keep: bool) -> dict[str, float]:
    """Milliseconds a row of each kind of work, and the GB that the process has held at most."""
    import torch

    import scoresde
    from scoresde.machine import memory

    if keep:
        memory.keep_freed()
    torch.manual_seed(0)
    net = scoresde.nets.UNet((3, 64, 64), channels=32, mults=(1, 2, 2), blocks=1, attention=64)
    found = {}
    for rows in (16, 64):
        x, c = torch.randn(rows, 3, 64, 64), torch.randn(rows)
        with torch.no_grad():
            found[f"evaluation, {rows} rows"] = _least(lambda x=x, c=c: net.eval()(x, c), rows)
    x, c = torch.randn(32, 3, 64, 64), torch.randn(32)

    def step():
        with torch.autocast("cpu", torch.bfloat16):
            net.train()(x, c).float().pow(2).mean().backward()

    found["training, 32 rows"] = _least(step, 32)
    return found | {"GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6}


def _least(call, rows: int) -> float:
    times = []
    for _ in range(4):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return 1000 * min(times) / rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--keep", type=int, choices=(0, 1), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.keep is not None:
        print(json.dumps(work(bool(given.keep))))
        return
    turns = {0: [], 1: []}
    for _ in range(given.turns):
        for keep in turns:
            command = [sys.executable, __file__, "--keep", str(keep)]
            turns[keep].append(json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout))
    print(f"{datetime.date.today()}, {given.turns} turns\n\n| | given back | kept | ratio |\n|---|---:|---:|---:|")
    for what in turns[0][0]:
        before, after = (statistics.median(one[what] for one in turns[keep]) for keep in (0, 1))
        print(f"| {what} | {before:.2f} | {after:.2f} | {after / before:.2f} |")


if __name__ == "__main__":
    main()
