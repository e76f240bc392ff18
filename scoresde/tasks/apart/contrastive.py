"""The task that trains a CLIP: pictures and what is said of them as vectors of one space."""

import math
from dataclasses import dataclass, replace
from typing import Annotated, Any

import torch

from ...conditions import Kind, Tokens
from ...config import build
from ...errors import InputError
from ...metrics.estimate import student, wilson
from ...model import Clip
from ...nets import Reader
from ...objectives.classify import MOST
from ...objectives.contrastive import Contrastive as Objective
from ...run import Run
from ...settings import LATER, Count, Text, Whole, nearest
from .base import Apart


@dataclass(frozen=True)
class Contrastive(Apart):
    """Trains a CLIP in a folder of its own, by the settings `train`: of clean pictures, or with `noise` of noised ones.

    `condition` is what is said of a picture: a caption, a label; `size` that of the embeddings; tokens are read by
    `layers` of a transformer, of `width` features, and each picture is told from `negatives` more of them, in which one
    is replaced.  The others are as `Apart` has them, of the pictures' encoder.
    """

    name = "clip"

    condition: Text = "caption"
    noise: bool = False
    size: Count = 64
    width: Count = 128
    layers: Whole = 2
    negatives: Annotated[Whole, LATER] = 0

    def __call__(self, run: Run) -> None:
        data, training = run.data, run.training
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(training.seed)
            reader = Reader({self.condition: self._kind(run)}, self.size, self.width)
            net = self.encoder(data, self.size, zeros=False)
        clip = Clip(net, reader, build.build_sde(run.config, run.trusts("sde")), self.noise)
        objective = Objective(clip, data, dequantise=training.dequantise, negatives=self.negatives)
        found = self.fit(run, objective, f"a CLIP of {'noised ' if self.noise else ''}pictures and their words,")
        if run.lead:
            figures, words = retrieval(found, min(MOST, len(data.test)))
            run.tracker.log("clip/", training.steps, figures)
            run.results.append(("clip", found["took"]))
            run.results += words
            clip = "guidance=clip guidance.clip" if self.noise else "task=evaluate task.clip"
            run.results.append(("use it", f"{clip}={run.folder}"))

    def _kind(self, run: Run) -> Kind:
        known = run.data.conditions
        if self.condition not in known:
            tip = nearest(self.condition, known) if known else "; its items come with none"
            raise InputError(f"task.condition={self.condition}: {run.data.name} has no such condition{tip}", "task")
        kind = replace(known[self.condition], drop=0.0)
        return replace(kind, layers=self.layers) if isinstance(kind, Tokens) else kind


def retrieval(found: dict[str, Any], n: int) -> tuple[dict[str, float], list[tuple[str, str]]]:
    """The last accuracies of a training, of n held-out pairs, with their 95 % intervals, and their rows of a table."""
    numbers, rows = {}, []
    for key, words in (("accuracy_text", "words of a picture"), ("accuracy_picture", "picture of the words")):
        right = found.get(key, math.nan)
        low, high = (math.nan, math.nan) if math.isnan(right) else wilson(right, n, student(math.inf))
        numbers |= {key: right, f"{key}_low": low, f"{key}_high": high}
        chance = f"chance {100 * found.get('chance', math.nan):.2g}"
        rows.append((words, f"{100 * right:.1f} % ({100 * low:.1f} to {100 * high:.1f}) of {n} pairs; {chance}"))
    return numbers, rows
