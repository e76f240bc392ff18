"""Small faults, planted one at a time in a copy of the code: the laws that should see each one must fail.

python tests/mutants.py [WORD ...]       those whose file or words have one of the words, all by default; two at a time

The faults are the list tests/mutants.txt.  Prints a table and the numbers planted and killed.  Exit code 1 if a fault
survives, if its text is not in the code once (mend the list: the code has moved), or if its laws fail without it.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
LIMIT = (
    300  # seconds for the laws of one fault, one that hangs them being seen; ten times that for all laws without one
)
COPIED = ("scoresde", "conf", "tests", "examples", "docs", "run.py", "pyproject.toml", "README.md", "LICENSE")


class Mutant(NamedTuple):
    """The words for a fault, its file beneath scoresde/, the laws that should see it, and the texts."""

    fault: str
    file: str
    laws: tuple[str, ...]
    text: str
    planted: str


class Found(NamedTuple):
    """How the laws ended: pytest's exit code, or None where they were not run; the law that failed, or why; seconds."""

    code: int | None
    words: str
    seconds: float = 0.0


def listed() -> list[Mutant]:
    """The faults of the list."""
    found = []
    for block in (ROOT / "tests" / "mutants.txt").read_text().strip().split("\n\n")[1:]:
        fault, place, text, planted = block.split("\n")
        file, *laws = place.split()
        if not laws or not text.startswith("- ") or not planted.startswith("+ "):
            raise ValueError(f"tests/mutants.txt: {block!r} is not words, FILE LAWS, - TEXT, + PLANTED")
        found.append(Mutant(fault, file, tuple(f"tests/{law}" for law in laws), text[2:], planted[2:]))
    return found


def copy(place: Path, mutant: Mutant | None) -> str:
    """A copy of the tree at `place`, with the fault in it; why it cannot be planted, where that is so."""
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, place / name)
    if mutant is not None:
        path = place / "scoresde" / mutant.file
        code = path.read_text() if path.exists() else ""
        if code.count(mutant.text) != 1:
            return f"its text is {code.count(mutant.text)} times in {mutant.file}: {mutant.text}"
        path.write_text(code.replace(mutant.text, mutant.planted))
    return ""


def tried(laws: tuple[str, ...], mutant: Mutant | None) -> Found:
    """The laws on a copy with the fault, or on the code as it is for None."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        wrong = copy(Path(folder), mutant)
        if wrong:
            return Found(None, wrong)
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *laws]
        env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": folder}
        try:
            limit = LIMIT if mutant else 10 * LIMIT
            done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=limit)
        except subprocess.TimeoutExpired:
            return Found(1, f"no end in {limit} s", time.monotonic() - began)
    failed = re.search(r"^(?:FAILED|ERROR) (?:tests/)?(.+?)(?: - |$)", done.stdout, re.M)
    said = failed[1] if failed else " ".join((done.stdout + done.stderr).split())[-200:]
    return Found(done.returncode, said, time.monotonic() - began)


def main(words: list[str]) -> int:
    """The table; 1 if a fault was not planted or not seen, or if laws fail without one."""
    chosen = [m for m in listed() if not words or any(word in f"{m.file} {m.fault}" for word in words)]
    began, killed = time.monotonic(), 0
    with ThreadPoolExecutor(2) as pool:
        sound = pool.submit(tried, tuple(dict.fromkeys(law for m in chosen for law in m.laws)), None)
        planted = [pool.submit(tried, m.laws, m) for m in chosen]
        for mutant, job in zip(chosen, planted, strict=True):
            code, said, seconds = job.result()
            killed += code == 1  # 2 and more: the laws could not be run
            how = said if code == 1 else "SURVIVED" if code == 0 else f"NOT TRIED: {said}"
            room = mutant.file.partition("/")[0].removesuffix(".py")
            print(f"{room:10}  {mutant.fault:42}  {seconds:3.0f} s  {how}", flush=True)
    if sound.result().code != 0:
        print(f"without a fault there fails {sound.result().words}")
    print(f"{len(chosen)} planted, {killed} killed, {time.monotonic() - began:.0f} s")
    return int(killed < len(chosen) or sound.result().code != 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
