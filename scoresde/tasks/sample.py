"""The task that samples: an array, a picture of the samples, and one of their way from noise."""

import dataclasses
import io
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .. import pictures
from ..config import build
from ..data import Data
from ..denoiser import Counted, Denoiser, bind
from ..errors import InputError
from ..machine import files, processes
from ..machine.progress import fewer
from ..model import Model, TrainedAutoencoder
from ..model.trained.tiles import Tiles
from ..pictures.animation import animation
from ..pictures.pixels import check_files, save_files
from ..run import Run, Task
from ..sampling import Trajectory, joined, sample, share
from ..settings import Count, Whole
from ..tracking import tables
from ..tracking.report import bar
from ..tracking.track import Metrics
from .given import given, groups
from .likelihood.parts import write_columns


@dataclass(frozen=True)
class Sample(Task):
    """Samples the trained model: samples.npy, samples.png, trajectory.png; where the data's columns have names also
    samples.csv, and with `png` the images in samples/0000.png, ...

    A `shape` of one sample, other than that of the data, is for a model that was trained on several (`Data.buckets`).

    Of several processes each draws its share, and the first one writes.  Latents are decoded in tiles of `tile` a side,
    neighbours of which share `overlap` (a quarter of it), or whole.  Raises `InputError` before it draws for a `png`
    that cannot be written, and for tiles of a model that has no latents.
    """

    shape: tuple[Count, ...] | None = None
    tile: Count | None = None
    overlap: Whole | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tile is None and self.overlap is not None:
            raise InputError(f"overlap={self.overlap}: it is that of tiles: say tile= too", "overlap")
        self.tiles()

    def tiles(self) -> Tiles | None:
        """By which latents are decoded.  Raises `InputError` for an overlap that is too large."""
        return None if self.tile is None else Tiles(self.tile, self.overlap)

    def __call__(self, run: Run) -> None:
        draw(run, self.shape, self.tiles())


