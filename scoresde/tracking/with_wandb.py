"""A run in Weights & Biases: offline by default, never asking for a login."""

import contextlib
import netrc
import os
import re
import secrets
import shutil
import urllib.parse
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from ..machine import files
from .track import Tracker

MODES = ("offline", "online", "disabled")
ARTIFACTS = ("reference", "upload", "none")
PRIVATE = {"online": 0, "run": 0, "shared": 0, "offline": 1, "dryrun": 1, "disabled": 2}  # the words of WANDB_MODE
LONGEST = 128  # letters of a name
SPARE = 1 << 20  # bytes that must be free: wandb writes in another process, which says nothing when the disk is full


def mode(asked: str, said: bool) -> tuple[str, str]:
    """What becomes of wandb=`asked` in this environment, and what to say of it, "" for nothing.

    WANDB_DISABLED and WANDB_MODE take the place of the config; of what the command line `said` they can only make
    something more private.
    """
    off = os.environ.get("WANDB_DISABLED", "").lower() in ("1", "true", "t", "yes", "y", "on")
    name = "WANDB_DISABLED" if off else "WANDB_MODE"
    value = os.environ.get(name, "")
    level = 2 if off else PRIVATE.get(value.lower())
    if value and level is None:
        return asked, f"warning: WANDB_MODE={value} in the environment is unknown and ignored: say {', '.join(MODES)}"
    if level is None or level == PRIVATE[asked] or (said and level < PRIVATE[asked]):
        return asked, ""
    heeded = ("online", "offline", "disabled")[level]
    return heeded, f"{name}={value} in the environment: wandb={heeded}"


class Wandb(Tracker):
    """A wandb run, which goes on as the same run when the work of the same `key` starts again in the same `folder`.

    Its id and the number of rows sent are in folder/wandb/KEY.run, as wandb itself resumes runs online only: offline it
    writes another offline-run folder of the same id, whose steps follow on, and `wandb sync` makes one run of them.
    Every prefix of figures has its own step as a metric.  Where online does not work, the run is kept offline.
    `artifacts`: "reference" (path and checksum only), "upload", or "none".
    """

    name = "wandb"

    def __init__(
        self,
        mode: str,
        folder: Path,
        key: str,
        artifacts: str = "reference",
        warn: Callable[[str], None] = print,
        **options,
    ):
        self.mode, self.folder, self.key, self.artifacts, self.warn = mode, Path(folder), key, artifacts, warn
        options = {k: v[:LONGEST] if k in ("name", "group") else v for k, v in options.items()}
        self.options, self.run, self.known, self.step = options, None, set(), 0

    @property
    def note(self) -> Path:
        """The file with the id, and a dot for each row that was sent."""
        return self.folder / "wandb" / f"{self.key}.run"

    def start(self) -> None:
        """Opens the run."""
        os.environ.setdefault("WANDB_SILENT", "true")
        import wandb

        files.check(self.note)
        self.note.parent.mkdir(parents=True, exist_ok=True)
        self._check_space()
        name, sent = self._noted()
        self.step, options = sent, {**self.options, "dir": str(self.folder)}
        options["id"] = os.environ.get("WANDB_RUN_ID", name)  # an agent of a wandb sweep has named its run
        settings = wandb.Settings(
            silent=True, console="off", reinit="finish_previous", init_timeout=30, finish_timeout=60
        )
        if self.mode == "online":
            try:
                if not _has_key():
                    raise RuntimeError("no key is stored: run `wandb login` first")
                self.run = wandb.init(**options, mode="online", resume="allow", settings=settings)
            except Exception as error:
                reason = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
                self.warn(f"wandb is not online ({reason}): the run is kept offline, for `wandb sync`")
                wandb.teardown()  # it holds on to the id
        if self.run is None:
            self.run = wandb.init(**options, mode="offline", settings=settings)
        self.step = max(self.step, self.run.step)

    def _noted(self) -> tuple[str, int]:
        """The id of the run, new if there is none, and how many rows it was sent."""
        with contextlib.suppress(FileNotFoundError), files.reading(self.note) as file:
            name, _, sent = file.read().decode(errors="replace").partition("\n")
            if re.fullmatch(r"[0-9a-f]{8}", name):
                return name, sent.count(".")
        name = secrets.token_hex(4)
        files.write(self.note, lambda file: file.write(f"{name}\n".encode()))
        return name, 0

    def log(self, prefix: str, step: int, figures: dict) -> None:
        """Sends a row."""
        if prefix not in self.known:
            self.known.add(prefix)
            self.run.define_metric(f"{prefix}step")
            self.run.define_metric(f"{prefix}*", step_metric=f"{prefix}step")
        self._send({f"{prefix}step": step, **{prefix + k: v for k, v in figures.items()}})

    def image(self, name: str, path: Path) -> None:
        """Sends a picture, or an animation."""
        import wandb

        kind = (lambda p: wandb.Video(p, format="gif")) if path.suffix == ".gif" else wandb.Image
        self._send({name: kind(str(path))})

    def histogram(self, name: str, values: torch.Tensor) -> None:
        """Sends the counts of 64 bins."""
        import wandb

        self._send({name: wandb.Histogram(values.numpy(), num_bins=64)})

    def artifact(self, name: str, kind: str, paths: Sequence[Path]) -> None:
        """Notes the files by reference, or uploads them; one that wandb refuses costs a line, not the run."""
        if self.artifacts == "none":
            return
        import wandb

        name = re.sub(r"[^a-zA-Z0-9_.-]", "-", name)[:LONGEST]
        try:
            made = wandb.Artifact(name, kind)
            for path in paths:
                if self.artifacts == "upload":
                    made.add_file(str(path))
                else:
                    made.add_reference(f"file://{path.resolve()}")
            self.run.log_artifact(made)
        except Exception as error:  # whatever wandb happens to raise
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
            self.warn(f"wandb refused the artifact {name} ({reason}): the run goes on without it")

    def finish(self, failed: bool) -> None:
        """Ends the run with the exit code 0, or 1 if it failed."""
        self.run.finish(exit_code=int(failed))

    def _send(self, row: dict) -> None:
        self._check_space()
        self.run.log(row, step=self.step, commit=True)
        self.step += 1
        files.append(self.note, ".")

    def _check_space(self) -> None:
        free = shutil.disk_usage(self.note.parent).free
        if free < SPARE:
            raise OSError(f"{free / 2**20:.1f} MiB are free in {self.folder}")


def _has_key() -> bool:
    """Whether a login is stored, in the environment or in .netrc: wandb itself would ask the network, or the user."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urllib.parse.urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname
    for path in (os.environ.get("NETRC"), "~/.netrc", "~/_netrc"):
        with contextlib.suppress(OSError, netrc.NetrcParseError):
            if path and netrc.netrc(os.path.expanduser(path)).authenticators(host):
                return True
    return False
