"""Commands in processes that can be killed, starved or lied to, and what they leave behind."""

import contextlib
import functools
import io
import json
import multiprocessing
import os
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from omegaconf import OmegaConf
from PIL import Image
from trainings import TRAININGS, Trained

from scoresde.model import checkpoint
from scoresde.model.folder import weights_of

FAULTS = {}  # every kind by its name: a function of a Box
ONLY_DRAWS = {}  # those of what draws, and why
WARM = ["command.main", "run", "tasks.train", "tasks.sample", "tasks.likelihood.task"]
LATE = ["torch._dynamo", "torch.distributed.tensor", "torch.distributed.fsdp", "torch.onnx", "accelerate.utils"]
LATE += ["matplotlib.backends.backend_agg", "matplotlib.axes", "PIL.PngImagePlugin", "hydra._internal.core_plugins"]


@functools.cache
def _warm():
    """Every process is forked from one that has imported everything and computed nothing."""
    context = multiprocessing.get_context("forkserver")
    rooms = [f"scoresde.{name}" for name in WARM]
    context.set_forkserver_preload([*rooms, *LATE])
    return context


def _main(main, overrides: list[str], folder: Path, log: Path, before, args: tuple) -> None:
    """`python run.py OVERRIDES`, or another script's `main`, in this process, after `before(*args)`."""
    for name, descriptor in (("out", 1), ("err", 2)):
        file = os.open(f"{log}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, descriptor)
    os.chdir(folder)
    sys.argv, code = ["run.py", *overrides], 1
    torch.set_num_threads(1)
    multiprocessing.set_start_method("fork", force=True)  # of its own children, as of a command in a shell
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup ignores it
    try:
        before(*args)
        main()
        code = 0
    except SystemExit as stop:
        code = stop.code or 0
    except BaseException:
        traceback.print_exc()
    with contextlib.suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def nothing() -> None:
    """No fault."""


@dataclass
class Ended:
    """A process that ended: its exit code (-9 for kill -9), and what it said."""

    code: int
    out: str
    err: str


class Job:
    """A command at work."""

    def __init__(self, main, folder: Path, log: Path, overrides, before=nothing, args: tuple = ()):
        self.log = log
        self.process = _warm().Process(target=_main, args=(main, [*overrides], folder, log, before, args))
        self.process.start()
        self.pid = self.process.pid

    def until(self, there, seconds: float = 120) -> None:
        """Waits until `there()`; fails if the process ends before."""
        end = time.monotonic() + seconds
        while not there():
            assert self.process.is_alive() and time.monotonic() < end, f"it ended too early: {self.wait()}"
            time.sleep(0.002)

    def under_way(self) -> bool:
        """Whether it has got to the command itself."""
        return Path(f"{self.log}.err").exists()

    def said(self) -> str:
        """What it has printed so far."""
        out = Path(f"{self.log}.out")
        return out.read_text() if out.exists() else ""

    def send(self, number: int = signal.SIGKILL) -> "Job":
        """Sends a signal."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)
        return self

    def wait(self, seconds: float = 240) -> Ended:
        """Its end."""
        self.process.join(seconds)
        if self.process.exitcode is None:
            self.process.kill()
            raise AssertionError(f"it hangs: {self.log}")
        texts = (Path(f"{self.log}.{name}").read_text(errors="replace") for name in ("out", "err"))
        return Ended(self.process.exitcode, *texts)


class Box:
    """A folder to run the commands of a training in, and references: the same commands, left alone."""

    def __init__(self, folder: Path, of: str = "plain"):
        self.folder, self.jobs, self.known = folder, 0, {}
        self.of: Trained = TRAININGS[of]
        self.train, self.sample, self.score, self.full = map(self.of.words, ("train", "sample", "likelihood", "full"))
        self.uses = [self.train, *([self.sample] if self.of.draws else [])]
        self.model = folder / "m"
        self.last: Ended | None = None

    def start(self, overrides, before=nothing, args: tuple = (), folder: str = "m") -> Job:
        """Starts a command on the model folder `folder`."""
        self.jobs += 1
        (self.folder / "logs").mkdir(parents=True, exist_ok=True)
        log, words = self.folder / "logs" / str(self.jobs), [*overrides, f"folder={folder}"]
        return Job(self.of.main, self.folder, log, words, before, args)

    def run(self, overrides, **options) -> Ended:
        """Runs a command that must end well."""
        ended = self.start(overrides, **options).wait()
        assert ended.code == 0 and "error" not in ended.err, ended
        return ended

    def fails(self, ended: Ended, code: int, *words: str) -> Ended:
        """The exit code, one line on standard error with these words, and no file that is only half there."""
        assert ended.code == code, ended
        if code > 0:
            assert ended.err.startswith("error: ") and ended.err.count("\n") == 1, ended
        assert all(word in ended.err for word in words), ended
        assert not (broken := unreadable(self.model)), broken
        self.last = ended
        return ended

    def reference(self, *commands) -> Path:
        """The model folder after these commands, undisturbed."""
        key = repr(commands)
        if key not in self.known:
            self.known[key] = f"whole{len(self.known)}"
            for overrides in commands:
                self.run(overrides, folder=self.known[key])
        return self.folder / self.known[key]

    def same(self, *commands) -> None:
        """The last of the commands, now undisturbed, ends with what they give when nothing happens."""
        self.run(commands[-1])
        whole = self.reference(*commands)
        assert not (differ := differences(whole, self.model)), differ
        assert not list(self.model.rglob(".*.passing"))
        assert not (broken := unreadable(self.model)), broken


PAGE = ("report.html", "floor.json", "machine.json")  # of the time that there was, and of the machine


def unreadable(folder: Path) -> list[str]:
    """The files under their final names that cannot be read as what they are; half a last line of rows may be."""
    wrong = []
    for path in folder.rglob("*"):
        if path.is_file() and not path.name.startswith(".") and "wandb" not in path.parts:
            try:
                _read(path)
            except Exception as error:
                wrong.append(f"{path}: {type(error).__name__} {error}")
    return wrong


def _read(path: Path):
    if path.suffix == ".pt":
        return checkpoint.load(path)
    if path.suffix == ".safetensors":
        return weights_of(path.parent)
    if path.suffix == ".json":
        return json.loads(path.read_text())
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().split("\n")[:-1]]
    if path.suffix == ".yaml":
        assert len(OmegaConf.load(path))
        return None
    if path.suffix == ".html":
        assert path.read_text().endswith("</html>\n"), "it was cut short"
        return None
    if path.suffix == ".csv":
        return path.read_text().splitlines()
    if path.suffix == ".npy":
        return np.load(path)
    if path.suffix == ".npz":
        with np.load(io.BytesIO(path.read_bytes())) as file:
            return {name: file[name] for name in file.files}
    assert path.suffix in (".png", ".gif"), "an unknown kind of file"
    return Image.open(path).load()


def differences(whole: Path, other: Path) -> list[str]:
    """Where two model folders differ, to the bit: weights, averages, what learns beside them, the optimizers' moments,
    figures, samples and likelihoods."""
    wrong, a, b = [], *(checkpoint.load(folder / "checkpoint.pt") for folder in (whole, other))
    wrong += [f"step {b['step']}"] * (a["step"] != b["step"])
    wrong += ["model.safetensors"] * (weights_of(whole) != weights_of(other))
    mine, theirs = (dict(_tensors({k: v for k, v in state.items() if k != "facts"})) for state in (a, b))
    wrong += sorted(mine.keys() ^ theirs.keys())
    wrong += [name for name in mine.keys() & theirs.keys() if not torch.equal(mine[name], theirs[name])]
    figures = [[r | {"seconds": 0} for r in _read(f / "metrics.jsonl")] for f in (whole, other)]
    wrong += ["metrics.jsonl"] * (figures[0] != figures[1])
    for path in (*whole.glob("sample-*/samples.npy"), *whole.glob("likelihood-*/likelihood.npz")):
        mine, theirs = (_read(folder / path.relative_to(whole)) for folder in (whole, other))
        pairs = [(mine[k], theirs[k]) for k in mine] if isinstance(mine, dict) else [(mine, theirs)]
        wrong += [str(path.relative_to(whole))] * (not all(np.array_equal(x, y, equal_nan=True) for x, y in pairs))
    kept = lambda p: p.is_file() and p.name not in PAGE
    names = [{p.relative_to(f) for p in f.rglob("*") if kept(p)} for f in (whole, other)]
    return wrong + [f"only in one: {p}" for p in names[0] ^ names[1] if not p.name.startswith(".")]


def _tensors(value, name: str = ""):
    """The tensors within dictionaries and lists, by their paths."""
    if torch.is_tensor(value):
        yield name, value
    elif isinstance(value, dict | list):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _tensors(part, f"{name}.{key}" if name else str(key))


def fault(function=None, *, only_draws: str = ""):
    """Adds a kind of fault to the table; `only_draws`: why there is none for a script that only trains."""
    if function is None:
        return lambda function: fault(function, only_draws=only_draws)
    FAULTS[function.__name__] = function
    if only_draws:
        ONLY_DRAWS[function.__name__] = only_draws
    return function


def applies(name: str, of: str) -> bool:
    """Whether there is such a fault of this training."""
    return TRAININGS[of].draws or name not in ONLY_DRAWS


def begun(box: Box, job: Job, name: str = "checkpoint.pt") -> Job:
    """Waits until it has written its first checkpoint, or another file."""
    path = box.model / name
    written = lambda: path.stat().st_mtime_ns if path.exists() else 0
    before = written()
    job.until(lambda: written() != before)
    return job


def rows(box: Box) -> int:
    """How many rows of figures there are."""
    path = box.model / "metrics.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0
