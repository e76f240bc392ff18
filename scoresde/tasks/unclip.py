"""The task of unCLIP: pictures of words by a prior and a decoder, variations, walks and changes."""

import io
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor

from .. import pictures
from ..config import build
from ..data import collate, stack
from ..errors import InputError, in_yaml
from ..machine import files, processes
from ..model import Model, TrainedClip
from ..model.named import named, same_items
from ..run import Run, Task, Within
from ..settings import Count, Fraction, Positive, Range, Text, Whole, brief
from ..tracking.track import Metrics
from ..training.order import seed_of
from ..unclip import Unclip as Both
from .evaluate import judge, pairs
from .given import given
from .train import train


@dataclass(frozen=True)
class Unclip(Task):
    """Pictures by the decoder in the run's folder, told embeddings of the `clip`: samples.npy, samples.png.

    What it does, `do`: "words", n pictures of words by the `prior`, the better of `picks`; "variations", `points` of
    each of n held-out pictures; "walks" of `points` between n pairs of them; "changes" of n of them from the text or
    the class `before` to that `after`, by the shares `amounts`.  `prior` and `clip` are folders, or {train: [WORDS]} of
    the commands that train them where they are not there yet; with `train` the decoder is trained after these.  `rtol`
    and `atol` are of the flow of walks and changes.  Pictures of words, and variations, are measured by the data's
    judge, which is shown the words of what they are of; pictures of words by the `reader` too, the folder of another
    CLIP, as task=evaluate does `among` so many.
    """

    clip: Text | dict | None = None
    prior: Text | dict | None = None
    train: bool = False
    do: Literal["words", "variations", "walks", "changes"] = "words"
    picks: Count = 2
    points: Count = 7
    before: Text | Whole | None = None
    after: Text | Whole | None = None
    amounts: tuple[Fraction, ...] = (0.25, 0.5)
    reader: Text | None = None
    among: Annotated[int, Range(2, 10**4)] = 100
    rtol: Positive = 1e-3
    atol: Positive = 1e-3

    def __post_init__(self):
        super().__post_init__()
        for name in ("clip", "prior"):
            said = getattr(self, name)
            words = said.get("train") if isinstance(said, Mapping) and set(said) == {"train"} else None
            if isinstance(said, Mapping) and not (words and all(isinstance(w, str) for w in words)):
                raise InputError(f"{name}={in_yaml(brief(said))}: give a folder, or {{train: [WORDS]}}", name)

    def __call__(self, run: Run) -> None:
        needs = ["clip", *{"words": ["prior"], "changes": ["before", "after"]}.get(self.do, [])]
        for name in needs:
            if getattr(self, name) is None:
                what = "a folder" if name in ("clip", "prior") else "a text"
                raise InputError(f"task.{name}=null: task.do={self.do} needs {what}", "task")
        # All are checked before the first is trained.
        first = {name: made for name in needs if (made := _within(run, name, getattr(self, name))) is not None}
        task = replace(self, **{name: str(made()) for name, made in first.items()})
        if self.train:
            train(run)
            processes.wait(run.config.device)  # until the first process has written the model
        if run.lead:
            _Drawn(run, task).write()


def _within(run: Run, name: str, said: Any) -> Within | None:
    """The command that trains what a mapping says; None of a folder."""
    if not isinstance(said, Mapping):
        return None
    return Within(said["train"], run.config, f"task.{name}")


