"""What a command does: train, sample, score, or all three in turn."""

import contextlib
import dataclasses
import fcntl
import io
import math
import shutil
import time
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from .. import noise
from ..data import Data, stack
from ..denoiser import Counted
from ..errors import InputError
from ..likelihood import bits_per_dim, log_likelihood
from ..sampling import Sampler, sample
from . import build, checkpoint, pictures
from .report import bar, table
from .track import MODES, Metrics, Wandb
from .train import train as fit


class Run:
    """One command: its config, checked as a whole before any work, its model folder, and where figures and words go."""

    def __init__(self, config: DictConfig, choices: dict[str, str], console: Console | None = None):
        self.config, self.choices, self.console = config, choices, console or Console(highlight=False)
        for name in ("n", "batch_size"):
            if not isinstance(config[name], int) or config[name] < 1:
                raise InputError(f"{name}={config[name]!r}: give a positive whole number")
        if config.wandb not in MODES:
            raise InputError(f"wandb={config.wandb!r} is unknown: choose one of {', '.join(MODES)}")
        build.import_paths(config)
        self.folder = build.model_folder(config)
        self.sampler: Sampler = build.make(config.sampler, "sampler")
        if not isinstance(self.sampler, Sampler):
            raise InputError(f"sampler._target_={config.sampler['_target_']} makes no scoresde.sampling.Sampler")
        self.training, self.loss = build.build_training(config), build.build_loss(config)
        self.sampler.times(build.make(config.sde, "sde"))
        self.results: list[tuple[str, str]] = []
        self.wandb = Wandb(config.wandb, config.project, self.folder.name, self.plain, self.folder, self.say)

    @property
    def plain(self) -> dict:
        return OmegaConf.to_container(self.config, resolve=True)

    @cached_property
    def data(self) -> Data:
        return build.build_data(self.config)

    @cached_property
    def device(self) -> str:
        if self.config.device != "auto":
            return self.config.device
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"

    @cached_property
    def model(self) -> build.Trained:
        """The trained denoiser in the folder.  Raises `InputError` if there is none or it is not the config's."""
        build.check_folder(self.folder, self.config)
        if not (self.folder / "checkpoint.pt").exists():
            raise InputError(f"{self.folder} has no trained model: run the same command with task=train (or task=full) first")
        model = build.load(self.folder, self.device)
        if model.step < self.training.steps:
            self.say(f"the model in {self.folder} has seen {model.step} of {self.training.steps} steps of training so far")
        return model

    def say(self, words: str) -> None:
        self.console.print(words, soft_wrap=True, markup=False)

    def place(self, task: str, choice: str, *parts) -> Path:
        """The folder of a sampling or scoring run beneath the model's, named by what makes its result."""
        return self.folder / f"{task}-{choice}-{build.short_hash(parts, 6)}"

    def finish(self, folder: Path, summary: dict, rows: list[tuple[str, str]]) -> None:
        checkpoint.write(folder / "config.yaml", lambda file: file.write(OmegaConf.to_yaml(self.config, resolve=True).encode()))
        checkpoint.write_json(folder / "summary.json", summary)
        self.results += rows

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Holds the folder's lock.  Raises `InputError` if another process is at work in it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / ".lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(f"another command is at work in {self.folder}: wait for it, or give another folder=") from None
            yield


def full(run: Run) -> None:
    """Trains the model if it is not trained yet, then samples it, then scores it."""
    train(run)
    draw(run)
    score(run)


