"""The task that trains a classifier of noisy data, for guidance."""

import math
from dataclasses import dataclass

import torch

from ...config import build
from ...model import NoisyClassifier
from ...objectives.classify import Classify
from ...run import Run
from .base import Apart


@dataclass(frozen=True)
class Classifier(Apart):
    """Trains a classifier of noisy data in a folder of its own, by the settings `train`, for `guidance=classifier`.

    `condition` is the label; the others are as `Apart` has them.
    """

    name = "classifier"

    def __call__(self, run: Run) -> None:
        data, training = run.data, run.training
        kind = data.conditions.get(self.condition)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(training.seed)
            net = self.encoder(data, getattr(kind, "classes", 2))
        classifier = NoisyClassifier(net, build.build_sde(run.config, run.trusts("sde")))
        objective = Classify(classifier, data, self.condition, dequantise=training.dequantise)
        found = self.fit(run, objective, "a classifier of noisy")
        if run.lead:
            right = f"{100 * found.get('accuracy', math.nan):.1f} % right at the least noise"
            run.results.append(("classifier", f"{found['took']}, {right}"))
            run.results.append(("use it", f"guidance=classifier guidance.classifier={run.folder}"))
