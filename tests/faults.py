"""Faults, one function a kind: what a command does when the machine fails it, and that nothing is lost.

python tests/faults.py [NAME ...]        runs them and prints a table; folder=PATH tries another disk than /tmp
python tests/faults.py kills=100         that many kill -9 at random moments, in training and in sampling
"""

import ctypes
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

import numpy as np
import torch
from boxes import ROOT, SAMPLE, SCORE, TINY, TRAIN, Box, differences, unreadable
from PIL import Image

from scoresde.experiment import checkpoint

FAULTS = {}


def fault(function):
    """Adds a kind of fault to the table."""
    FAULTS[function.__name__] = function
    return function


def begun(box: Box, job, step: int = 1):
    """Waits for the first checkpoint."""
    job.until(lambda: (box.model / "checkpoint.pt").exists())
    return job


def rows(box: Box) -> int:
    path = box.model / "metrics.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0


SLOW = "train.steps=200"
ONE = {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}


# Killed


@fault
def kill_in_training(box):
    job = begun(box, box.start([*TRAIN, SLOW]))
    box.fails(job.send().wait(), -9)
    box.same([*TRAIN, SLOW])


@fault
def kill_in_sampling(box):
    command = [*SAMPLE, "n=2000", "sampler.steps=100"]
    box.run(TRAIN)
    job = box.start(command)
    job.until(lambda: "sampling" in job.said())
    box.fails(job.send().wait(), -9)
    assert not list(box.model.glob("sample-*/summary.json"))
    box.same(TRAIN, command)


@fault
def kill_in_scoring(box):
    command = [*SCORE, "likelihood.n=50", "batch_size=2"]
    box.run(TRAIN)
    job = box.start(command)
    job.until(lambda: len(list(box.model.glob("likelihood-*/parts-*/[0-9]*.npz"))) > 2)
    box.fails(job.send().wait(), -9)
    assert "scored before" in box.start(command).wait().out
    box.same(TRAIN, command)


# Asked to stop


def _asked(box, number, code, words):
    job = box.start([*TRAIN, SLOW, "train.checkpoint_every=1000"])
    job.until(lambda: rows(box) > 2)
    box.fails(job.send(number).wait(), code, words)
    step = checkpoint.load(box.model / "checkpoint.pt")["step"]
    assert 15 <= step < 200  # where it was, though no checkpoint was due
    box.same([*TRAIN, SLOW, "train.checkpoint_every=1000"])


@fault
def sigterm_in_training(box):
    _asked(box, signal.SIGTERM, 143, "stopped by SIGTERM")


@fault
def sigint_in_training(box):
    _asked(box, signal.SIGINT, 130, "stopped")


@fault
def sigterm_in_sampling(box):
    command = [*SAMPLE, "n=2000", "sampler.steps=100"]
    box.run(TRAIN)
    job = box.start(command)
    job.until(lambda: "sampling" in job.said())
    box.fails(job.send(signal.SIGTERM).wait(), 143, "stopped by SIGTERM")
    box.same(TRAIN, command)


@fault
def sigterm_to_two_processes(box):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += [str(ROOT / "run.py"), *TRAIN, "train.steps=120", "train.checkpoint_every=1000"]
    options = {"cwd": box.folder, "stdout": subprocess.DEVNULL, "text": True, "env": {**os.environ, **ONE}}
    job = subprocess.Popen([*command, "folder=m"], stderr=subprocess.PIPE, **options)
    while rows(box) < 3 and job.poll() is None:
        time.sleep(0.01)
    job.send_signal(signal.SIGTERM)
    err = job.communicate()[1]
    assert job.returncode == 1 and err.count("error: stopped by SIGTERM") == 1, err  # torchrun's own code and words
    assert 15 <= checkpoint.load(box.model / "checkpoint.pt")["step"] < 120
    for folder in ("m", "whole"):
        subprocess.run([*command, f"folder={folder}"], check=True, stderr=subprocess.DEVNULL, **options)
    assert not (differ := differences(box.folder / "whole", box.model)), differ


# The disk