def train(run: Run) -> None:
    """Trains the model, or goes on from its last checkpoint; a trained one is left as it is."""
    if run.config.fresh:
        for name in ("checkpoint.pt", "model.json", "metrics.jsonl", "summary.json", "loss.png"):
            (run.folder / name).unlink(missing_ok=True)
    build.check_folder(run.folder, run.config)
    path, steps = run.folder / "checkpoint.pt", run.training.steps
    state = checkpoint.load(path) if path.exists() else None
    done = state["step"] if state else 0
    if done >= steps:
        run.say(f"{run.folder}: trained already ({done} steps)")
        run.results.append(("model", f"trained before, {done} steps"))
        return
    data = run.data
    denoiser = build.build_denoiser(run.config, data.shape)
    _warn_noise(run, denoiser.sde, data)
    size = sum(p.numel() for p in denoiser.parameters())
    words = f"training {build.name_of(run.config.sde)} on {data.name} {data.shape}, {len(data.train)} examples, {size:,} parameters"
    run.say(f"{words}, from step {done} of {steps}" if done else words)
    run.folder.mkdir(parents=True, exist_ok=True)
    run.finish(run.folder, dict(task="train", finished=False), [])
    checkpoint.write_json(run.folder / "model.json", build.model_config(run.config))
    metrics = Metrics(run.folder / "metrics.jsonl", run.wandb, "train/", keep=done)
    last: dict = {}
    with bar(run.console, "training", steps, done) as advance:

        def report(step: int, **figures) -> None:
            metrics.log(step, **figures)
            last.update(figures, step=step)
            advance(step, f"loss {last.get('loss', math.nan):.4f}  validation {last.get('validation', math.nan):.4f}")

        fit(denoiser, data, run.loss, run.training, run.folder, report, run.config.device, build.facts(data))
    summary = dict(task="train", finished=True, parameters=size, examples=len(data.train), **last)
    summary["git"] = None
    pictures.losses(run.folder / "loss.png", metrics.path)
    run.wandb.image("train/loss", run.folder / "loss.png")
    seconds = last.get("seconds", math.nan)
    validation = f"validation loss {last['validation']:.4f}"
    run.finish(run.folder, summary, [("model", f"trained {steps} steps in {seconds:.0f} s, {validation}")])


def _warn_noise(run: Run, sde, data: Data) -> None:
    """Song, Ermon (2020), technique 1: sigma_T / alpha_T should reach the largest distance between two data points."""
    x = data.encode(stack(data.train, range(min(512, len(data.train))))).flatten(1).double()
    farthest, reach = float(torch.cdist(x, x).max()), math.exp(-float(sde.log_snr(sde.t_max)) / 2)
    if reach < farthest / 2:
        run.say(
            f"warning: the largest noise, sigma/alpha = {reach:.3g}, is under half of the largest distance between data "
            f"points, {farthest:.3g}: samples may miss parts of the data (for VE: sde.sigma_max={farthest:.0f})"
        )


def draw(run: Run) -> None:
    """Samples the trained model: samples.npy, samples.png, trajectory.png."""
    config, model, sampler = run.config, run.model, run.sampler
    choice = run.choices.get("sampler", build.name_of(config.sampler))
    folder = run.place("sample", choice, run.plain["sampler"], config.n, config.seed, model.step)
    began = time.perf_counter()
    with bar(run.console, f"sampling ({choice})", None if sampler.steps < 2 else config.n * sampler.steps) as advance:
        done = 0

        def progress(step: int, t: float, x: torch.Tensor, x0: torch.Tensor) -> None:
            nonlocal done
            done += len(x)
            advance(done, f"{counted.rows / config.n:.0f} evaluations a sample")

        counted = Counted(model)
        chunks = []
        for start in range(0, config.n, config.batch_size):
            shape = (min(config.batch_size, config.n - start), *model.shape)
            chunks.append(sample(counted, sampler, shape, config.seed, None, progress, offset=start).cpu())
    seconds = time.perf_counter() - began
    x = torch.cat(chunks)
    raw = model.decode(x)
    _save_array(folder / "samples.npy", raw)
    pictures.samples(folder / "samples.png", raw, model.levels, None if model.levels else _some_real(run))
    _trajectory(run, folder / "trajectory.png")
    run.wandb.image("sample/samples", folder / "samples.png")
    evaluations = counted.rows / config.n
    figures = dict(n=config.n, evaluations=evaluations, seconds=seconds, seconds_per_sample=seconds / config.n)
    Metrics(folder / "metrics.jsonl", run.wandb, "sample/").log(0, **figures)
    summary = dict(task="sample", sampler=repr(sampler), seed=config.seed, ema=True, step=model.step, **figures)
    words = f"{config.n} by {choice}: {evaluations:.0f} evaluations and {1e3 * seconds / config.n:.1f} ms a sample"
    run.finish(folder, summary, [("samples", words), ("", str(folder / "samples.png"))])


def _some_real(run: Run) -> torch.Tensor:
    data = run.data
    return data.decode(data.encode(stack(data.test, range(min(4000, len(data.test))))))


def _save_array(path: Path, raw: torch.Tensor) -> None:
    buffer = io.BytesIO()
    np.save(buffer, raw.numpy())
    checkpoint.write(path, lambda file: file.write(buffer.getvalue()))


