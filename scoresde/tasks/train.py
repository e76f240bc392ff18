"""The tasks that make and use a model: to train it, and to do all in a row."""

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from .. import pictures
from ..config import build, guide, objective, settle
from ..config.guide import Guide
from ..data import Data, stack
from ..denoiser import Denoiser, levels
from ..errors import InputError
from ..machine import processes
from ..machine.progress import fewer
from ..model.description import AUTO_NET
from ..model.folder import described, step_of
from ..model.kept.weights import path_of
from ..objectives import noise_levels
from ..objectives.guards import prepare
from ..run import Run, Task
from ..sde import SDE
from ..tracking.report import bar, smaller
from ..tracking.track import read_rows
from ..training import fit
from ..training.book import check_same
from ..training.start import started
from .given import vet
from .likelihood.densities import check_density
from .likelihood.task import Score
from .sample import Sample, check


@dataclass(frozen=True)
class Full(Task):
    """Trains the model if it is not trained yet, then samples it, then scores it."""

    trains: ClassVar[bool] = True

    def __call__(self, run: Run) -> None:
        if run.config.png:
            check(run, run.data)  # before the training
        if run.config.fresh or _step(run) < run.training.steps:
            check_density(run.data)
            if run.told():
                _vet_samples(run)
        train(run)
        processes.wait(run.config.device)  # until the first process has written the model
        Sample()(run)
        if run.config.get("guidance"):
            run.say("the likelihood is that of the model without its guidance")
            run.guide = Guide.none(run.model)
        Score()(run)


def _vet_samples(run: Run) -> None:
    """Raises `InputError` for what samples could not be given, or guided by, before the training."""
    kinds = objective.conditions(run.config, run.data)
    vet(run, run.config.n, kinds | guide.before(run.config, run.data, kinds))


@dataclass(frozen=True)
class Train(Task):
    """Trains the model, or goes on from its last checkpoint; a trained one is left as it is."""

    trains: ClassVar[bool] = True

    def __call__(self, run: Run) -> None:
        train(run)


def train(run: Run) -> None:
    """Trains the model of a run, if that is not done yet: `scoresde.train` in the run's folder."""
    path, steps, before = run.folder, run.training.steps, 0 if run.config.fresh else _step(run)
    if before >= steps and run.trained():
        _check_data(run)
        run.say(f"{path} is trained already ({before} steps)")
        run.results.append(("model", f"trained before, {before} steps"))
        run.made["train"] = path
        if run.lead and "paths" in described(path):  # a command that was killed at its very end left them out
            _keep(run, again=False)
        return
    if run.loss is None:
        raise InputError(f"{path} has a model of few steps, which task=distill trains: say task=distill", "task")
    data = run.data
    kinds = objective.conditions(run.config, data)
    config = settle.settled(run.config, data, kinds)
    denoiser = build.build_denoiser(config, data.shape, run.adopted, kinds)
    prepare(denoiser, data)
    begun = started(denoiser, None, run.training, None if run.config.fresh else path, run.say)
    _announce(run, config, denoiser, begun, before)
    last: dict = {}

    def report(step: int, **figures) -> None:
        run.tracker.log("train/", step, figures)
        last.update(figures)

    with bar(run.console, "training", steps, before, fewer("train.steps=", steps, smaller(run.config.net))) as advance:
        made = build.model_config(config) | {"paths": list(run.config.paths)} | begun
        loss = copy.deepcopy(run.loss)  # whose times may learn
        target = objective.build(run.config, denoiser, loss, data, run.trusts("objective"))
        if chosen := getattr(target, "chosen", {}):
            run.say("noise levels by the data: log(sigma/alpha) ~ N({mean:g}, {std:g}^2)".format(**chosen))
        options = {"folder": path, "report": report, "say": run.say, "made": made, "progress": advance}
        fit(target, data, run.training, **options, device=run.config.device, fresh=run.config.fresh)
    if run.lead:
        _keep(run)
        run.tracker.image("train/loss", path / "loss.png")
        run.tracker.artifact(path.name, "model", [path_of(path)])
        seconds, validation = (last.get(k, math.nan) for k in ("seconds", "validation"))
        words = f"trained {steps} steps in {seconds:.0f} s, validation loss {validation:.4f}"
        run.results.append(("model", words))
        run.made["train"] = path


def _announce(run: Run, config: Any, denoiser: Denoiser, begun: Mapping, before: int) -> None:
    """Says what is trained on what, from where."""
    data, size, rule = run.data, sum(p.numel() for p in denoiser.parameters()), getattr(denoiser, "rule", None)
    _warn_noise(run, denoiser.sde, data)
    if run.config.net.get("_target_") == AUTO_NET:
        chosen = {k: v for k, v in config.net.items() if k in ("channels", "mults", "blocks", "width")}
        run.say(f"net=auto: {type(denoiser.net).__name__}, {', '.join(f'{k} {v}' for k, v in chosen.items())}")
    words = f"training {build.name_of(run.config.sde)} on {data.name} {data.shape}, {len(data.train)} examples"
    words += f", {size:,} parameters" + (f", beginning with {begun['start']['folder']}" if begun else "")
    if isinstance(rule, levels):
        shared = f" in {rule.outputs} bins" if rule.cuts else ""
        words += f", rule: the data's {rule.levels} levels{shared}"
    words += f", adapters of rank {run.training.lora} alone" if run.training.lora else ""
    run.say(f"{words}{f', from step {before} of {run.training.steps}' if before else ''}")


def _check_data(run: Run) -> None:
    """Raises `InputError` if the data has changed under its name since; the model outlives data that is gone."""
    try:
        data = run.loaded
    except InputError:
        return
    check_same(run.folder, data)


def _keep(run: Run, again: bool = True) -> None:
    """Writes config.yaml and loss.png into the model's folder; unless `again`, only what is not there."""
    path = run.folder
    if again or not (path / "config.yaml").exists():
        run.keep_config(path)
    if again or not (path / "loss.png").exists():
        parts = [row.get("validation_by_level") for row in read_rows(path / "metrics.jsonl")]
        parts = [values for values in parts if isinstance(values, list)]
        sde, loss = build.build_sde(run.config), run.loss and run.loss.chosen(described(path))
        levels = noise_levels(loss, sde, len(parts[-1])) if parts and loss is not None else None
        pictures.losses(path / "loss.png", path / "metrics.jsonl", levels)


def _step(run: Run) -> int:
    """How far the folder's model is, as far as can be read."""
    try:
        return step_of(run.folder)
    except InputError:  # `fit` mends it, or tells
        return 0


def _warn_noise(run: Run, sde: SDE, data: Data) -> None:
    """Song, Ermon (2020), technique 1: sigma_T / alpha_T should reach the largest distance between two data points."""
    x = data.encode(stack(data.train, range(min(512, len(data.train))))).flatten(1).double()
    farthest, reach = float(torch.cdist(x, x).max()), math.exp(-float(sde.log_snr(sde.t_max)) / 2)
    if reach < farthest / 2:
        run.say(
            f"warning: the largest noise, sigma/alpha = {reach:.3g}, is under half of the largest distance between two "
            f"data points, {farthest:.3g}: samples may miss parts of the data (for VE: sde.sigma_max={farthest:.0f})"
        )
