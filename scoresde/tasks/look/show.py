"""The task that shows a model of data of one or two numbers: its density, its score, its ways and its p_t."""

import io
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor

from ... import pictures
from ...config import build
from ...errors import InputError
from ...machine import files
from ...run import Run, Task
from ...settings import Count, Positive, Range
from ...tracking.track import Metrics
from ..given import given

SCORES = 3  # panels of the score, where no times are said


@dataclass(frozen=True)
class Show(Task):
    """Draws a model of data of 1 or 2 numbers: density.png, score.png, trajectories.png, marginals.png.

    `times` of the panels (None: evenly in the angle), `points` of the densities' grid, `arrows` of the score on each
    axis, `ways` from noise to data by the sampler, `log` for log p.  What is guided has no density, so that the first
    and the last picture are left out.  Raises `InputError` for other data, before any work.
    """

    times: Annotated[tuple[Positive, ...], "a list of times above 0"] | None = None
    points: Annotated[int, Range(2, 2000)] | None = None
    arrows: Annotated[int, Range(2, 200)] = 21
    ways: Count = 60
    log: bool = False

    def __call__(self, run: Run) -> None:
        show(run, self)


def show(run: Run, settings: Show) -> None:
    """Does what `Show` says."""
    from ...plot import canvas

    model = run.model
    if math.prod(model.shape) > 2:
        raise InputError(
            f"task=show draws data of 1 or 2 numbers, and this model's is {tuple(model.shape)}: task=sample draws "
            "samples.png, trajectory.png and trajectory.gif of any data"
        )
    canvas.frame(None)  # is matplotlib there?
    for t in settings.times or ():
        if not model.sde.t_min <= t <= model.sde.t_max:
            words = f"give times in [{model.sde.t_min:g}, {model.sde.t_max:g}], where {model.sde} is defined"
            raise InputError(f"task.times={list(settings.times)}: {words}", "task")
    choice, seed = run.choices.get("sampler", build.name_of(run.config.sampler)), run.config.seed
    told = run.told()
    folder = run.place("show", choice, repr(run.fitted_sampler), run.plain["task"], seed, model.weights, *told)
    began = time.perf_counter()
    made = _drawn(run, settings, folder)
    for name in made:
        run.tracker.image(f"show/{name.removesuffix('.png')}", folder / name)
    figures = {"pictures": len(made), "seconds": time.perf_counter() - began}
    Metrics(folder / "metrics.jsonl", run.tracker, "show/").log(0, **figures)
    about = {"seed": seed, "ema": run.config.ema or True, "step": model.step, "weights": model.weights}
    summary = dict(task="show", sampler=repr(run.fitted_sampler), names=made, **about, **figures)
    run.finish(folder, summary, [("shown", ", ".join(made)), ("", str(folder))])


def _drawn(run: Run, settings: Show, folder: Path) -> list[str]:
    """Draws all pictures there can be, each as soon as it is made; their names."""
    from ... import plot
    from ...plot import canvas, values

    model, sampler = run.model, run.fitted_sampler
    one = {name: _same(name, value) for name, value in (given(run, 2) if run.plain["given"] else {}).items()}
    guided = run.guided(one)
    cond = {name: value for name, value in one.items() if name in guided.conditions} or None
    names = pictures.names_of(model)
    common: dict[str, Any] = {"shape": model.shape, "names": names, "seed": run.config.seed}
    flat = math.prod(model.shape) == 2
    made = []

    def save(name: str, figure: Any) -> None:
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=130)
        files.write(folder / name, lambda file: file.write(buffer.getvalue()))
        made.append(name)
        run.say(f"{name}: {folder / name}")

    times = sorted(settings.times or values.by_angle(model.sde, SCORES + 2)[1:-1])
    if guided.exact:
        save("density.png", plot.density(guided, None, settings.log, points=settings.points, cond=cond, **common))
    else:
        run.say("guided samples have no density: density.png and marginals.png are left out (guidance=null draws them)")
    figure, axes = canvas.frame(None, len(times), (4.0, 3.6))
    for axis, t in zip(axes, times, strict=True):
        plot.score_field(guided, t, arrows=settings.arrows, axes=axis, cond=cond, **common)
    save("score.png", figure)
    save("trajectories.png", plot.trajectories(guided, settings.ways, sampler, cond=cond, **common))
    if guided.exact:
        panels = settings.times if flat else None
        save("marginals.png", plot.marginals(guided, panels, points=settings.points, cond=cond, **common))
    return made


def _same(name: str, value: Tensor) -> Tensor:
    """The one row of a condition that all samples share."""
    if not torch.equal(torch.nan_to_num(value[0].double(), nan=-1.0), torch.nan_to_num(value[1].double(), nan=-1.0)):
        raise InputError(f"given.{name}: task=show draws one value, given.{name}=3", "given")
    return value[:1]
