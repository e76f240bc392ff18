"""Faults of the disk and of files: full, read-only, cut short, bits flipped, half a line."""

import resource
import shutil
import subprocess
from pathlib import Path

import numpy as np
import torch
from boxes import SAMPLE, SLOW, TRAIN, begun, differences, fault, rows
from PIL import Image

from scoresde.model import checkpoint

# The disk


class Small:
    """A disk of a few hundred kilobytes at the model folder; where that needs more rights than we have, None."""

    def __init__(self, path: Path):
        path.mkdir(parents=True)
        self.path = path
        self.mounted = not quiet("mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(path))

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
            quiet("mount", "-o", "remount,ro", str(box.model))
        else:
            box.model.chmod(0o500)
        box.fails(box.start(SAMPLE[:-1] + ["train.steps=10", "task=sample"]).wait(), 1, "m/")
        if disk.mounted:
            quiet("mount", "-o", "remount,rw", str(box.model))
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
    """A finished model does without its checkpoint, until more steps are asked for."""
    path = box.model / "checkpoint.pt"
    box.run(TRAIN)
    whole = path.read_bytes()
    change(path)
    damaged = path.read_bytes()
    box.run(SAMPLE)
    ended = box.start([*TRAIN, "train.steps=70"]).wait()
    assert ended.code == 1 and ended.err.startswith("error: ") and ended.err.count("\n") == 1, ended
    assert all(word in ended.err for word in ("m/checkpoint.pt", *words)) and path.read_bytes() == damaged, ended
    box.last = ended
    path.write_bytes(whole)
    box.same(TRAIN, SAMPLE)
    shutil.rmtree(box.model)


@fault
def model_damaged(box):
    """model.safetensors cut short or a bit flipped: sampling is refused, training falls back to the checkpoint."""
    path = box.model / "model.safetensors"
    for change in (lambda data: data[:-300], lambda data: data[:-300] + bytes([data[-300] ^ 4]) + data[-299:]):
        box.run(TRAIN)
        path.write_bytes(change(path.read_bytes()))
        ended = box.start(SAMPLE).wait()
        assert ended.code == 1 and "m/model.safetensors cannot be read" in ended.err and ended.err.count("\n") == 1, (
            ended
        )
        assert "checkpoint.pt has its weights" in ended.err, ended
        assert "it was removed" in " ".join(box.run(TRAIN).out.split())
        box.run(SAMPLE)
        box.last = ended
        shutil.rmtree(box.model)


@fault
def config_damaged(box):
    box.run(TRAIN)
    for command in (TRAIN, SAMPLE):
        whole = (box.model / "model.json").read_bytes()
        (box.model / "model.json").write_bytes(whole[:20])
        ended = box.start(command).wait()
        assert ended.code == 1 and "model.json" in ended.err and ended.err.count("\n") == 1, ended
        (box.model / "model.json").write_bytes(whole)
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