def draw(run: Run, shape: Sequence[int] | None = None, tiles: Tiles | None = None) -> None:
    """Does what `Sample` says."""
    config, model, sampler = run.config, run.model, run.fitted_sampler
    check(run, model)
    coded = isinstance(model.codec, TrainedAutoencoder)
    if tiles is not None and not coded:
        raise InputError(
            f"task.tile={tiles.size}: it is of latents, and {run.folder} has none: leave it out", "task.tile"
        )
    if coded:
        model.codec.tiles = tiles
    choice = run.choices.get("sampler", build.name_of(config.sampler))
    more = [*([config.autocast] if config.autocast else []), *run.told(), *([repr(tiles)] if tiles else [])]
    cond = given(run, config.n)
    denoiser = run.guided(cond)
    other = [] if shape is None or tuple(shape) == model.shape else [list(shape)]
    shape = tuple(other[0]) if other else model.shape
    named = (config.n, config.seed, model.weights, *more, *other)
    folder = run.place("sample", choice, repr(sampler), *named)
    processes.join(config.device)
    x, figures = _drawn(run, choice, denoiser, cond, shape)
    if not run.lead:
        return
    data = None if other else _data(run)
    names = pictures.names_of(data or model.outer)
    _write(run, folder, model.decode(x), data, names, cond)
    few = (min(1000 if len(shape) == 1 else 6, config.n), *shape)
    some = {name: value[torch.arange(few[0]) * config.n // few[0]] for name, value in cond.items()}
    _trajectory(run, folder / "trajectory.png", names, denoiser if denoiser.bound is None else model, some, few)
    for name in ("samples.png", "trajectory.png", *(["trajectory.gif"] if config.gif else [])):
        run.tracker.image(f"sample/{name.replace('.png', '').replace('.', '_')}", folder / name)
    run.tracker.artifact(f"{run.folder.name}-{folder.name}", "samples", [folder / "samples.npy"])
    Metrics(folder / "metrics.jsonl", run.tracker, "sample/").log(0, **figures)
    about = {"seed": config.seed, "ema": run.config.ema or True, "step": model.step, "weights": model.weights}
    summary = dict(task="sample", sampler=repr(sampler), **about, **figures)
    cost = f"{figures['evaluations']:.0f} evaluations and {1e3 * figures['seconds_per_sample']:.1f} ms a sample"
    run.finish(folder, summary, [("samples", f"{config.n} by {choice}: {cost}"), ("", str(folder / "samples.png"))])


def check(run: Run, data: Data | Model) -> None:
    """Raises `InputError` for a `png` that samples like these data cannot have."""
    if run.config.png:
        check_files(data.outer.shape, data.outer.levels)


def _drawn(
    run: Run, choice: str, denoiser: Denoiser, cond: dict[str, Tensor], shape: Sequence[int]
) -> tuple[Tensor, dict]:
    """The samples, and what they cost."""
    config, counted, began = run.config, Counted(denoiser), time.perf_counter()
    cond = cond if denoiser.conditions else None
    options = {k: config[k] for k in ("batch_size", "compile", "cuda_graphs", "autocast")}
    options |= {"store": "cpu", "processes": True}
    own, steps = len(share(config.n, *joined())), run.fitted_sampler.steps
    faster = "sampler=dpmpp_2m has 20 steps" if steps > 40 else ""
    with bar(run.console, f"sampling ({choice})", own, 0, fewer("n=", own, faster)) as advance:

        def progress(done: float, words) -> None:
            advance(done, lambda: f"{words()}  {counted.rows / max(done, 1):.0f} evaluations a sample")

        options |= {"progress": progress, "cond": cond}
        x = sample(counted, run.fitted_sampler, (config.n, *shape), config.seed, **options)
    seconds, evaluations = time.perf_counter() - began, processes.total(counted.rows, config.device) / config.n
    figures = {"n": config.n, "evaluations": evaluations, "seconds": seconds}
    return x, figures | {"seconds_per_sample": seconds / config.n}


def _write(run: Run, folder: Path, raw: Tensor, data: Data | None, names: Sequence[str] | None, cond: dict) -> None:
    """The samples as they are asked for, what they were given, and their picture, over real data."""
    buffer = io.BytesIO()
    np.save(buffer, raw.numpy())
    files.write(folder / "samples.npy", lambda file: file.write(buffer.getvalue()))
    if cond:
        write_columns(folder / "given.npz", cond)
    if names:
        tables.write_csv(folder / "samples.csv", names, raw.flatten(1).numpy())
    if run.config.png:
        save_files(folder / "samples", raw, run.model.outer.levels)
    real = None if data is None else pictures.some_real(data)
    found = groups(run.conditions, cond)
    pictures.samples(folder / "samples.png", raw, run.model.outer.levels, real, names=names, groups=found)


def _data(run: Run) -> Data | None:
    """The data, if it is still there: samples are drawn without it too."""
    try:
        return run.data.outer
    except (InputError, OSError) as error:
        run.say(f"the pictures are without the data: {error}")
        return None


def _trajectory(
    run: Run, path: Path, names: Sequence[str] | None, denoiser: Denoiser, cond: dict, few: Sequence[int]
) -> None:
    """The way of samples of the shape `few`, (n, *shape), from noise: a strip at `path`, and beside it .npz (times, x,
    x0) and .gif."""
    model, sampler, columns = run.model, run.fitted_sampler, 10
    if sampler.steps == 1 and isinstance(sampler.grid, str) and model.lands is None:
        sampler = dataclasses.replace(sampler, steps=columns)  # the adaptive flow, stopping on its way
    frames = max(columns, min(40, 2_500_000 // math.prod(few)))  # 20 MB of them
    record = Trajectory(every=math.ceil((len(sampler.times(model.sde)) - 1) / frames))
    known = bind(denoiser, cond if denoiser.conditions else None, few[0])
    sample(known, sampler, few, run.config.seed, callback=record, progress=False)
    times, x = record.times, record.x
    at = model.sde.along(times)
    with torch.no_grad():  # the sampler's own estimates are those at the start of its steps; without noise x is known
        x0 = [known(a.to(run.device), t).cpu() if t.sigma else a / t.alpha for t, a in zip(at, x, strict=True)]
    x0 = torch.stack(x0)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, times=np.array(times), x=x.numpy(), x0=x0.numpy())
    files.write(path.with_suffix(".npz"), lambda file: file.write(buffer.getvalue()))
    shown = sorted({round(i) for i in np.linspace(0, len(times) - 1, columns)})
    decode = model.decode
    if model.codec is not None:  # latents are shown as what the autoencoder makes of them, noise among them
        x, x0 = (torch.stack([model.decode(part) for part in parts]) for parts in (x, x0))
        decode = lambda raw: raw
    strip = ([part[i] for i in shown] for part in (times, x, x0))
    noise = [at[i].sigma / at[i].alpha for i in shown]
    pictures.trajectory(path, *strip, decode, model.outer.levels, names, noise)
    if run.config.gif:
        animation(path.with_suffix(".gif"), times, x, x0, decode, model.outer.levels, names)
