"""The task that trains a classifier of noisy data, for guidance."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch

from ..config import build
from ..machine.progress import fewer
from ..model import NoisyClassifier
from ..nets import Encoder
from ..objectives.classify import Classify
from ..run import Run, Task
from ..settings import Count, Range, Text, Whole
from ..tracking.report import bar
from ..training import fit


@dataclass(frozen=True)
class Classifier(Task):
    """Trains a classifier of noisy data in a folder of its own, by the settings `train`, for `guidance=classifier`.

    `condition` is the label, `folder` where it goes, by default out/classifier-SDE-DATA-HASH; the others are those of
    `nets.Encoder`.
    """

    condition: Text = "label"
    folder: Text | None = None
    channels: Annotated[int, Range(8, 2**16)] = 32
    mults: tuple[Count, ...] = (1, 2)
    blocks: Count = 1
    attention: Whole = 64
    dropout: Annotated[float, Range(0, below=1)] = 0.1

    def place(self, run: Run) -> Path:
        if self.folder is not None:
            return Path(self.folder).expanduser()
        known = build.model_config(run.config)
        made = [known[part] for part in ("sde", "data", "train", "code")]
        names = f"classifier-{build.name_of(run.config.sde)}-{build.name_of(run.config.data)}"
        return (
            Path(run.config.out).expanduser()
            / f"{names}-{build.short_hash([*made, {**run.plain['task'], 'folder': None}])}"
        )

    def __call__(self, run: Run) -> None:
        data, training, last = run.data, run.training, {}
        kind = data.conditions.get(self.condition)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(training.seed)
            how = {k: getattr(self, k) for k in ("channels", "mults", "blocks", "attention", "dropout")}
            how = how if len(data.shape) > 1 else {k: how[k] for k in ("channels", "blocks", "dropout")}
            net = Encoder(data.shape, getattr(kind, "classes", 2), **how)
        classifier = NoisyClassifier(net, build.build_sde(run.config, run.trusts("sde")))
        objective = Classify(classifier, data, self.condition, dequantise=training.dequantise)
        run.say(f"training a classifier of noisy {data.name} {data.shape}, {len(data.train)} examples")

        def report(step: int, **figures) -> None:
            run.tracker.log("train/", step, figures)
            last.update(figures)

        words = fewer("train.steps=", training.steps)
        with bar(run.console, "training", training.steps, 0, words) as advance:
            options = {"report": report, "say": run.say, "device": run.config.device, "fresh": run.config.fresh}
            fit(objective, data, training, run.folder, progress=advance, **options)
        if run.lead:
            run.keep_config(run.folder)
            right = f"{100 * last.get('accuracy', math.nan):.1f} % right at the least noise"
            run.results.append(
                ("classifier", f"{training.steps} steps in {last.get('seconds', math.nan):.0f} s, {right}")
            )
            run.results.append(("use it", f"guidance=classifier guidance.classifier={run.folder}"))
            run.made["train"] = run.folder