def _trajectory(run: Run, path: Path, columns: int = 10) -> None:
    model, sampler = run.model, run.sampler
    images = pictures.is_image(model.shape)
    if sampler.steps < columns and isinstance(sampler.grid, str):
        sampler = dataclasses.replace(sampler, steps=columns)
    n = 6 if images else 1000
    times = sampler.times(model.sde)[1:]
    shown = {round(i) for i in np.linspace(0, len(times) - 1, columns)}
    kept: list[tuple[float, torch.Tensor, torch.Tensor]] = []

    def keep(step: int, t: float, x: torch.Tensor, x0: torch.Tensor) -> None:
        if step in shown:
            kept.append((t, x.cpu(), model(x, t).cpu()))

    with torch.no_grad():
        sample(model, sampler, (min(n, run.config.n), *model.shape), run.config.seed, callback=keep)
    decode: Callable = model.decode
    pictures.trajectory(path, *(list(part) for part in zip(*kept, strict=True)), decode, model.levels)


def score(run: Run) -> None:
    """The log-likelihood of held-out data through the probability flow; bits/dim where the data has levels."""
    config, model, data, settings = run.config, run.model, run.data, run.config.likelihood
    if settings.split not in ("train", "test"):
        raise InputError(f"likelihood.split={settings.split!r}: choose train or test")
    examples = getattr(data, settings.split)
    n = len(examples) if settings.n is None else min(settings.n, len(examples))
    folder = run.place("likelihood", settings.split, run.plain["likelihood"], config.seed, model.step)
    options = dict(probes=settings.probes, rtol=settings.rtol, atol=settings.atol, seed=config.seed, t_min=settings.t_min)
    began, parts = time.perf_counter(), []
    with bar(run.console, "likelihood", n) as advance:
        for start in range(0, n, config.batch_size):
            index = torch.arange(start, min(start + config.batch_size, n))
            raw = stack(examples, index)
            x = data.encode(raw, noise.uniform(raw.float(), index, config.seed, 1)).to(run.device)
            parts.append(log_likelihood(model, x, **options, offset=start))
            advance(start + len(x), f"{float(parts[-1].nfe.float().mean()):.0f} evaluations an example")
    seconds = time.perf_counter() - began
    log_prob, stderr = (torch.cat([getattr(p, k) for p in parts]).double().cpu() for k in ("log_prob", "stderr"))
    nfe = torch.cat([p.nfe for p in parts]).float().mean().item()
    nats = log_prob + data.log_det if data.levels is None else log_prob
    where = "data" if data.levels is None else "model"
    t_min = model.sde.t_min if settings.t_min is None else settings.t_min
    figures = {
        "n": n,
        "nats": float(nats.mean()),
        "nats_stderr": float(nats.std() / math.sqrt(n)) if n > 1 else math.nan,
        "evaluations": nfe,
        "seconds": seconds,
        "t_min": t_min,
    }
    rows = [("log-likelihood", f"{figures['nats']:.3f} +- {figures['nats_stderr']:.3f} nats in {where} units, t_min {t_min:g}")]
    if data.levels is not None:
        bits = bits_per_dim(log_prob, math.prod(data.shape), data.levels, data.log_det)
        figures |= {f"bits_per_dim{'' if k == 'total' else '_' + k}": v for k, v in dataclasses.asdict(bits).items()}
        rows += [
            ("bits/dim", f"{bits.total:.3f} +- {bits.stderr:.3f} on {n} {settings.split} examples, uniform dequantisation"),
            ("", f"= {bits.model:.3f} model {bits.transform:+.3f} transform {bits.levels:+.3f} levels"),
        ]
    buffer = io.BytesIO()
    np.savez(buffer, log_prob=log_prob.numpy(), stderr=stderr.numpy())
    checkpoint.write(folder / "likelihood.npz", lambda file: file.write(buffer.getvalue()))
    Metrics(folder / "metrics.jsonl", run.wandb, "likelihood/").log(0, **figures)
    probes = "exact" if settings.probes is None else f"{settings.probes} Rademacher"
    words = dict(split=settings.split, divergence=probes, rtol=settings.rtol, seed=config.seed, ema=True, step=model.step)
    run.finish(folder, dict(task="likelihood", **words, **figures), [*rows, ("", str(folder / "summary.json"))])


def execute(run: Run, task: Callable[[Run], None]) -> None:
    """Runs a task within its tracker and the folder's lock, and prints the table of results."""
    existed = run.folder.exists()
    try:
        if task not in (full, train):
            _ = run.model
        else:
            build.check_folder(run.folder, run.config) if not run.config.fresh else None
            _ = run.data
        with run.alone(), run.wandb:
            task(run)
    except InputError:
        if not existed and run.folder.exists() and not (run.folder / "checkpoint.pt").exists():
            shutil.rmtree(run.folder)
        raise
    table(run.console, [*run.results, ("folder", str(run.folder))])
