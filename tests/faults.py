"""Faults, one function a kind: what a command does when the machine fails it, and that nothing is lost.

python tests/faults.py [NAME ...]        runs them and prints a table; folder=PATH tries another disk than /tmp
python tests/faults.py kills=100         that many kill -9 at random moments, in training and in sampling
python tests/faults.py of=label          either of these for another training of `trainings.py`: label, players
"""

import random
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

import fault_files  # noqa: F401
from boxes import FAULTS, ONLY_DRAWS, Box, applies, differences, unreadable
from fault_runs import NO_SAMPLES
from trainings import TRAININGS

from scoresde.model import checkpoint


def kills(box: Box, n: int, sampling: bool, seed: int = 0) -> dict:
    """At least n times kill -9 at a random moment of a command that is started again until it ends, and what is left.

    Every file is read after every kill, and what the command leaves in the end is compared with an undisturbed run.
    """
    rng, began = random.Random(seed), time.monotonic()
    commands = [box.train, *([[*box.sample, "n=400", "sampler.steps=40"]] if sampling else [])]
    counts = {"kills": 0, "kills in the middle of a write": 0, "runs": 0, "corrupt": 0, "lost": 0, "left behind": 0}
    length = _undisturbed(box, commands)
    while counts["kills"] < n:
        if not sampling:
            shutil.rmtree(box.model, ignore_errors=True)
        for folder in box.model.glob("sample-*"):
            shutil.rmtree(folder)
        reached = 0
        while True:
            job = box.start(commands[-1])
            job.until(job.under_way)
            # Training goes on from its checkpoints; sampling starts anew, so that some of it must be left alone.
            if counts["kills"] < n:
                time.sleep(rng.uniform(0, (1.1 if sampling else 0.8) * length))
                job.send()
            ended = job.wait()
            assert ended.code in (0, -9), ended
            counts["kills in the middle of a write"] += any(box.model.rglob(".*.passing"))
            counts["corrupt"] += len(unreadable(box.model))
            path = box.model / "checkpoint.pt"
            step = checkpoint.load(path)["step"] if path.exists() else 0
            counts["lost"] += step < reached  # a checkpoint that was there is there
            reached = step
            if ended.code == 0:
                break
            counts["kills"] += 1
        counts["runs"] += 1
        counts["lost"] += bool(differences(box.reference(*commands), box.model))
        counts["left behind"] += len(list(box.model.rglob(".*.passing")))
    return counts | {"seconds": round(time.monotonic() - began)}


def _undisturbed(box: Box, commands) -> float:
    """The seconds that the last of the commands takes in the model folder, after a reference was made elsewhere."""
    box.reference(*commands)
    for command in commands:
        start = time.monotonic()
        box.run(command)
    return time.monotonic() - start


def try_one(name: str, of: str = "plain", place: str | None = None) -> tuple[bool, str, str, float]:
    """(passed, exit code, message, seconds) of one kind."""
    box, began = Box(Path(tempfile.mkdtemp(prefix="fault-", dir=place)), of), time.monotonic()
    try:
        FAULTS[name](box)
        passed, words = True, box.last.err.strip() if box.last and box.last.code > 0 else ""
    except Exception:
        passed, words = False, " ".join(traceback.format_exc().split())[-1500:]
    shutil.rmtree(box.folder, ignore_errors=True)
    return passed, "" if box.last is None else str(box.last.code), words, time.monotonic() - began


def main(words: list[str]) -> int:
    """The table; the number of failures."""
    options = dict(word.split("=", 1) for word in words if "=" in word)
    place, of, wrong = options.get("folder"), options.get("of", "plain"), 0
    for kind in options.get("in", "training,sampling").split(",") if "kills" in options else ():
        if kind == "sampling" and not TRAININGS[of].draws:
            print(f"{of}, {kind}: none, {NO_SAMPLES}", flush=True)
            continue
        folder = Path(tempfile.mkdtemp(prefix="kills-", dir=place))
        counts = kills(Box(folder, of), int(options["kills"]), kind == "sampling", int(options.get("seed", 0)))
        wrong += counts["lost"] + counts["corrupt"] + counts["left behind"]
        print(f"{of}, {kind}: " + ", ".join(f"{v} {k}" for k, v in counts.items()), flush=True)
        shutil.rmtree(folder, ignore_errors=True)
    names = [word for word in words if "=" not in word] or ([] if "kills" in options else list(FAULTS))
    counts = {"pass": 0, "FAIL": 0, "none": 0}
    for name in names:
        there = applies(name, of)
        passed, code, said, seconds = try_one(name, of, place) if there else (True, "", ONLY_DRAWS[name], 0)
        word = ("pass" if passed else "FAIL") if there else "none"
        counts[word] += 1
        print(f"{word}  {name:40} {code:>4}  {seconds:4.0f} s  {said}", flush=True)
    if names:
        print(f"{of}: " + ", ".join(f"{v} {k}" for k, v in counts.items()))
    return wrong + counts["FAIL"]


if __name__ == "__main__":
    sys.exit(min(1, main(sys.argv[1:])))
