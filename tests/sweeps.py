"""Sweeps for tests: a small command, a job that fails, and what wandb has written offline."""

import json
import os
import struct
import subprocess
import sys
import time
from pathlib import Path

from commands import ROOT

# A model of points in the plane that trains, samples and is scored in a second or two.
SMALL = [
    "data=toy",
    "data.n=200",
    "data.test=40",
    "net.width=16",
    "train.steps=4",
    "train.batch_size=16",
    "train.validate_every=2",
    "train.checkpoint_every=2",
    "train.log_every=1",
    "n=20",
    "likelihood.n=10",
    "gif=false",
]
# The command line, with one job that raises while it samples: FAIL is "sde sampler seed".
DRIVER = """
import os, sys
from pathlib import Path
from scoresde.tasks import sample as sampling
from scoresde.command.main import main
whole = sampling.draw
def draw(run, *how):
    if f"{run.choices['sde']} {run.choices['sampler']} {run.config.seed}" == os.environ.get("FAIL"):
        raise RuntimeError("made to fail")
    whole(run, *how)
sampling.draw = draw
main(Path(os.environ["CONF"]))
"""


def start(folder: Path, *words: str, fail: str = "") -> subprocess.Popen:
    """`python run.py WORDS` in `folder`, in its own process."""
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    env = os.environ | {"FAIL": fail, "CONF": str(ROOT / "conf"), "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", DRIVER, *words], cwd=folder, env=env, **options)


def records(path: Path):
    """The records of a .wandb file: LevelDB's log format after seven bytes of header."""
    from wandb.proto import wandb_internal_pb2

    data, at, whole = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        _, size, kind = struct.unpack("<IHB", data[at : at + 7])
        whole += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # a whole record, or the last part of one
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            whole = b""
            yield record


def wandb_run(path: Path, patience: float = 5.0) -> dict:
    """What a .wandb file holds: its run, its rows of numbers, its metrics, its artifacts, and its exit code.

    wandb writes in a process of its own, which may be a moment behind.
    """
    until = time.monotonic() + patience
    while (found := _wandb_run(path))["exit"] is None and time.monotonic() < until:
        time.sleep(0.1)
    return found


def _wandb_run(path: Path) -> dict:
    found = {"rows": [], "metrics": {}, "artifacts": [], "exit": None, "media": set(), "stats": 0}
    for record in records(path):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found["run"] = record.run
        elif kind == "history":
            row = {i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in record.history.item}
            media = {k.removesuffix("/_type") for k in row if k.endswith("/_type")}
            found["media"] |= media
            if not media:
                found["rows"].append((record.history.step.num, {k: v for k, v in row.items() if k[0] != "_"}))
        elif kind == "metric":
            found["metrics"][record.metric.name or record.metric.glob_name] = record.metric.step_metric
        elif kind == "artifact":
            found["artifacts"].append((record.artifact.type, record.artifact.name))
        elif kind == "stats":
            found["stats"] += 1
        elif kind == "exit":
            found["exit"] = record.exit.exit_code
    return found


def lines(path: Path) -> list[dict]:
    """The rows of a metrics.jsonl."""
    return [json.loads(line) for line in path.read_text().splitlines()]
