"""The jobs of a sweep: a folder each, with what it was asked for, how it stands, and why it failed."""

import datetime
import os
import socket
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from ...machine import files
from ...report.figures import STATUS, statuses
from .. import build

DONE = {"state": str, "config": str, "results": files.dict_of(str)}
SWEEP = "SCORESDE_SWEEP"  # the environment variable with the sweep's name, which parallel jobs inherit
WHERE = ("wandb", "tracker", "project", "artifacts", "fresh", "gif", "batch_size", "device", "out", "folder", "paths")


def fingerprint(config: DictConfig) -> str:
    """A hash of the whole config but for where it runs and who watches: the same result has the same one."""
    plain = OmegaConf.to_container(config, resolve=True)
    parts = {k: v for k, v in plain.items() if k not in WHERE}
    return build.short_hash([parts, build.model_config(config), str(build.model_folder(config))])


def sweep_name(words: Sequence[str]) -> str:
    """The swept keys and a hash of the command's words, but for those that say how and not what: the same sweep has
    the same name whenever it is started, alone or in parallel."""
    how = ("hydra/", "hydra.", "wandb=", "tracker=", "--multirun", "-m")
    said = [w for w in words if not w.startswith(how)]
    keys = []
    for word in said:
        try:
            override = OverridesParser.create().parse_override(word)
            keys += [override.key_or_group.rpartition(".")[2]] if override.is_sweep_override() else []
        except HydraException:
            continue  # a flag, or a mistake that Hydra will tell
    return "-".join([*keys[:4], build.short_hash(said)])


def now() -> str:
    """This moment, to the second, with its zone."""
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")


@dataclass(frozen=True)
class Job:
    """One job of a sweep, as a context: status.json says running, then done, or failed with traceback.txt beside it.

    `number` in the `sweep`, by `overrides`, in `folder`; `config` is the fingerprint of its config.  Of several
    processes the first one writes (`lead`).
    """

    folder: Path
    number: int
    sweep: str
    overrides: tuple[str, ...]
    config: str
    lead: bool = True

    def done(self) -> bool:
        """Whether an earlier job of the same config ended here and its results are still there."""
        status = files.read_json(self.folder / "status.json", DONE, default=None)
        if status is None or status["state"] != "done" or status["config"] != self.config:
            return False
        return all((Path(p) / "summary.json").exists() for p in status["results"].values())

    def __enter__(self) -> "Job":
        if self.lead:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / "traceback.txt").unlink(missing_ok=True)
        self._write(state="running", started=now(), process=os.getpid(), host=socket.gethostname())
        return self

    def __exit__(self, kind, value, trace) -> None:
        if kind is None:
            return
        words = " ".join(str(value).split()) or ("stopped" if kind is KeyboardInterrupt else kind.__name__)
        if self.lead:
            text = "".join(traceback.format_exception(kind, value, trace))
            files.write(self.folder / "traceback.txt", lambda file: file.write(text.encode(errors="replace")))
        self._write(state="failed", error=words[:500])

    def end(self, results: dict[str, Path]) -> None:
        """Marks it done, with the folder of the result of each task, and gathers their summaries in summary.json."""
        summaries = {task: read(folder / "summary.json") for task, folder in results.items()}
        if self.lead:
            files.write_json(self.folder / "summary.json", summaries)
        places = {task: str(folder.absolute()) for task, folder in results.items()}
        self._write(state="done", results=places)

    def _write(self, **facts: Any) -> None:
        if not self.lead:
            return
        known = {"state": None, "job": self.number, "sweep": self.sweep, "overrides": list(self.overrides)}
        known |= {"config": self.config, "folder": str(self.folder.absolute())}
        if facts["state"] != "running":
            known = read(self.folder / "status.json") | known | {"ended": now()}
            known["seconds"] = _between(known.get("started"), known["ended"])
        files.write_json(self.folder / "status.json", known | facts)


def _between(start: Any, end: str) -> float | None:
    """Seconds; None if the start is not known."""
    try:
        return (datetime.datetime.fromisoformat(end) - datetime.datetime.fromisoformat(start)).total_seconds()
    except (TypeError, ValueError):
        return None


def interrupted(folder: Path) -> None:
    """Notes in the folder of a job that was killed that it is no longer running."""
    status = files.read_json(folder / "status.json", STATUS, default={})
    if status.get("state") == "running":
        files.write_json(folder / "status.json", status | {"state": "failed", "error": "it was killed"})


def read(path: Path) -> dict:
    """A JSON object from a file; an empty one if there is none, or it cannot be read."""
    return files.read_json(path, default={})


def closing(sweep: Path) -> tuple[str, list[str]]:
    """What to say when a sweep has ended: how many jobs are done, and a line for each that is not."""
    found = statuses(sweep)
    bad = [s for s in found if s["state"] != "done"]
    lines = [
        f"job {s['job']} ({' '.join(s['overrides'])}) {s['state']}: {s.get('error', 'it did not end')}; "
        f"see {sweep}/{s['job']}/traceback.txt"
        for s in bad
    ]
    return f"sweep {sweep}: {len(found) - len(bad)} of {len(found)} jobs done, {len(bad)} failed", lines
