"""Faults of the machine and of the numbers: killed, asked to stop, starved, in the way, NaN, packages missing."""

import contextlib
import ctypes
import dataclasses
import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch
from boxes import begun, differences, fault, rows
from fault_files import quiet
from trainings import ROOT, SLOW

from scoresde.errors import package
from scoresde.model import checkpoint
from scoresde.model.folder import load, save

ONE = {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}


# Killed


NO_SAMPLES = "the script draws no samples"


def _sampling(box, number, code, *words):
    """A command that samples a trained model gets a signal."""
    box.run(box.train)
    long = [*box.sample, "n=20000", "sampler.steps=200"]
    job = box.start(long)
    job.until(lambda: "sampling" in job.said())
    box.fails(job.send(number).wait(), code, *words)
    assert not list(box.model.glob("sample-*/summary.json"))
    box.same(box.train, long)


@fault
def kill_in_training(box):
    job = begun(box, box.start([*box.train, SLOW]))
    box.fails(job.send().wait(), -9)
    box.same([*box.train, SLOW])


@fault(only_draws=NO_SAMPLES)
def kill_in_sampling(box):
    _sampling(box, signal.SIGKILL, -9)


@fault(only_draws="the script scores nothing")
def kill_in_scoring(box):
    command = [*box.score, "likelihood.n=50", "batch_size=2"]
    box.run(box.train)
    job = box.start(command)
    job.until(lambda: len(list(box.model.glob("likelihood-*/parts-*/[0-9]*.npz"))) > 2)
    box.fails(job.send().wait(), -9)
    assert "scored before" in box.start(command).wait().out
    box.same(box.train, command)


@fault
def kill_with_data_readers(box):
    """They live on for seconds, but they do not hold the folder."""
    command = [*box.train, SLOW, "train.workers=2"]
    job = begun(box, box.start(command))
    readers = _children(job)
    job.send()
    while Path(f"/proc/{job.pid}").exists():
        time.sleep(0.01)
    again = begun(box, box.start(command), "summary.json")
    assert any(Path(f"/proc/{pid}").exists() for pid in readers)
    box.fails(job.wait(), -9)
    assert again.wait().code == 0
    box.same(command)


def _children(job) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split()]


# Asked to stop


def _asked(box, number, code, words):
    job = box.start([*box.train, SLOW, "train.checkpoint_every=1000"])
    job.until(lambda: rows(box) > 2)
    box.fails(job.send(number).wait(), code, words)
    step = checkpoint.load(box.model / "checkpoint.pt")["step"]
    assert 15 <= step < 200  # where it was, though no checkpoint was due
    box.same([*box.train, SLOW, "train.checkpoint_every=1000"])


@fault
def sigterm_in_training(box):
    _asked(box, signal.SIGTERM, 143, "stopped by SIGTERM")


@fault
def sigint_in_training(box):
    _asked(box, signal.SIGINT, 130, "stopped")


@fault
def sighup_in_training(box):
    _asked(box, signal.SIGHUP, 129, "stopped by SIGHUP")


@fault
def sighup_under_nohup(box):
    job = box.start([*box.train, SLOW], signal.signal, (signal.SIGHUP, signal.SIG_IGN))
    job.until(lambda: rows(box) > 2)
    assert job.send(signal.SIGHUP).wait().code == 0
    box.same([*box.train, SLOW])


def _at_the_end(number: int) -> None:
    """In the process: a signal after the last step, before the readers of data have ended."""
    from scoresde.training import loop as room

    batches = room.batches

    def then(*given, **options):
        yield from batches(*given, **options)
        os.kill(os.getpid(), number)

    room.batches = then


@fault
def sigterm_after_the_last_step(box):
    command = [*box.train, "train.workers=1"]
    for number, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)):
        box.fails(box.start(command, _at_the_end, (number,)).wait(), code, "stopped")
        assert checkpoint.load(box.model / "checkpoint.pt")["step"] == 60
        (box.model / "checkpoint.pt").unlink()
    box.same(command)


@fault
def signal_to_all_processes_of_a_training(box):
    """As a cluster and a terminal do: the readers of data get it too, and leave it to the training when to end."""
    command = [*box.train, SLOW, "train.checkpoint_every=1000", "train.workers=1"]
    for number, code in ((signal.SIGINT, 130), (signal.SIGHUP, 129), (signal.SIGTERM, 143)):
        job = box.start(command)
        job.until(lambda: rows(box) > 2)
        for pid in (*_children(job), job.pid):
            os.kill(pid, number)
        box.fails(job.wait(), code, "stopped")
        assert 15 <= checkpoint.load(box.model / "checkpoint.pt")["step"] < 200
        box.same(command)
        shutil.rmtree(box.model)


