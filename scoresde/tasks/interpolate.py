"""The task that interpolates: pairs of examples, encoded, joined on the sphere of the latents, and decoded."""

import time
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor

from .. import noise, pictures
from ..data import Data, stack
from ..denoiser import bind
from ..errors import InputError
from ..machine import files
from ..machine.progress import duration
from ..run import Run, Task
from ..sampling.adaptive.inversion import from_latent, round_trip, slerp
from ..settings import Count, Positive, Range, Scale
from ..tracking.report import bar
from ..tracking.track import Metrics
from ..training.order import seed_of
from .given import given


@dataclass(frozen=True)
class Interpolate(Task):
    """`pairs` of examples of the `split`, `points` on each walk; the flow to `rtol`, `atol`, from `t_min`.

    The flow is that of the model as it is guided and of what it is given, a row for each pair; where nothing is given,
    of the model without conditions.
    """

    pairs: Count = 6
    points: Annotated[int, Range(2, 10**6)] = 9
    split: Literal["train", "test"] = "test"
    rtol: Positive = 1e-5
    atol: Positive = 1e-5
    t_min: Scale | None = None

    def __call__(self, run: Run) -> None:
        interpolate(run, self)

    @property
    def flow(self) -> dict:
        """What `to_latent` and `from_latent` are called with."""
        return {"rtol": self.rtol, "atol": self.atol, "t_min": self.t_min}


def interpolate(run: Run, settings: Interpolate) -> None:
    """Walks between the latents of pairs of examples: interpolation.npy (pairs, points, *shape), interpolation.png."""
    model, seed = run.model, run.config.seed
    folder = run.place("interpolate", settings.split, run.plain["task"], seed, model.weights, *run.told())
    began = time.perf_counter()
    raw, walks, figures = _walks(run, settings)
    figures["seconds"] = time.perf_counter() - began
    files.write(folder / "interpolation.npy", lambda file: np.save(file, walks.numpy()))
    data = run.data.outer
    extra = {"real": pictures.some_real(data), "names": pictures.names_of(data)}
    first, last = (part if model.codec is None else model.codec.restored(part) for part in raw.unbind(1))
    pictures.walks(folder / "interpolation.png", first, walks, last, model.outer.levels, **extra)
    run.tracker.image("interpolate/walks", folder / "interpolation.png")
    Metrics(folder / "metrics.jsonl", run.tracker, "interpolate/").log(0, **figures)
    how = {"split": settings.split, "rtol": settings.rtol, "atol": settings.atol}
    about = {"seed": seed, "ema": run.config.ema or True, "step": model.step, "weights": model.weights}
    summary = dict(task="interpolate", **how, **about, **figures)
    run.finish(folder, summary, [*_rows(figures), ("", str(folder / "interpolation.png"))])


def _walks(run: Run, settings: Interpolate) -> tuple[Tensor, Tensor, dict]:
    """The raw pairs (pairs, 2, *shape), the raw walks (pairs, points, *shape) and the figures of both ways."""
    model, data, size = run.model, run.data, run.config.batch_size
    raw, x = _examples(data, settings, run.config.seed)
    cond = given(run, settings.pairs) if run.plain["given"] else {}
    flow = run.guided(cond)
    flow = bind(flow, cond if flow.conditions else None, settings.pairs)
    pair = torch.arange(settings.pairs, device=run.device)
    total = len(x) + settings.pairs * settings.points
    trips, walks = [], []
    shorter = lambda seconds: f"{total} points, {duration(seconds)} each: task.pairs and task.points say how many"
    with bar(run.console, "interpolating", total, 0, shorter) as advance:
        for part, rows in zip(x.split(size), pair.repeat_interleave(2).split(size), strict=True):
            trips.append(round_trip(flow.select(rows), part.to(run.device), **settings.flow))
            done = sum(len(t.x) for t in trips)
            words = f"{float(trips[-1].nfe.float().mean()):.0f} evaluations there and back"
            advance(done, f"{done} of {len(x)} encoded  {words}")
        latent = torch.cat([t.latent for t in trips]).unflatten(0, (settings.pairs, 2))
        ways = torch.linspace(0, 1, settings.points, dtype=torch.float64).tolist()
        path = torch.stack([slerp(latent[:, 0], latent[:, 1], w) for w in ways], 1).flatten(0, 1)
        for part, rows in zip(path.split(size), pair.repeat_interleave(settings.points).split(size), strict=True):
            walks.append(from_latent(flow.select(rows), part, **settings.flow).cpu())
            done = sum(len(w) for w in walks)
            advance(len(x) + done, f"{done} of {len(path)} decoded")
    back = torch.cat([t.x for t in trips]).cpu()
    nfe = torch.cat([t.nfe for t in trips]).double().mean()
    figures = {"pairs": settings.pairs, "points": settings.points, "evaluations": float(nfe)}
    figures["t_min"] = model.sde.t_min if settings.t_min is None else settings.t_min
    raw_walks = data.decode(torch.cat(walks)).unflatten(0, (settings.pairs, settings.points))
    return raw.unflatten(0, (settings.pairs, 2)), raw_walks, figures | _errors(data, raw, x, back)


def _examples(data: Data, settings: Interpolate, seed: int) -> tuple[Tensor, Tensor]:
    """2 x pairs examples drawn without replacement by the seed: raw, and in the model's space."""
    examples, n = getattr(data, settings.split), 2 * settings.pairs
    if n > len(examples):
        raise InputError(
            f"task.pairs={settings.pairs}: {n} examples are needed, and {settings.split} has {len(examples)}"
        )
    index = torch.randperm(len(examples), generator=torch.Generator().manual_seed(seed_of(seed, n)))[:n]
    raw = stack(examples, index)
    return raw, data.encode(raw, noise.uniform(raw.float(), index, seed, *noise.Stream.BIN())).double()


def _errors(data: Data, raw: Tensor, x: Tensor, back: Tensor) -> dict:
    """How far the round trip is from its start: rms over all values, and the largest of an example's rms.

    In the data's own units (in levels where it has them), with the share of the raw values that come back as they were.
    """
    unit = data.levels or 1
    error = (unit * (data.space.inverse(back) - data.space.inverse(x))).flatten(1).square().mean(1)
    figures = {"round_trip_rms": float(error.mean().sqrt()), "round_trip_worst": float(error.max().sqrt())}
    if data.levels is not None:
        figures["round_trip_same"] = float((data.decode(back) == raw).double().mean())
    return figures


def _rows(figures: dict) -> list[tuple[str, str]]:
    words = f"{figures['pairs']} pairs, {figures['points']} points on each great circle between their latents"
    units = "levels" if "round_trip_same" in figures else "of the data's units"
    error = f"rms {figures['round_trip_rms']:.2g} {units} (worst {figures['round_trip_worst']:.2g})"
    same = f", {100 * figures['round_trip_same']:.2f} % of values unchanged" if "round_trip_same" in figures else ""
    cost = f"{figures['evaluations']:.0f} evaluations there and back, t_min {figures['t_min']:g}"
    return [("interpolation", words), ("round trip", error + same), ("", cost)]
