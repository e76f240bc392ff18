"""What trains another network than the model's, of the same data, in a folder of its own."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from ...config import build
from ...data import Data
from ...machine import files
from ...machine.progress import fewer
from ...making import node_of
from ...nets import Encoder
from ...objectives import Objective
from ...run import Run, Task
from ...settings import Count, Range, Text, Whole
from ...tracking.report import bar
from ...tracking.track import read_rows
from ...training import fit

FEW = 512  # held-out items that are looked at


@dataclass(frozen=True)
class Apart(Task):
    """A task that trains by the settings `train` another network of the items.

    `folder` is where it goes, by default out/NAME-SDE-DATA-HASH; the others are those of the network.
    """

    name: ClassVar[str]
    looks: ClassVar[tuple[str, ...]] = ()  # settings that only look at what was trained

    folder: Text | None = None
    channels: Annotated[int, Range(8, 2**16)] = 32
    mults: tuple[Count, ...] = (1, 2)
    blocks: Count = 1
    dropout: Annotated[float, Range(0, below=1)] = 0.1

    def place(self, run: Run) -> Path:
        if self.folder is not None:
            return Path(self.folder).expanduser()
        known = build.model_config(run.config)
        made = [known[part] for part in ("sde", "data", "train", "code")]
        kept = node_of(self).keys() - self.looks  # what came later has a say where it is asked for
        asked = {k: v for k, v in run.plain["task"].items() if k in kept} | {"folder": None}
        names = f"{self.name}-{build.name_of(run.config.sde)}-{build.name_of(run.config.data)}"
        return Path(run.config.out).expanduser() / f"{names}-{build.short_hash([*made, asked])}"

    def fit(self, run: Run, objective: Objective, what: str, made: dict | None = None) -> dict[str, Any]:
        """Trains `what`; the last figures, and how many steps and seconds it took under "took".

        `made` is more of what makes it, for its folder to know.
        """
        data, training, last = objective.data, run.training, {}
        done = files.read_json(run.folder / "summary.json", default={}).get("finished") is True and not run.config.fresh
        words = f"training {what} {data.name} {data.shape}, {len(data.train)} examples"
        run.say(f"{run.folder} is trained already" if done else words)

        def report(step: int, **figures) -> None:
            run.tracker.log("train/", step, figures)
            last.update(figures)

        words = fewer("train.steps=", training.steps)
        with bar(run.console, "training", training.steps, 0, words) as advance:
            options = {"report": report, "say": run.say, "device": run.config.device, "fresh": run.config.fresh}
            options |= {"made": made} if made else {}
            trained = fit(objective, data, training, run.folder, progress=advance, **options)
        if not last:  # trained before
            last = {key: value for row in read_rows(run.folder / "metrics.jsonl") for key, value in row.items()}
        elif run.lead:
            run.keep_config(run.folder)
            run.made["train"] = run.folder
        took = f"{training.steps} steps in {last.get('seconds', math.nan):.0f} s"
        return last | {"took": took, "trained": trained}


@dataclass(frozen=True)
class Reading(Apart):
    """A task that trains what reads the items by a `nets.Encoder`, and what they come with.

    `condition` is what they come with, and `attention` the encoder's; the others are as `Apart` has them.
    """

    condition: Text = "label"
    attention: Whole = 64

    def encoder(self, data: Data, outputs: int, **more: Any) -> Encoder:
        """The network of the items, by the settings, of so many outputs."""
        how = {k: getattr(self, k) for k in ("channels", "mults", "blocks", "attention", "dropout")}
        how = how if len(data.shape) > 1 else {k: how[k] for k in ("channels", "blocks", "dropout")}
        return Encoder(data.shape, outputs, **how, **more)