@fault(only_draws=NO_SAMPLES)
def sigterm_in_sampling(box):
    _sampling(box, signal.SIGTERM, 143, "stopped by SIGTERM")


@fault
def sigterm_to_two_processes(box):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += [str(box.of.script), *box.train, "train.steps=120", "train.checkpoint_every=1000"]
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


# Numbers that are none


def _spoil(what: str, step: int, turn: str) -> None:
    """In the process: NaN in the data, or in a turn's gradients or weights, from a step on."""
    from scoresde.training import loop, order

    calls = [0]

    def late() -> bool:
        calls[0] += 1
        return calls[0] > step

    if what == "data":
        get = order._Items.__getitems__

        def spoilt(self, i):
            batch = get(self, i)
            return dataclasses.replace(batch, x=batch.x * float("nan")) if late() else batch

        order._Items.__getitems__ = spoilt
    elif what == "gradients":
        begin = loop._Trainer.__init__

        def spoil(objective, drawn, value):
            if drawn[1] == turn and late():
                value.register_hook(lambda g: g * float("nan"))

        def spoilt(self, objective, *given):
            begin(self, objective, *given)
            objective.register_forward_hook(spoil)

        loop._Trainer.__init__ = spoilt
    else:
        update = loop._Trainer._update

        def spoilt(self, batch):
            found = update(self, batch)
            if late():
                self.objective.trained(turn)[0].data.fill_(float("nan"))
            return found

        loop._Trainer._update = spoilt


def _nan(box, what, *words, step=23, kept=20, turn=""):
    box.fails(box.start(box.train, _spoil, (what, step, turn)).wait(), 1, "not finite at step", *words)
    state = checkpoint.load(box.model / "checkpoint.pt")
    assert state["step"] == kept and all(v.isfinite().all() for k in ("model", "loss") for v in state[k].values())
    box.same(box.train)
    shutil.rmtree(box.model)


@fault
def nan_in_data(box):
    _nan(box, "data", "step 24", "look at the data")


@fault
def nan_in_gradients(box):
    for turn, _ in box.of.turns:
        _nan(box, "gradients", f"{turn} loss or its gradient", "step 24", turn=turn)


@fault
def nan_in_weights(box):
    for turn, name in box.of.turns:
        words = (f"the weights {name}", "are not finite")
        _nan(box, "weights", "step 25", *words, turn=turn)
        _nan(box, "weights", "step 20", *words, step=19, kept=15, turn=turn)  # just before they would be saved


@fault(only_draws="the script uses no trained model")
def nan_in_a_model(box):
    box.run(box.train)
    path = box.model / "model.safetensors"
    whole, model = path.read_bytes(), load(box.model)
    next(model.parameters()).fill_(float("nan"))
    save(box.model, model)
    box.fails(box.start(box.sample).wait(), 1, "not finite")
    assert not list(box.model.glob("sample-*/samples.npy"))
    box.fails(box.start(box.score).wait(), 1, "not finite")
    path.write_bytes(whole)
    box.same(box.train, box.sample)


# Too little, or in the way


TAKEN: list[torch.Tensor] = []


def _starve(step: int) -> None:
    from scoresde.training import average as ema

    update = ema.EMA.update

    def last(self, model, now):
        update(self, model, now)
        if now == step:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            resource.setrlimit(resource.RLIMIT_AS, (pages * 4096 + 2**19,) * 2)
            with contextlib.suppress(RuntimeError, MemoryError):  # a command keeps what it frees: that is taken too
                while True:
                    TAKEN.append(torch.empty(2**20, dtype=torch.uint8))

    ema.EMA.update = last


@fault
def out_of_memory(box):
    rows = 4096 if box.of.draws else 65536  # the script's networks are small
    command = [*box.train, "train.steps=12", f"train.batch_size={rows}", "net.width=128", "train.log_every=4"]
    box.fails(box.start(command, _starve, (7,)).wait(), 1, "memory ran out", "train.batch_size")
    assert checkpoint.load(box.model / "checkpoint.pt")["step"] == 5
    box.same(command)


@fault
def two_in_one_folder(box):
    job = begun(box, box.start([*box.train, SLOW]))
    box.fails(box.start([*box.train, SLOW]).wait(), 1, "another command is at work in m")
    assert job.wait().code == 0
    box.same([*box.train, SLOW])


@fault
def folder_taken_away(box):
    """Removed, and another training begun in its place: the first one stops, and has written nothing there."""
    other = [*box.train, SLOW, "train.lr=0.003"]
    job = begun(box, box.start([*box.train, "train.steps=100000"]))
    shutil.rmtree(box.model)
    second = box.start(other)
    box.fails(job.wait(), 1, "m was removed, moved or replaced while this command was at work in it")
    assert second.wait().code == 0
    box.same(other)