class Small:
    """A disk of a few hundred kilobytes at the model folder; where that needs more rights than we have, None."""

    def __init__(self, path: Path):
        path.mkdir(parents=True)
        self.path = path
        self.mounted = not _quiet("mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(path))

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self.mounted:
            _quiet("umount", "-l", str(self.path))


def _quiet(*command: str) -> int:
    try:
        return subprocess.run(command, capture_output=True).returncode
    except FileNotFoundError:
        return 1


def _no_large_files(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


@fault
def full_disk(box):
    with Small(box.model) as disk:
        job = begun(box, box.start([*TRAIN, SLOW])) if disk.mounted else None
        if job:
            filler = box.model / ".filler"
            with open(filler, "wb", buffering=0) as file:
                try:
                    while True:
                        file.write(bytes(1024))
                except OSError:
                    pass
            box.fails(job.wait(), 1, "No space left on device", str(box.model.name))
            filler.unlink()
        else:
            box.fails(box.start([*TRAIN, SLOW], _no_large_files, (20_000,)).wait(), 1, "File too large")
        box.same([*TRAIN, SLOW])


@fault
def read_only_folder(box):
    with Small(box.model) as disk:
        box.run([*TRAIN, "train.steps=10"])
        if disk.mounted:
            _quiet("mount", "-o", "remount,ro", str(box.model))
        else:
            box.model.chmod(0o500)
        box.fails(box.start(SAMPLE[:-1] + ["train.steps=10", "task=sample"]).wait(), 1, "m/")
        if disk.mounted:
            _quiet("mount", "-o", "remount,rw", str(box.model))
        box.model.chmod(0o700)
        box.same([*TRAIN, "train.steps=10"], [*SAMPLE, "train.steps=10"])


# Damaged files


def _unfinished(box, change):
    path = box.model / "checkpoint.pt"
    job = box.start([*TRAIN, SLOW])
    job.until(checkpoint.before(path).exists)
    assert job.send().wait().code == -9
    change(path)
    ended = box.run([*TRAIN, SLOW])
    assert "was damaged: the checkpoint before it" in " ".join(ended.out.split()), ended
    assert not differences(box.reference([*TRAIN, SLOW]), box.model)


def _cut(path):
    path.write_bytes(path.read_bytes()[:-3000])


def _flip(path):
    data = bytearray(path.read_bytes())
    weight = checkpoint.load(path)["model"]["net.enter.weight"].numpy().tobytes()
    data[data.index(weight) + 5] ^= 4  # one bit of one weight
    path.write_bytes(data)


def _other(path):
    torch.save([1, 2, 3], path)


@fault
def checkpoint_cut_short(box):
    _refused(box, _cut, "cannot be read", "cut short or damaged")
    _unfinished(box, _cut)


@fault
def checkpoint_bit_flipped(box):
    _refused(box, _flip, "wrong checksum")
    _unfinished(box, _flip)


@fault
def checkpoint_of_another_kind(box):
    _refused(box, _other, "not a checkpoint of scoresde")
    _unfinished(box, _other)


def _refused(box, change, *words):
    path = box.model / "checkpoint.pt"
    box.run(TRAIN)
    whole = path.read_bytes()
    change(path)
    damaged = path.read_bytes()
    for command in (TRAIN, SAMPLE):
        ended = box.start(command).wait()
        assert ended.code == 1 and ended.err.startswith("error: ") and ended.err.count("\n") == 1, ended
        assert all(word in ended.err for word in ("m/checkpoint.pt", *words)) and path.read_bytes() == damaged, ended
    box.last = ended
    path.write_bytes(whole)
    box.same(TRAIN)
    shutil.rmtree(box.model)


@fault
def config_damaged(box):
    box.run(TRAIN)
    for name, command in (("model.json", TRAIN), ("config.yaml", SAMPLE)):
        whole = (box.model / name).read_bytes()
        (box.model / name).write_bytes(whole[:20])
        ended = box.start(command).wait()
        assert ended.code == 1 and name in ended.err and ended.err.count("\n") == 1, ended
        (box.model / name).write_bytes(whole)
    box.last = ended
    box.same(TRAIN)


@fault
def rows_cut_short(box):
    job = begun(box, box.start([*TRAIN, SLOW]))
    job.until(lambda: rows(box) > 4)
    job.send().wait()
    with open(box.model / "metrics.jsonl", "a") as file:
        file.write('{"step": 199, "lo')
    box.same([*TRAIN, SLOW])


def _data(box, command, file: Path, change, *words):
    """A bad data file is refused before any work; put right, the same command goes through."""
    whole = file.read_bytes()
    change(file)
    box.fails(box.start(command).wait(), 1, file.name, *words)
    assert not box.model.exists()
    file.write_bytes(whole)
    box.same(command)


@fault
def array_cut_short(box):
    file = box.folder / "x.npy"
    np.save(file, np.random.default_rng(0).normal(size=(400, 2)))
    command = [o for o in TRAIN if o.split(".")[0] != "data" and o != "data=toy"]
    command += ["data=array", f"data.root={file}", "net=mlp"]
    _data(box, command, file, lambda p: p.write_bytes(p.read_bytes()[:-100]), "cannot be read")
    shutil.rmtree(box.model)
    x = np.load(file)
    x[7, 1] = np.nan
    _data(box, command, file, lambda p: np.save(p, x), "NaN", "row 7")


@fault
def idx_cut_short(box):
    rng = np.random.default_rng(0)
    for part, n in (("train", 64), ("t10k", 16)):
        sizes = np.array([2051, n, 8, 8], ">u4").tobytes()
        (box.folder / f"{part}-images-idx3-ubyte").write_bytes(sizes + rng.integers(0, 256, n * 64, np.uint8).tobytes())
    file = box.folder / "train-images-idx3-ubyte"
    command = [*_images(), "data=mnist", f"data.root={box.folder}"]
    _data(box, command, file, lambda p: p.write_bytes(p.read_bytes()[:-9]), "expected")


@fault
def picture_cut_short(box):
    rng = np.random.default_rng(0)
    (box.folder / "pictures").mkdir()
    for i in range(20):
        Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(box.folder / "pictures" / f"{i}.png")
    command = [*_images(), "data=images", f"data.root={box.folder / 'pictures'}"]
    _data(box, command, box.folder / "pictures" / "7.png", lambda p: p.write_bytes(p.read_bytes()[:70]), "decoded")


def _images() -> list[str]:
    kept = [o for o in TRAIN if o.split(".")[0] not in ("data", "net") and o != "data=toy"]
    return [*kept, "net=mlp", "net.width=16", "net.blocks=1", "train.steps=10"]


# Numbers that are none


def _spoil(what: str, step: int) -> None:
    """In the process: NaN in the data, the loss's gradient or the weights, from a step on."""
    from scoresde.experiment import ema, order
    from scoresde.experiment import train as room

    calls = [0]

    def late() -> bool:
        calls[0] += 1
        return calls[0] > step

    if what == "data":
        get = order._Items.__getitems__
        order._Items.__getitems__ = lambda self, i: get(self, i) * (float("nan") if late() else 1)
    elif what == "gradients":
        forward = room._Objective.forward

        def spoilt(self, x0):
            value = forward(self, x0)
            if late():
                value.register_hook(lambda g: g * float("nan"))
            return value

        room._Objective.forward = spoilt
    else:
        update = ema.EMA.update

        def spoilt(self, model, step):
            update(self, model, step)
            if late():
                next(model.parameters()).data.fill_(float("nan"))

        ema.EMA.update = spoilt


def _nan(box, what, *words, step=23, kept=20):
    box.fails(box.start(TRAIN, _spoil, (what, step)).wait(), 1, "not finite at step", *words)
    state = checkpoint.load(box.model / "checkpoint.pt")
    assert state["step"] == kept and all(v.isfinite().all() for v in state["model"].values())
    box.same(TRAIN)


@fault
def nan_in_data(box):
    _nan(box, "data", "step 24", "look at the data")


@fault
def nan_in_gradients(box):
    _nan(box, "gradients", "step 24")


@fault
def nan_in_weights(box):
    words = ("the weights net.", "are not finite")
    _nan(box, "weights", "step 25", *words)
    shutil.rmtree(box.model)
    _nan(box, "weights", "step 20", *words, step=19, kept=15)  # just before they would be saved


@fault
def nan_in_a_model(box):
    box.run(TRAIN)
    path = box.model / "checkpoint.pt"
    whole, state = path.read_bytes(), checkpoint.load(path)
    next(iter(state["ema"].values())).fill_(float("nan"))
    checkpoint.save(path, state)
    box.fails(box.start(SAMPLE).wait(), 1, "not finite")
    assert not list(box.model.glob("sample-*/samples.npy"))
    box.fails(box.start(SCORE).wait(), 1, "not finite")
    path.write_bytes(whole)
    box.same(TRAIN, SAMPLE)


# Too little, or in the way


def _starve(step: int) -> None:
    from scoresde.experiment import ema

    update = ema.EMA.update

    def last(self, model, now):
        update(self, model, now)
        if now == step:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            resource.setrlimit(resource.RLIMIT_AS, (pages * 4096 + 2**19,) * 2)

    ema.EMA.update = last


@fault
def out_of_memory(box):
    command = [*TRAIN, "train.steps=12", "train.batch_size=4096", "net.width=128", "train.log_every=4"]
    box.fails(box.start(command, _starve, (7,)).wait(), 1, "memory ran out", "train.batch_size")
    assert checkpoint.load(box.model / "checkpoint.pt")["step"] == 5
    box.same(command)


@fault
def two_in_one_folder(box):
    job = begun(box, box.start([*TRAIN, SLOW]))
    box.fails(box.start([*TRAIN, SLOW]).wait(), 1, "another command is at work in m")
    assert job.wait().code == 0
    box.same([*TRAIN, SLOW])


@fault
def stale_files(box):
    box.model.mkdir()
    (box.model / ".lock").write_text("4711")
    (box.model / ".checkpoint.pt.4711.passing").write_bytes(b"half")
    box.same(TRAIN)


def _clock_back() -> None:
    """In the process: every look at the clock is an hour before the last, as is what the files say."""
    now = [time.time()]

    def back() -> float:
        now[0] -= 3600
        return now[0]

    time.time = back


@fault
def clock_goes_back(box):
    job = begun(box, box.start([*TRAIN, SLOW], _clock_back))
    job.send().wait()
    for path in box.model.iterdir():
        os.utime(path, (time.time() + 1e6,) * 2)
    box.run([*TRAIN, SLOW], before=_clock_back)
    box.same([*TRAIN, SLOW])
    seconds = json.loads((box.model / "summary.json").read_text())["seconds"]
    assert 0 < seconds < 600


@fault
def data_reader_dies(box):
    command = [*TRAIN, SLOW, "train.workers=1"]
    job = begun(box, box.start(command))
    reader = int(Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split()[0])
    os.kill(reader, signal.SIGKILL)
    box.fails(job.wait(), 1, "a process that reads data died")
    box.same(command)


# What is not there


def _hide(*names: str) -> None:
    """In the process: these packages are not installed."""
    for name in [*sys.modules]:
        if name.partition(".")[0] in names:
            del sys.modules[name]
    for name in names:
        sys.modules[name] = None


@fault
def packages_missing(box):
    names = ("wandb", "matplotlib", "accelerate")
    command = [o for o in TINY if not o.startswith("wandb")] + ["task=full"]
    ended = box.run(command, before=_hide, args=names)
    words = " ".join(ended.out.split())
    assert all(words.count(f"{name} is not installed") == 1 for name in names) and not ended.err, ended
    assert not list(box.model.rglob("*.png"))
    whole = box.reference([*TINY, "task=full"])
    wrong = [d for d in differences(whole, box.model) if not d.endswith((".png", ".gif"))]
    assert not wrong, wrong  # the same weights, samples and likelihoods without them
    box.last = ended


def _cut_off() -> None:
    """In the process: a network of its own, without a way out; not even of its own machine, where that is refused."""
    if ctypes.CDLL(None, use_errno=True).unshare(0x40000000) == 0:  # CLONE_NEWNET
        _quiet("ip", "link", "set", "lo", "up")
    for name in ("http_proxy", "https_proxy"):
        os.environ[name] = os.environ[name.upper()] = "http://127.0.0.1:9"


@fault
def no_network(box):
    command = [o for o in TINY if not o.startswith("wandb")] + ["task=full", "wandb=offline"]
    box.last = box.run(command, before=_cut_off)
    wrong = [d for d in differences(box.reference([*TINY, "task=full"]), box.model) if "wandb" not in d]
    assert not wrong, wrong


# Random kills


def kills(box: Box, n: int, sampling: bool, seed: int = 0) -> dict:
    """At least n times kill -9 at a random moment of a command that is started again until it ends, and what is left.

    Every file is read after every kill, and what the command leaves in the end is compared with an undisturbed run.
    """
    rng, began = random.Random(seed), time.monotonic()
    commands = [TRAIN, [*SAMPLE, "n=400", "sampler.steps=40"]] if sampling else [TRAIN]
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
            time.sleep(rng.uniform(0, (1.1 if sampling else 0.8) * length))
            ended = job.send().wait()
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


def try_one(name: str, place: str | None = None) -> tuple[bool, str, str, float]:
    """(passed, exit code, message, seconds) of one kind."""
    box, began = Box(Path(tempfile.mkdtemp(prefix="fault-", dir=place))), time.monotonic()
    try:
        FAULTS[name](box)
        passed, words = True, "" if box.last is None else (box.last.err or "").strip()
    except Exception:
        passed, words = False, " ".join(traceback.format_exc().split())[-1500:]
    shutil.rmtree(box.folder, ignore_errors=True)
    return passed, "" if box.last is None else str(box.last.code), words, time.monotonic() - began


def main(words: list[str]) -> int:
    """The table; the number of failures."""
    options = dict(word.split("=", 1) for word in words if "=" in word)
    place, wrong = options.get("folder"), 0
    for kind in options.get("in", "training,sampling").split(",") if "kills" in options else ():
        folder = Path(tempfile.mkdtemp(prefix="kills-", dir=place))
        counts = kills(Box(folder), int(options["kills"]), kind == "sampling", int(options.get("seed", 0)))
        wrong += counts["lost"] + counts["corrupt"] + counts["left behind"]
        print(f"{kind}: " + ", ".join(f"{v} {k}" for k, v in counts.items()), flush=True)
        shutil.rmtree(folder, ignore_errors=True)
    names = [word for word in words if "=" not in word] or ([] if "kills" in options else list(FAULTS))
    for name in names:
        passed, code, said, seconds = try_one(name, place)
        wrong += not passed
        print(f"{'pass' if passed else 'FAIL'}  {name:28} {code:>4}  {seconds:4.0f} s  {said}", flush=True)
    return wrong


if __name__ == "__main__":
    sys.exit(min(1, main(sys.argv[1:])))
