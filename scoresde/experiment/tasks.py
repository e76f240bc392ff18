"""The tasks that a command can run: functions of a `Run`."""

import math

import torch

from .. import files
from ..data import Data, stack
from . import build, checkpoint, pictures, processes
from .report import bar
from .run import Run
from .sampling import draw
from .scoring import score
from .track import Metrics
from .train import train as fit

__all__ = ["draw", "full", "score", "train"]


def full(run: Run) -> None:
    """Trains the model if it is not trained yet, then samples it, then scores it."""
    train(run)
    processes.wait(run.config.device)  # until the first process has written the model
    draw(run)
    score(run)


def train(run: Run) -> None:
    """Trains the model, or goes on from its last checkpoint; a trained one is left as it is."""
    if run.config.fresh and run.lead:
        build.build_denoiser(run.config, run.data.shape)  # a mistake shows before the old model goes
        for name in (
            "checkpoint.pt",
            "checkpoint.before.pt",
            "model.json",
            "metrics.jsonl",
            "summary.json",
            "loss.png",
        ):
            (run.folder / name).unlink(missing_ok=True)
    if run.lead:
        mended = checkpoint.mend(run.folder / "checkpoint.pt")
        if mended:
            run.say(f"warning: {mended}")
    processes.wait(run.config.device)  # all see the same files
    build.check_folder(run.folder, run.config)
    path, steps = run.folder / "checkpoint.pt", run.training.steps
    done = checkpoint.load(path)["step"] if path.exists() else 0
    if done >= steps and _finished(run):
        run.say(f"{run.folder} is trained already ({done} steps)")
        run.results.append(("model", f"trained before, {done} steps"))
        run.made["train"] = run.folder
        return
    data = run.data
    denoiser = build.build_denoiser(run.config, data.shape)
    size = sum(p.numel() for p in denoiser.parameters())
    _warn_noise(run, denoiser.sde, data)
    words = f"training {build.name_of(run.config.sde)} on {data.name} {data.shape}, {len(data.train)} examples"
    run.say(f"{words}, {size:,} parameters{f', from step {done} of {steps}' if done else ''}")
    last: dict = {}
    if run.lead:
        run.finish(run.folder, {"task": "train", "finished": False}, [])
        files.write_json(run.folder / "model.json", build.model_config(run.config))
        metrics = Metrics(run.folder / "metrics.jsonl", run.tracker, "train/", keep=done)
        last = metrics.last()
    with bar(run.console, "training", steps, done) as advance:

        def report(step: int, **figures) -> None:
            metrics.log(step, **figures)
            last.update(figures, step=step)
            shown = {k: last[k] for k in ("loss", "validation") if isinstance(last.get(k), int | float)}
            advance(step, "  ".join(f"{k} {v:.4f}" for k, v in shown.items()))

        fit(denoiser, data, run.loss, run.training, run.folder, report, run.config.device, build.facts(data))
    if run.lead:
        pictures.losses(run.folder / "loss.png", metrics.path)
        run.tracker.image("train/loss", run.folder / "loss.png")
        run.tracker.artifact(run.folder.name, "model", [run.folder / "checkpoint.pt"])
        summary = dict(task="train", finished=True, parameters=size, examples=len(data.train), **last)
        known = {k: v for k, v in last.items() if isinstance(v, int | float)}
        seconds, validation = (known.get(k, math.nan) for k in ("seconds", "validation"))  # the rows may be gone
        words = f"trained {steps} steps in {seconds:.0f} s, validation loss {validation:.4f}"
        run.finish(run.folder, summary, [("model", words)])


def _finished(run: Run) -> bool:
    """Whether the summary, which is written last, is there."""
    return files.read_json(run.folder / "summary.json", default={}).get("finished") is True


def _warn_noise(run: Run, sde, data: Data) -> None:
    """Song, Ermon (2020), technique 1: sigma_T / alpha_T should reach the largest distance between two data points."""
    x = data.encode(stack(data.train, range(min(512, len(data.train))))).flatten(1).double()
    farthest, reach = float(torch.cdist(x, x).max()), math.exp(-float(sde.log_snr(sde.t_max)) / 2)
    if reach < farthest / 2:
        run.say(
            f"warning: the largest noise, sigma/alpha = {reach:.3g}, is under half of the largest distance between two "
            f"data points, {farthest:.3g}: samples may miss parts of the data (for VE: sde.sigma_max={farthest:.0f})"
        )
