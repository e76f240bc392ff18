"""Trackers show the same figures as metrics.jsonl, and never stop the work, whatever happens to them."""

import itertools
import json
import os
import shutil
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import command
from PIL import Image
from sweeps import SMALL, lines, wandb_run

from scoresde.machine import locks
from scoresde.tracking.track import Metrics, Rows, Tracker, Trackers
from scoresde.tracking.with_tensorboard import TensorBoard
from scoresde.tracking.with_wandb import Wandb, mode

ACTIONS = ("start", "log", "image", "histogram", "artifact", "finish")


@pytest.fixture
def cli(monkeypatch, capfd, tmp_path):
    return lambda *words, **options: command(monkeypatch, capfd, tmp_path, *SMALL, "sampler=ddim", *words, **options)


def work(trackers: Trackers, folder: Path, steps=range(3), fail: bool = False) -> None:
    """Everything that a run says to its trackers."""
    folder.mkdir(exist_ok=True)
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / "x.png")
    frames = [Image.fromarray(np.full((8, 8, 3), 80 * i, np.uint8)) for i in range(3)]
    frames[0].save(folder / "x.gif", save_all=True, append_images=frames[1:])
    with trackers:
        metrics = Metrics(folder / "metrics.jsonl", trackers, "train/", keep=steps[0])
        for step in steps:
            metrics.log(step, loss=1 / (step + 3), by_level=[0.1, 0.2 + step])
        trackers.image("sample/samples", folder / "x.png")
        trackers.image("sample/trajectory_gif", folder / "x.gif")
        trackers.histogram("likelihood/nats", torch.randn(50))
        trackers.artifact("model-a", "model", [folder / "x.png"])
        if fail:
            raise RuntimeError("no")


class Broken(Tracker):
    name = "broken"

    def __init__(self, at: str):
        self.at = at

    def _do(self, action, *given):
        if action == self.at:
            raise OSError(28, "No space left on device")

    start, log, image = (lambda self, *a, _n=n: self._do(_n) for n in ("start", "log", "image"))
    histogram, artifact, finish = (lambda self, *a, _n=n: self._do(_n) for n in ("histogram", "artifact", "finish"))


@pytest.mark.parametrize("at", ACTIONS)
def test_a_tracker_that_fails_costs_one_line(tmp_path, at):
    said = []
    work(Trackers([Broken(at), Rows(tmp_path / "rows.jsonl")], said.append), tmp_path)
    assert len(said) == 1 and "No space left" in said[0] and "metrics.jsonl" in said[0]
    assert len(lines(tmp_path / "metrics.jsonl")) == len(lines(tmp_path / "rows.jsonl")) == 3
    assert lines(tmp_path / "rows.jsonl")[2] == {
        "train/step": 2,
        "train/loss": 0.2,
        "train/by_level/0": 0.1,
        "train/by_level/1": 2.2,
    }


def test_wandb_offline_holds_what_was_logged_and_goes_on_as_the_same_run(tmp_path):
    def tracker():
        options = {
            "project": "p",
            "name": "n",
            "group": "g",
            "job_type": "full",
            "tags": ["sde=vp"],
            "config": {"a": 1},
        }
        return Wandb("offline", tmp_path, "key", **options)

    with pytest.raises(RuntimeError):
        work(Trackers([tracker()], pytest.fail), tmp_path / "w", fail=True)
    work(Trackers([tracker()], pytest.fail), tmp_path / "w", steps=range(2, 5))
    first, second = sorted(
        (wandb_run(p) for p in tmp_path.glob("wandb/offline-run-*/*.wandb")), key=lambda r: -r["exit"]
    )
    assert (first["exit"], second["exit"]) == (1, 0)
    assert first["run"].run_id == second["run"].run_id == (tmp_path / "wandb" / "key.run").read_text().split()[0]
    assert (first["run"].run_group, first["run"].job_type, list(first["run"].tags)) == ("g", "full", ["sde=vp"])
    # The second part's rows follow the first's, and their own step is the metric: none is dropped when both are synced.
    steps = [step for part in (first, second) for step, _ in part["rows"]]
    assert all(a < b for a, b in itertools.pairwise(steps))
    assert first["metrics"]["train/*"] == second["metrics"]["train/*"] == "train/step"
    rows = [row for part in (first, second) for _, row in part["rows"]]
    assert [r["train/step"] for r in rows] == [0, 1, 2, 2, 3, 4]
    assert [r["train/loss"] for r in rows[3:]] == [r["loss"] for r in lines(tmp_path / "w" / "metrics.jsonl")[-3:]]
    assert first["media"] >= {"sample/samples", "sample/trajectory_gif", "likelihood/nats"}
    assert first["artifacts"] == [("model", "model-a")] and first["stats"] >= 1


