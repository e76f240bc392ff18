"""The task that makes averages of other lengths out of the snapshots of a training."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

from ..config.guide import Guide
from ..errors import InputError
from ..model.trained.denoiser import Model
from ..objectives.validation import Validation
from ..run import Run, Task
from ..settings import Count
from ..training.power import Width
from ..training.snapshots import name_of, reconstruct
from .evaluate.measures import Evaluation, measured
from .evaluate.reference import reference
from .evaluate.task import drawn

Judge = Callable[[Model], float]
Widths = Annotated[Width | tuple[Width, ...], "a number from 0.01 to 0.28, or a list of such"]


@dataclass(frozen=True)
class Ema(Task):
    """Averages of the lengths `sigma_rel` that end at `step`, each judged; the best is kept, for `ema=power-LENGTH`.

    The `judge` is the loss on held-out data, as in training, or a distance of n samples to it.
    """

    sigma_rel: Widths = (0.03, 0.05, 0.075, 0.1, 0.15, 0.2)
    judge: Literal["validation", "frechet", "kid", "energy", "sliced"] = "validation"
    step: Count | None = None

    def __post_init__(self):
        super().__post_init__()
        if not self.widths:
            raise InputError("sigma_rel=[]: give lengths, such as [0.05,0.1]", "sigma_rel")

    @property
    def widths(self) -> list[float]:
        """The lengths."""
        several = isinstance(self.sigma_rel, list | tuple)
        return [float(s) for s in (self.sigma_rel if several else (self.sigma_rel,))]

    def __call__(self, run: Run) -> None:
        if run.lead:
            average(run, self)


def average(run: Run, settings: Ema) -> None:
    """Does what `Ema` says."""
    began, own = time.perf_counter(), run.model
    options = {"step": settings.step, "device": run.device, "trust": run.config.trust}
    judge = _validation(run) if settings.judge == "validation" else _distance(run, settings.judge)
    found = {"own": judge(own)}
    rows = [(settings.judge, "of each average; how far it is from a kept one, by its weights of the steps")]
    rows.append(("the model's own", f"{found['own']:.5g}"))
    for width in settings.widths:
        model = reconstruct(run.folder, width, **options)
        found[name_of(width)] = judge(model)
        rows.append((f"sigma_rel {width:g}", f"{found[name_of(width)]:.5g}; {100 * model.misfit:.2g} %"))
    best = min(settings.widths, key=lambda width: found[name_of(width)])
    model = reconstruct(run.folder, best, keep=True, **options)
    folder = run.place("ema", settings.judge, run.plain["task"], run.config.seed, own.weights)
    summary = {"task": "ema", "judge": settings.judge, "step": model.step, "weights": model.weights, "best": best}
    summary |= {"figures": found, "seconds": time.perf_counter() - began}
    run.finish(folder, summary, [*rows, ("use it", f"folder={run.folder} ema={name_of(best)}")])


def _validation(run: Run) -> Judge:
    """The denoising loss on held-out data."""
    loss = Validation(run.data, run.loss, run.model, run.device, dequantise=run.training.dequantise)
    return lambda model: loss(model)[0]


def _distance(run: Run, metric: str) -> Judge:
    """A distance of n samples to held-out data, all of the same noise."""
    settings = Evaluation(metrics=(metric,))
    known = reference(run, settings)

    def judge(model: Model) -> float:
        run.model, run.guide = model, Guide(run.config, model)
        return measured(settings, known, drawn(run, known, settings))[0][metric]

    return judge