class _Drawn:
    """What a run of the task draws."""

    def __init__(self, run: Run, task: Unclip):
        self.run, self.task, self.data = run, task, run.data
        clip = self._loaded("clip", TrainedClip)
        name = self._name(clip)
        same_items(f"task.clip={task.clip}", clip, run.model, "the model")
        prior = self._loaded("prior", Model) if task.do == "words" else None
        self.reader = None if prior is None else pairs.loaded(run, task.reader, "reader", [*prior.conditions])
        self.both = Both(prior, run.model, clip, name)
        if prior is not None and prior.shape != (clip.size,):
            raise InputError(f"task.prior={task.prior} draws {prior.shape}: the CLIP's embeddings are ({clip.size},)")

    def _loaded(self, name: str, kind: type) -> Any:
        return named(f"task.{name}", getattr(self.task, name), kind, self.run.device, self.run.config.trust)

    def _name(self, clip: TrainedClip) -> str:
        """The decoder's condition that is an embedding."""
        sizes = {name: getattr(kind, "size", None) for name, kind in self.run.model.conditions.items()}
        found = [name for name, size in sizes.items() if size == clip.size]
        if not found:
            words = f"the model takes no embedding of {clip.size} numbers: train it with data=embedded"
            raise InputError(f"task.clip={self.task.clip}: {words}", "task.clip")
        return found[0]

    @cached_property
    def words(self) -> dict[str, Tensor]:
        """Those of the samples."""
        return given(self.run, self.run.config.n, "test", dict(self.both.prior.conditions))

    def _places(self, n: int) -> Tensor:
        """Those of n held-out pictures."""
        size, seed = len(self.data.test), self.run.config.seed
        if n > size:
            raise InputError(f"n={self.run.config.n}: {n} pictures are needed, and test has {size}", "n")
        return torch.randperm(size, generator=torch.Generator().manual_seed(seed_of(seed, n)))[:n]

    def draw(self) -> Tensor:
        """Raw pictures (rows, columns, *shape): of variations and changes a row begins with what they are of."""
        run, task, both = self.run, self.task, self.both
        n, how = run.config.n, {"rtol": task.rtol, "atol": task.atol}
        options = {"seed": run.config.seed, "sampler": run.fitted_sampler, "guide": lambda model: run.guided({})}
        if task.do == "words":
            return both.generate(n, self.words, picks=task.picks, **options)[:, None]
        raw = stack(self.data.test, self._places(2 * n if task.do == "walks" else n)).to(run.device)
        if task.do == "walks":
            return both.between(raw[:n], raw[n:], task.points, **how)
        if task.do == "variations":
            found = both.variations(raw, task.points, **options)
        else:
            found = both.changed(raw, task.before, task.after, task.amounts, **how)
        return torch.cat([raw[:, None].to(found), found], 1)

    def _measured(self, raw: Tensor) -> list[tuple[dict, list]]:
        """What the data's judge and another CLIP say of what was drawn, and their rows of a table."""
        data, task = self.data, self.task
        if task.do == "variations":  # of which the words are those of their pictures
            cond = collate(data.test, self._places(len(raw)), data.conditions).cond
            cond = {name: value.repeat_interleave(task.points, 0) for name, value in cond.items()}
            return [judge.figures(data, judge.verdicts(data, raw[:, 1:].flatten(0, 1), cond))]
        if task.do != "words":
            return []
        seen = pairs.seen(self.reader, raw[:, 0], self.words, self.both.prior.conditions)
        found = judge.figures(data, judge.verdicts(data, raw[:, 0], self.words))
        return [found, pairs.figures(self.reader, data, seen, task.among, self.run.config.seed)]

    def write(self) -> None:
        """Draws, and writes what was drawn."""
        run, task, model = self.run, self.task, self.run.model
        parts = (run.plain["task"], run.config.n, run.config.seed, model.weights, self.both.clip.weights, *run.told())
        parts = (*parts, repr(run.fitted_sampler), getattr(self.both.prior, "weights", ""))
        folder, began = run.place("unclip", task.do, *parts), time.perf_counter()
        raw = self.draw().cpu()
        figures: dict[str, Any] = {"n": run.config.n, "seconds": time.perf_counter() - began}
        buffer = io.BytesIO()
        np.save(buffer, (raw[:, 0] if task.do == "words" else raw).numpy())
        files.write(folder / "samples.npy", lambda file: file.write(buffer.getvalue()))
        columns = None if task.do == "words" else raw.shape[1]
        real = pictures.some_real(self.data)
        pictures.samples(folder / "samples.png", raw.flatten(0, 1), model.levels, real, columns)
        run.tracker.image("unclip/samples", folder / "samples.png")
        rows = [(task.do, f"{run.config.n} in {figures['seconds']:.0f} s"), ("", str(folder / "samples.png"))]
        for numbers, told in self._measured(raw):
            figures, rows = figures | numbers, rows + told
        Metrics(folder / "metrics.jsonl", run.tracker, "unclip/").log(0, **figures)
        about = {"seed": run.config.seed, "step": model.step, "weights": model.weights, "do": task.do}
        choice = run.choices.get("sampler", build.name_of(run.config.sampler))
        run.finish(folder, {"task": "unclip", "sampler": choice, **about, **figures}, rows)