@fault
def folder_moved(box):
    job = begun(box, box.start([*box.train, SLOW, "train.checkpoint_every=1"]))
    box.model.rename(box.folder / "aside")
    box.fails(job.wait(), 1, "m was removed, moved or replaced")
    assert not box.model.exists()
    (box.folder / "aside").rename(box.model)
    box.same([*box.train, SLOW, "train.checkpoint_every=1"])


@fault
def training_beneath(box):
    """A command in a folder leaves a training in a folder beneath it alone."""
    whole = box.reference([*box.train, "train.checkpoint_every=1"])
    job = box.start([*box.train, "train.checkpoint_every=1"], _slow_writes, folder="m/b")
    job.until(lambda: (box.model / "b" / "checkpoint.pt").exists())
    while job.process.is_alive():
        box.run([*box.train, "train.steps=1"])
    box.last = job.wait()
    assert box.last.code == 0 and not differences(whole, box.model / "b"), box.last


def _slow_writes() -> None:
    """In the process: what is written stays under its passing name for a while."""
    sync = os.fsync
    os.fsync = lambda file: (sync(file), time.sleep(0.05))


def _no_locks(number: int) -> None:
    """In the process: a file system without locks."""
    import fcntl

    def flock(file, how):
        raise OSError(number, os.strerror(number))

    fcntl.flock = flock


@fault
def no_locks(box):
    for number in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
        box.last = box.run(box.train, before=_no_locks, args=(number,))
        assert box.last.out.count("has no locks") == 1, box.last
        assert not differences(box.reference(box.train), box.model)
        shutil.rmtree(box.model)


@fault
def lock_is_a_link(box):
    box.model.mkdir()
    (box.folder / "precious").write_text("everything")
    (box.model / ".lock").symlink_to(box.folder / "precious")
    box.fails(box.start(box.train).wait(), 1, "m/.lock is a link, which is not followed")
    assert (box.folder / "precious").read_text() == "everything"
    (box.model / ".lock").unlink()
    box.same(box.train)


def _set(variables: dict[str, str]) -> None:
    os.environ.update(variables)


@fault
def launcher_left_over(box):
    left = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2"}
    box.last = box.run(box.train, before=_set, args=(left,))
    assert "RANK=1, LOCAL_RANK=1, WORLD_SIZE=2 in the environment: ignored" in box.last.out, box.last
    box.same(box.train)


@fault
def stale_files(box):
    box.model.mkdir()
    (box.model / ".lock").write_text("4711")
    (box.model / ".checkpoint.pt.4711.passing").write_bytes(b"half")
    box.same(box.train)


def _clock_back() -> None:
    """In the process: every look at the clock is an hour before the last, as is what the files say."""
    now = [time.time()]

    def back() -> float:
        now[0] -= 3600
        return now[0]

    time.time = back


@fault
def clock_goes_back(box):
    job = begun(box, box.start([*box.train, SLOW], _clock_back))
    job.send().wait()
    for path in box.model.iterdir():
        os.utime(path, (time.time() + 1e6,) * 2)
    box.run([*box.train, SLOW], before=_clock_back)
    box.same([*box.train, SLOW])
    seconds = json.loads((box.model / "summary.json").read_text())["seconds"]
    assert 0 < seconds < 600


@fault
def data_reader_dies(box):
    command = [*box.train, SLOW, "train.workers=1"]
    job = begun(box, box.start(command))
    os.kill(_children(job)[0], signal.SIGKILL)
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
    names = ("wandb", "matplotlib", "PIL", "accelerate")
    ended = box.run([*box.full, "wandb=offline"], before=_hide, args=names)
    words = " ".join(ended.out.split())
    told = int(box.of.draws)  # by the command; a script that uses none of them has nothing to say
    assert all(words.count(f"{package(name)} is not installed") == told for name in names), ended
    assert not ended.err and not [*box.model.rglob("*.png"), *box.model.rglob("*.gif")], ended
    whole = box.reference(box.full)
    wrong = [d for d in differences(whole, box.model) if not d.endswith((".png", ".gif"))]
    assert not wrong, wrong  # the same weights, samples and likelihoods without them
    box.last = ended


def _cut_off() -> None:
    """In the process: a network of its own, without a way out; not even of its own machine, where that is refused."""
    if ctypes.CDLL(None, use_errno=True).unshare(0x40000000) == 0:  # CLONE_NEWNET
        quiet("ip", "link", "set", "lo", "up")
    for name in ("http_proxy", "https_proxy"):
        os.environ[name] = os.environ[name.upper()] = "http://127.0.0.1:9"


@fault
def no_network(box):
    box.last = box.run([*box.full, "wandb=offline"], before=_cut_off)
    wrong = [d for d in differences(box.reference(box.full), box.model) if "wandb" not in d]
    assert not wrong, wrong
