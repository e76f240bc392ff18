"""The task that classifies: p(c | x) of a class-conditional model, by the likelihood of each class."""

import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from ..conditions import Label
from ..data import Data, collate
from ..data.items import column
from ..errors import InputError
from ..machine.progress import fewer
from ..run import Run, Task
from ..settings import Count, Text
from ..tracking.report import bar
from ..tracking.track import Metrics
from .likelihood.densities import scorer
from .likelihood.parts import batches, write_columns


@dataclass(frozen=True)
class Classify(Task):
    """Classes of n held-out items, by Bayes' rule and the model's own likelihood of each class:

        p(c | x) = p(x | c) p(c) / sum_c' p(x | c') p(c')

    with p(c) the share of the class in the training data and p(x | c) by the settings `likelihood`, with the same
    dequantisation and probes for all classes.  classify.npz has log p(x | c) and p(c | x), summary.json the accuracy.
    Zimmermann et al. (2021), arXiv 2110.00473; Li et al. (2023), arXiv 2303.16203.
    """

    n: Count = 300
    condition: Text = "label"

    def __call__(self, run: Run) -> None:
        if run.lead:
            classify(run, self)


def classify(run: Run, settings: Classify) -> None:
    """Does what `Classify` says."""
    kind = run.model.conditions.get(settings.condition)
    if not isinstance(kind, Label):
        known = ", ".join(run.model.conditions) or "none"
        raise InputError(f"task.condition={settings.condition}: the model has no such label; its conditions: {known}")
    data, name, seed = run.data, settings.condition, run.config.seed
    folder = run.place("classify", name, run.plain["task"], run.plain["likelihood"], seed, run.model.weights)
    began = time.perf_counter()
    found, labels = _log_probs(run, settings, kind)
    posterior = (found + prior(data, name, kind)).log_softmax(1)
    right = (posterior.argmax(1) == labels).double()
    mean, stderr = float(right.mean()), math.sqrt(float(right.mean() * (1 - right.mean())) / len(right))
    surprise = -posterior.gather(1, labels[:, None])[:, 0]
    figures = {"n": len(labels), "accuracy": mean, "accuracy_stderr": stderr, "nats": float(surprise.mean())}
    figures["seconds"] = time.perf_counter() - began
    write_columns(folder / "classify.npz", {"log_prob": found, "posterior": posterior.exp(), name: labels})
    Metrics(folder / "metrics.jsonl", run.tracker, "classify/").log(0, **figures)
    summary = dict(
        task="classify", condition=name, seed=seed, step=run.model.step, weights=run.model.weights, **figures
    )
    words = f"{100 * mean:.1f} +- {100 * stderr:.1f} % of {len(labels)} held-out items, {figures['nats']:.3f} nats"
    run.finish(folder, summary, [("classified rightly", words), ("", str(folder / "classify.npz"))])


def _log_probs(run: Run, settings: Classify, kind: Label) -> tuple[Tensor, Tensor]:
    """log p(x | c) (n, classes), up to a constant of each item, and the labels (n,)."""
    items, name = run.data.test, settings.condition
    n = min(settings.n, len(items))
    score_some, out, labels = scorer(run), [], []
    shorter = fewer("task.n=", n)
    with bar(run.console, "classifying", n * kind.classes, 0, shorter) as advance:
        for index in batches(list(range(n)), run.config.batch_size):
            batch, columns = collate(items, index, [name]), []
            for c in range(kind.classes):
                found = score_some(batch.x, index, {name: torch.full((len(index),), c)})
                extra = sum(found[k] for k in ("dequantisation", "decoder") if k in found)
                columns.append(found["log_prob"] + extra)
                done = sum(map(len, out)) * kind.classes + (c + 1) * len(index)
                advance(done, f"{done // kind.classes} of {n} items")
            out.append(torch.stack(columns, 1))
            labels.append(batch.cond[name])
    return torch.cat(out), torch.cat(labels)


def prior(data: Data, name: str, kind: Label) -> Tensor:
    """log p(c) (classes,), of the training items, each class counted once more."""
    labels = column(data.train, name)
    counts = torch.bincount(labels[labels >= 0], minlength=kind.classes).double() + 1
    return (counts / counts.sum()).log()
