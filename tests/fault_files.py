"""Faults of the disk and of files: full, read-only, cut short, bits flipped, half a line."""

import resource
import shutil
import subprocess
from pathlib import Path

import numpy as np
import torch
from boxes import begun, differences, fault, rows
from PIL import Image
from trainings import SLOW

from scoresde.model import checkpoint

# The disk


class Small:
    """A disk of four megabytes at the model folder; where that needs more rights than we have, None."""

    def __init__(self, path: Path):
        path.mkdir(parents=True)
        self.path = path
        self.mounted = not quiet("mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(path))

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self.mounted:
            quiet("umount", "-l", str(self.path))


def quiet(*command: str) -> int:
    """The exit code of a command, whatever it says; 1 if there is none of that name."""
    try:
        return subprocess.run(command, capture_output=True).returncode
    except FileNotFoundError:
        return 1


def _no_large_files(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


@fault
def full_disk(box):
    with Small(box.model) as disk:
        job = begun(box, box.start([*box.train, SLOW])) if disk.mounted else None
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
            size = (box.reference([*box.train, SLOW]) / "checkpoint.pt").stat().st_size // 2
            box.fails(box.start([*box.train, SLOW], _no_large_files, (size,)).wait(), 1, "File too large")
        box.same([*box.train, SLOW])


@fault
def read_only_folder(box):
    with Small(box.model) as disk:
        commands = [[*command, "train.steps=10"] for command in box.uses]
        box.run(commands[0])
        if disk.mounted:
            quiet("mount", "-o", "remount,ro", str(box.model))
        else:
            box.model.chmod(0o500)
        for command in ([*box.train, "train.steps=20"], commands[-1]):
            box.fails(box.start(command).wait(), 1, "m/")
        if disk.mounted:
            quiet("mount", "-o", "remount,rw", str(box.model))
        box.model.chmod(0o700)
        box.same(*commands)


# Damaged files


def _unfinished(box, change):
    path = box.model / "checkpoint.pt"
    job = box.start([*box.train, SLOW])
    job.until(checkpoint.before(path).exists)
    assert job.send().wait().code == -9
    path.with_name(".own").write_bytes(path.read_bytes())  # killed within a save, the two may be one file
    path.with_name(".own").replace(path)
    change(path)
    ended = box.run([*box.train, SLOW])
    assert "was damaged: the checkpoint before it" in " ".join(ended.out.split()), ended
    assert not differences(box.reference([*box.train, SLOW]), box.model)


def _cut(path):
    path.write_bytes(path.read_bytes()[:-3000])


def _flip(path):
    data = bytearray(path.read_bytes())
    state = checkpoint.load(path)
    weight = max((v for k in ("model", "loss") for v in state[k].values()), key=torch.numel)
    data[data.index(weight.numpy().tobytes()) + 5] ^= 4  # one bit of one weight
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
    """A finished model does without its checkpoint, until more steps are asked for."""
    path = box.model / "checkpoint.pt"
    box.run(box.train)
    whole = path.read_bytes()
    change(path)
    damaged = path.read_bytes()
    box.run(box.uses[-1])
    ended = box.start([*box.train, "train.steps=70"]).wait()
    assert ended.code == 1 and ended.err.startswith("error: ") and ended.err.count("\n") == 1, ended
    assert all(word in ended.err for word in ("m/checkpoint.pt", *words)) and path.read_bytes() == damaged, ended
    box.last = ended
    path.write_bytes(whole)
    box.same(*box.uses)
    shutil.rmtree(box.model)


@fault
def model_damaged(box):
    """model.safetensors cut short or a bit flipped: sampling is refused, training falls back to the checkpoint."""
    path = box.model / "model.safetensors"
    for change in (lambda data: data[:-300], lambda data: data[:-1] + bytes([data[-1] ^ 4])):
        box.run(box.train)
        path.write_bytes(change(path.read_bytes()))
        if box.of.draws:
            ended = box.start(box.sample).wait()
            assert ended.code == 1 and ended.err.count("\n") == 1, ended
            assert "m/model.safetensors cannot be read" in ended.err and "checkpoint.pt has its weights" in ended.err
            box.last = ended
        assert "it was removed" in " ".join(box.run(box.train).out.split())
        box.run(box.uses[-1])
        shutil.rmtree(box.model)


@fault
def config_damaged(box):
    box.run(box.train)
    for command in box.uses:
        whole = (box.model / "model.json").read_bytes()
        (box.model / "model.json").write_bytes(whole[:20])
        ended = box.start(command).wait()
        assert ended.code == 1 and "model.json" in ended.err and ended.err.count("\n") == 1, ended
        (box.model / "model.json").write_bytes(whole)
    box.last = ended
    box.same(box.train)


@fault
def rows_cut_short(box):
    job = begun(box, box.start([*box.train, SLOW]))
    job.until(lambda: rows(box) > 4)
    job.send().wait()
    with open(box.model / "metrics.jsonl", "a") as file:
        file.write('{"step": 199, "lo')
    box.same([*box.train, SLOW])


NO_FILES = "the script reads no data files"


def _data(box, command, file: Path, change, *words):
    """A bad data file is refused before any work; put right, the same command goes through."""
    whole = file.read_bytes()
    change(file)
    box.fails(box.start(command).wait(), 1, file.name, *words)
    assert not box.model.exists()
    file.write_bytes(whole)
    box.same(command)
    shutil.rmtree(box.model)


@fault(only_draws=NO_FILES)
def array_cut_short(box):
    x = np.random.default_rng(0).normal(size=(400, 2))
    spoilt = np.where(np.arange(800).reshape(400, 2) == 15, np.nan, x)
    file, save = box.folder / "x.npy", np.save
    if box.of.label:
        file, save = box.folder / "x.npz", lambda path, x: np.savez(path, x=x, label=np.arange(400) % 3)
    save(file, x)
    command = box.of.words("train", "data=array", f"data.root={file}", "net=mlp")
    _data(box, command, file, lambda p: p.write_bytes(p.read_bytes()[:-100]), "cannot be read")
    _data(box, command, file, lambda p: save(p, spoilt), "NaN", "row 7")


@fault(only_draws=NO_FILES)
def idx_cut_short(box):
    rng = np.random.default_rng(0)
    for part, n in (("train", 64), ("t10k", 16)):
        sizes = (np.array(v, ">u4").tobytes() for v in ([2051, n, 8, 8], [2049, n]))
        values = (rng.integers(0, 256, n * 64, np.uint8), np.arange(n, dtype=np.uint8) % 10)
        for name, size, value in zip(("images-idx3", "labels-idx1"), sizes, values, strict=True):
            (box.folder / f"{part}-{name}-ubyte").write_bytes(size + value.tobytes())
    command = [*box.of.words("train", "data=mnist", f"data.root={box.folder}", "net=mlp"), "train.steps=10"]
    for name in ("images-idx3", "labels-idx1"):
        file = box.folder / f"train-{name}-ubyte"
        _data(box, command, file, lambda p: p.write_bytes(p.read_bytes()[:-9]), "expected")


@fault(only_draws=NO_FILES)
def picture_cut_short(box):
    rng, root = np.random.default_rng(0), box.folder / "pictures"
    for i in range(20):
        path = root / ("even", "odd")[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(path)
    command = [*box.of.words("train", "data=images", f"data.root={root}", "net=mlp"), "train.steps=10"]
    _data(box, command, root / "odd" / "7.png", lambda p: p.write_bytes(p.read_bytes()[:70]), "decoded")
