"""How much memory reading an array file takes above the start, and how long: one process for each file.

    OMP_NUM_THREADS=1 python benchmarks/machine/memory.py      # files of 400 MiB in a temporary folder; two minutes
    OMP_NUM_THREADS=1 python benchmarks/machine/memory.py --mib 50

The peak is the high-water mark of the resident memory (Linux's VmHWM, reset before the file is opened), less what was
resident then, over `scoresde.data.array`, its fingerprint and one batch.  `later` are files beyond `IN_MEMORY`, a limit
that is set to 0 for them.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

KINDS = {  # what is read, how
    "float32 .npy": {},
    "float64 .npy": {},
    "float64 .npy, offset 1e7": {},
    "uint8 .npy": {"levels": 256},
    "float64 .npz": {},
    "float64 .pt": {},
    "float64 .npy, later": {},
    "uint8 .npy, later": {"levels": 256},
}


def write(folder: Path, kind: str, mib: int) -> Path:
    """A file of this kind and size."""
    rng, rows = np.random.default_rng(0), mib * 2**10
    path = folder / f"x{kind.split(',')[0].split()[1]}"
    if kind.startswith("uint8"):
        x = rng.integers(0, 256, (rows // 4, 64, 64), dtype=np.uint8)
    elif kind.startswith("float32"):
        x = rng.standard_normal((rows, 256), dtype=np.float32)
    else:
        x = rng.standard_normal((rows // 8, 1024)) + 1e7 * ("offset" in kind)
    if path.suffix == ".npz":
        np.savez(path, x=x)
    elif path.suffix == ".pt":
        import torch

        torch.save(torch.from_numpy(x), path)
    else:
        np.save(path, x)
    return path


def status(key: str) -> float:
    """A figure of this process in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) / 2**10


def measure(path: str, options: dict, later: bool) -> None:
    """Reads the file, and prints its peak and its seconds."""
    import torch

    from scoresde import data
    from scoresde.data import items

    _ = data.from_tensor(torch.randn(20, 2)).fingerprint
    items.IN_MEMORY = 0 if later else items.IN_MEMORY
    Path("/proc/self/clear_refs").write_text("5")
    start, began = status("VmRSS"), time.perf_counter()
    found = data.array(path, **options)
    _ = found.fingerprint
    found.encode(data.stack(found.train, range(0, 256, 2)))
    print(f"{status('VmHWM') - start:.0f} {time.perf_counter() - began:.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mib", type=int, default=400)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        kind, path = asked.one
        measure(path, KINDS[kind], kind.endswith("later"))
        return
    print("| file | peak, MiB | seconds |\n|---|---:|---:|")
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as folder:
            path = write(Path(folder), kind, asked.mib)
            command = [sys.executable, __file__, "--one", kind, str(path)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        print("| {} | {} | {} |".format(kind, *done.stdout.split()), flush=True)


if __name__ == "__main__":
    main()
