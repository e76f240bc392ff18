"""The likelihood of a model of few steps: through its jumps, where they have an inverse, or by its teacher."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ... import likelihood as lik
from ...data import Data, stack
from ...errors import InputError
from ...likelihood.maps.inverse import DENSE
from ...model.teacher import teacher_of
from ...run import Run
from ...sampling import Jump, natural
from ...tracking.track import Metrics
from ..given import of_items
from .parts import write_columns

PROBES = 8  # where determinants are too large to be exact


def jumps(run: Run) -> Jump | None:
    """The jumps that a model of few steps is scored through; None of any other.

    Those of the command, or those that the model was made for: of one that jumps to the data alone, one.
    """
    if run.model.lands is None:
        return None
    chosen = run.sampler if isinstance(run.sampler, Jump) else natural(run.model)
    return chosen if isinstance(chosen, Jump) else Jump(steps=1)


def scorer(run: Run) -> Callable[..., lik.MapLikelihood] | None:
    """`map_likelihood` with the settings of the command; None of a model that is scored through its flow.

    Raises `InputError` for settings that the density of jumps has not.
    """
    sampler, settings = jumps(run), run.likelihood
    if sampler is None:
        return None
    if settings.t_min is not None or settings.dequantiser in ("truncated_normal", "decoder"):
        words = "the jumps of a model of few steps end at its own t_min: say t_min=null and dequantiser=uniform"
        raise InputError(f"likelihood.t_min={settings.t_min}, likelihood.dequantiser={settings.dequantiser}: {words}")
    probes = None if run.data.encode(stack(run.data.train, range(1)))[0].numel() <= DENSE else PROBES
    return partial(lik.map_likelihood, sampler=sampler, probes=probes, seed=run.config.seed)


def named(run: Run) -> list[str]:
    """What names a result beside the settings of the likelihood."""
    sampler = jumps(run)
    return [] if sampler is None else [repr(sampler)]


def how(run: Run) -> str | None:
    """How a model of few steps is scored, in words."""
    sampler = jumps(run)
    return None if sampler is None else f"through {sampler.steps} jump{'s' * (sampler.steps > 1)}"


def inverted(columns: dict[str, Tensor]) -> dict[str, Tensor]:
    """The columns of the examples whose jumps have an inverse.

    Raises `InputError` where none has.
    """
    if "failed" not in columns:
        return columns
    kept = columns["failed"] < 0
    if not bool(kept.any()):
        words = "say likelihood.by=teacher, or sampler=jump with more steps"
        raise InputError(f"the jumps have no inverse at any of the {len(kept)} examples: {words}")
    return {name: values[kept] for name, values in columns.items()}


def lost(columns: dict[str, dict[str, Tensor]]) -> list[tuple[str, str]]:
    """A row for each set of which examples have no inverse."""
    rows = []
    for name, found in columns.items():
        failed = found.get("failed", torch.empty(0))
        if bool((failed >= 0).any()):
            at = ", ".join(f"{int((failed == k).sum())} at jump {int(k) + 1}" for k in failed[failed >= 0].unique())
            words = f"{int((failed >= 0).sum())} of {len(failed)} have no inverse ({at}): the figures are of the others"
            rows.append((f"{name}, lost", words))
    return rows


def by_teacher(run: Run) -> None:
    """Scores samples of the student, of its teacher and the data by the teacher's density: densities.npz, summary.json.

    Of data with levels all three are levels, spread within their bins.  Raises `InputError` for a model of no teacher.
    """
    if run.model.lands is None:
        words = "it is no model of few steps: say likelihood.by=flow"
        raise InputError(f"likelihood.by=teacher: {run.folder}: {words}", "likelihood.by")
    settings, seed, data = run.likelihood, run.config.seed, run.data
    if run.model.codec is not None:
        words = "the teacher's density is one of latents, which says nothing of the items"
        raise InputError(f"likelihood.by=teacher: {words}", "likelihood.by")
    if settings.bound is not None:
        raise InputError("likelihood.by=teacher has no bound beside it: say likelihood.bound=null", "likelihood.bound")
    teacher, items = teacher_of(run.folder, device=run.device), getattr(data, settings.split)
    n = min(settings.n or len(items), len(items))
    cond = of_items(run, items, range(n))
    known = {name: value for name, value in cond.items() if name in teacher.conditions}
    options = {"seed": seed, "batch_size": run.config.batch_size, "progress": False}
    made = {"student": run.model.generate(n, run.fitted_sampler, cond=cond or None, **options)}
    made["teacher"] = teacher.generate(n, cond=known or None, **options)
    made["data"] = stack(items, range(n))
    sets = {name: placed(data, raw.cpu(), seed).to(run.device) for name, raw in made.items()}
    flow = settings.flow | {"t_min": settings.t_min, "seed": seed, "cond": known or None}
    found = lik.densities_under(teacher, sets, **flow)
    folder = run.place("likelihood", "teacher", run.plain["likelihood"], seed, run.model.weights, teacher.weights, n)
    write_columns(folder / "densities.npz", {name: one.log_prob for name, one in found.items()})
    told = {name: dataclasses.asdict(one) for name, one in found.items()}
    figures = {f"{name}_{k}": v for name, one in told.items() for k, v in one.items() if k not in ("log_prob", "n")}
    Metrics(folder / "metrics.jsonl", run.tracker, "likelihood/").log(0, **figures)
    about: dict[str, Any] = {"task": "likelihood", "by": "teacher", "n": n, "sampler": repr(run.fitted_sampler)}
    about |= {"weights": run.model.weights, "teacher": str(teacher.folder), "teacher_weights": teacher.weights}
    rows = [(f"log p of {name}", f"{one} of {one.n}") for name, one in found.items()]
    run.finish(folder, about | figures, [*rows, ("", "nats of the model's space, by the teacher"), ("", str(folder))])


def placed(data: Data, raw: Tensor, seed: int) -> Tensor:
    """Raw values in the model's space, levels spread within their bins."""
    if not data.levels:
        return data.encode(raw)
    return lik.Uniform().draw(raw, data, torch.arange(len(raw)), seed, 0)[0]