def test_tensorboard_by_the_same_interface(tmp_path, monkeypatch):
    said = []

    class Writer:
        def __init__(self, folder):
            said.append(("folder", folder))

        def __getattr__(self, name):
            return lambda *a, **k: said.append((name, *a))

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", types.SimpleNamespace(SummaryWriter=Writer))
    work(Trackers([TensorBoard(tmp_path, "a: 1")], pytest.fail), tmp_path / "w")
    scalars = [s[1:] for s in said if s[0] == "add_scalar"]
    assert scalars[:3] == [("train/loss", 1 / 3, 0), ("train/by_level/0", 0.1, 0), ("train/by_level/1", 0.2, 0)]
    images = [s for s in said if s[0] == "add_image"]
    assert images[0][2].shape == (8, 8, 3) and images[1][2].mean() > 100  # the animation's last frame
    assert said[-2:] == [("add_text", "status", "done"), ("close",)]


def test_tensorboard_reads_back(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    work(Trackers([TensorBoard(tmp_path)], pytest.fail), tmp_path / "w")
    found = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [e.step for e in found.Scalars("train/loss")] == [0, 1, 2]
    assert {"sample/samples", "sample/trajectory_gif"} <= set(found.Tags()["images"])


@pytest.mark.parametrize(("tracker", "module"), [("wandb", "wandb"), ("tensorboard", "torch.utils.tensorboard")])
def test_without_the_package_one_line_says_so(cli, tmp_path, monkeypatch, tracker, module):
    monkeypatch.setitem(sys.modules, module, None)
    code, out, err = cli(f"tracker={tracker}", "task=train", wandb="offline")
    assert code == 0 and out.count(f"{tracker} is not installed") == 1 and f"pip install {tracker}" in out, err
    (path,) = tmp_path.glob("runs/*/metrics.jsonl")
    assert len(lines(path)) == 4


def test_a_full_disk_for_wandb_costs_one_line(cli, tmp_path, monkeypatch):
    free = iter([1 << 30, 1 << 30])
    full = types.SimpleNamespace(free=0)
    monkeypatch.setattr(shutil, "disk_usage", lambda p: types.SimpleNamespace(free=f) if (f := next(free, 0)) else full)
    code, out, err = cli("task=train", wandb="offline")
    assert code == 0 and out.count("wandb stopped (0.0 MiB are free") == 1, err
    assert len(lines(next(tmp_path.glob("runs/*/metrics.jsonl")))) == 4


def test_a_folder_that_wandb_cannot_write_costs_one_line(cli, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "wandb").write_text("in the way")  # fails for root too, which a folder's mode does not
    code, out, err = cli("task=train", "folder=mine", wandb="offline")
    assert code == 0 and out.count("wandb did not start") == 1, err
    assert (tmp_path / "mine" / "checkpoint.pt").exists()


@pytest.mark.slow
def test_a_disk_that_fills_up_under_wandb(tmp_path):
    """A real file system of 3 MiB that is full after some rows, under wandb's folder alone."""
    (tmp_path / "wandb").mkdir()
    if (
        os.geteuid()
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", tmp_path / "wandb"]).returncode
    ):
        pytest.skip("mounting needs root")
    try:
        said = []
        trackers = Trackers(
            [Wandb("offline", tmp_path, "key", project="p"), Rows(tmp_path / "rows.jsonl")], said.append
        )
        with trackers:
            for step in range(20):
                trackers.log("train/", step, {"loss": 0.1})
                if step == 10:
                    (tmp_path / "wandb" / "other").write_bytes(b"x" * (2 << 20))
        assert len(said) == 1 and "MiB are free" in said[0]
        assert len(lines(tmp_path / "rows.jsonl")) == 20
    finally:
        subprocess.run(["umount", "-l", tmp_path / "wandb"], check=True)


def test_online_without_a_login_is_kept_offline(cli, tmp_path, monkeypatch):
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    code, out, err = cli("task=train", wandb="online")
    assert code == 0 and out.count("wandb login") == 1 and "kept offline" in out, err
    assert len(list(tmp_path.glob("runs/*/wandb/offline-run-*/*.wandb"))) == 1


@pytest.mark.slow
def test_online_without_a_network_is_kept_offline(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    said = []
    work(Trackers([Wandb("online", tmp_path, "key", warn=said.append, project="p")], said.append), tmp_path / "w")
    assert len(said) == 1 and "kept offline" in said[0], said
    (path,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    assert len(wandb_run(path)["rows"]) == 3
    assert json.loads((tmp_path / "w" / "metrics.jsonl").read_text().splitlines()[0])["step"] == 0


ENVIRONMENT = [  # the environment, what the command line says, and the mode that comes of it
    ({"WANDB_MODE": "disabled"}, None, "disabled"),
    ({"WANDB_MODE": "online"}, None, "online"),
    ({"WANDB_MODE": "dryrun"}, None, None),  # an old word for offline, the default
    ({"WANDB_MODE": "disabled"}, "online", "disabled"),
    ({"WANDB_MODE": "offline"}, "online", "offline"),
    ({"WANDB_MODE": "online"}, "offline", None),
    ({"WANDB_MODE": "online"}, "disabled", None),
    ({"WANDB_DISABLED": "true"}, None, "disabled"),
    ({"WANDB_DISABLED": "1", "WANDB_MODE": "online"}, "online", "disabled"),
    ({"WANDB_DISABLED": "false"}, "online", None),
    ({"WANDB_DISABLED": "", "WANDB_MODE": ""}, "online", None),
]


@pytest.mark.parametrize(("given", "said", "expected"), ENVIRONMENT)
def test_the_environment_can_change_wandbs_mode_and_a_line_says_so(monkeypatch, given, said, expected):
    for name in ("WANDB_MODE", "WANDB_DISABLED"):
        monkeypatch.delenv(name, raising=False)
        if name in given:
            monkeypatch.setenv(name, given[name])
    found, words = mode(said or "offline", said is not None)
    assert found == (expected or said or "offline")
    assert words == "" if expected is None else words.endswith(f"in the environment: wandb={expected}")
    monkeypatch.setenv("WANDB_DISABLED", "")
    monkeypatch.setenv("WANDB_MODE", "loud")
    found, words = mode("online", True)
    assert found == "online" and "WANDB_MODE=loud" in words and "offline" in words


@pytest.mark.parametrize("given", [{"WANDB_MODE": "disabled"}, {"WANDB_DISABLED": "true"}, {"WANDB_MODE": "loud"}])
def test_a_command_heeds_wandbs_environment(cli, tmp_path, monkeypatch, given):
    monkeypatch.setenv("WANDB_SILENT", "true")
    for name in ("WANDB_MODE", "WANDB_DISABLED"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    code, out, err = cli("task=train", "folder=m", wandb=None)
    ((name, value),) = given.items()
    assert code == 0 and out.count(f"{name}={value} in the environment") == 1, (out, err)
    assert (tmp_path / "m" / "wandb").exists() == (value == "loud" and "did not start" not in out)


NAMES = ["vp toy=1", "modèle/é#?%", "a:v0", "x" * 200, "..", "-", "\x1b[31m", "名前", ""]


def test_a_name_that_wandb_refuses_is_mended_and_never_stops_the_run(tmp_path):
    said = []
    tracker = Wandb("offline", tmp_path, "key", warn=said.append, project="p", name="é" * 300, group="g" * 300)
    trackers = Trackers([tracker], pytest.fail)
    (tmp_path / "x.png").write_bytes(b"x")
    with trackers:
        for name in NAMES:
            trackers.artifact(name, "model", [tmp_path / "x.png"])
        assert len(said) <= 1  # the name that is none
        trackers.artifact("a", "model", [tmp_path / "nothing"])
        trackers.log("train/", 1, {"loss": 0.5})
    assert "refused the artifact a (" in said[-1] and len(said) <= 2
    (run,) = (wandb_run(p) for p in tmp_path.glob("wandb/offline-run-*/*.wandb"))
    assert [row for _, row in run["rows"]] == [{"train/step": 1, "train/loss": 0.5}] and run["exit"] == 0
    names = [name for _, name in run["artifacts"]]
    assert len(names) >= len(NAMES) - 1 and names[0] == "vp-toy-1" and all(len(n) <= 128 for n in names), names


def test_trackers_write_through_no_links(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    for name in ("wandb", "tensorboard"):
        (tmp_path / "m").mkdir(exist_ok=True)
        (tmp_path / "m" / name).symlink_to(outside)
    said = []
    with locks.alone(tmp_path / "m"):
        trackers = [Wandb("offline", tmp_path / "m", "key", project="p"), TensorBoard(tmp_path / "m")]
        with Trackers(trackers, said.append) as found:
            found.log("train/", 1, {"loss": 0.5})
    assert len(said) == 2 and all("is a link" in words for words in said) and not list(outside.iterdir())


def test_a_jobs_rows_go_on_after_half_a_row(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = Rows(path)
    rows.start()
    rows.log("train/", 1, {"loss": float("nan")})
    with open(path, "a") as file:
        file.write('{"train/step": 2, "trai')  # a kill
    rows.start()
    rows.log("train/", 2, {"loss": 0.5})
    whole, half, after = path.read_text().splitlines()
    assert json.loads(whole, parse_constant=pytest.fail) == {"train/step": 1, "train/loss": None}
    assert json.loads(after) == {"train/step": 2, "train/loss": 0.5}
