"""The task that samples: an array, a picture of the samples, and one of their way from noise."""

import dataclasses
import io
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from .. import files
from ..data import stack
from ..denoiser import Counted
from ..errors import InputError
from ..sampling import Trajectory, joined, sample, share
from . import build, pictures, processes
from .animation import animation
from .report import bar
from .run import Run, Task
from .track import Metrics


@dataclass(frozen=True)
class Sample(Task):
    """Samples the trained model: samples.npy, samples.png, trajectory.png.

    Of several processes each draws its share, and the first one writes.
    """

    def __call__(self, run: Run) -> None:
        draw(run)


def draw(run: Run) -> None:
    """Does what `Sample` says."""
    config, model, sampler = run.config, run.model, run.fitted_sampler
    choice = run.choices.get("sampler", build.name_of(config.sampler))
    precision = [config.autocast] if config.autocast else []
    folder = run.place("sample", choice, repr(sampler), config.n, config.seed, model.weights, *precision)
    processes.join(config.device)
    began = time.perf_counter()
    own = len(share(config.n, *joined()))
    with bar(run.console, f"sampling ({choice})", None if sampler.steps < 2 else own * sampler.steps) as advance:
        done = 0

        def progress(step: int, t: float, x: torch.Tensor, x0: torch.Tensor) -> None:
            nonlocal done
            done += len(x)
            advance(done, f"{counted.rows / own:.0f} evaluations a sample")

        counted = Counted(model)
        options = {k: config[k] for k in ("batch_size", "compile", "cuda_graphs", "autocast")}
        shape = (config.n, *model.shape)
        x = sample(counted, sampler, shape, config.seed, callback=progress, store="cpu", processes=True, **options)
    seconds, evaluations = time.perf_counter() - began, processes.total(counted.rows, config.device) / config.n
    if not run.lead:
        return
    raw = model.decode(x)
    _save_array(folder / "samples.npy", raw)
    pictures.samples(folder / "samples.png", raw, model.levels, None if model.levels else _some_real(run))
    _trajectory(run, folder / "trajectory.png")
    for name in ("samples.png", "trajectory.png", *(["trajectory.gif"] if config.gif else [])):
        run.tracker.image(f"sample/{name.replace('.png', '').replace('.', '_')}", folder / name)
    run.tracker.artifact(f"{run.folder.name}-{folder.name}", "samples", [folder / "samples.npy"])
    figures = {"n": config.n, "evaluations": evaluations, "seconds": seconds, "seconds_per_sample": seconds / config.n}
    Metrics(folder / "metrics.jsonl", run.tracker, "sample/").log(0, **figures)
    about = {"seed": config.seed, "ema": True, "step": model.step, "weights": model.weights}
    summary = dict(task="sample", sampler=repr(sampler), **about, **figures)
    words = f"{config.n} by {choice}: {evaluations:.0f} evaluations and {1e3 * seconds / config.n:.1f} ms a sample"
    run.finish(folder, summary, [("samples", words), ("", str(folder / "samples.png"))])


def _some_real(run: Run) -> torch.Tensor | None:
    """Some of the data to draw samples over; none where the data is gone, as samples do not need it."""
    try:
        data = run.data
    except (InputError, OSError) as error:
        run.say(f"the picture of the samples goes without the data: {error}")
        return None
    return data.decode(data.encode(stack(data.test, range(min(4000, len(data.test))))))


def _save_array(path: Path, raw: torch.Tensor) -> None:
    buffer = io.BytesIO()
    np.save(buffer, raw.numpy())
    files.write(path, lambda file: file.write(buffer.getvalue()))


def _trajectory(run: Run, path: Path, columns: int = 10) -> None:
    """The way of a few samples from noise: a strip at `path`, and beside it .npz (times, x, x0) and .gif."""
    model, sampler = run.model, run.fitted_sampler
    if sampler.steps == 1 and isinstance(sampler.grid, str):
        sampler = dataclasses.replace(sampler, steps=columns)  # the adaptive flow, stopping on its way
    n = min(1000 if len(model.shape) == 1 else 6, run.config.n)
    frames = max(columns, min(40, 2_500_000 // (n * math.prod(model.shape))))  # 20 MB of them
    record = Trajectory(every=math.ceil((len(sampler.times(model.sde)) - 1) / frames))
    sample(model, sampler, (n, *model.shape), run.config.seed, callback=record)
    times, x = record.times, record.x
    with torch.no_grad():  # the sampler's own estimates are those at the start of its steps
        x0 = torch.stack([model(a.to(run.device), t).cpu() for t, a in zip(times, x, strict=True)])
    buffer = io.BytesIO()
    np.savez_compressed(buffer, times=np.array(times), x=x.numpy(), x0=x0.numpy())
    files.write(path.with_suffix(".npz"), lambda file: file.write(buffer.getvalue()))
    shown = sorted({round(i) for i in np.linspace(0, len(times) - 1, columns)})
    strip = ([part[i] for i in shown] for part in (times, x, x0))
    pictures.trajectory(path, *strip, model.decode, model.levels)
    if run.config.gif:
        animation(path.with_suffix(".gif"), times, x, x0, model.decode, model.levels)
