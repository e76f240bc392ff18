"""Training by denoising score matching: the whole loop."""

import contextlib
import copy
import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from .. import launcher, locks
from ..data import Data, as_data
from ..denoiser import Denoiser
from ..errors import InputError
from ..loss import DenoisingLoss
from . import checkpoint, processes, signals
from .ema import EMA
from .objective import Objective, Validation
from .order import batches, seed_of, told
from .single import Single


@dataclass(frozen=True)
class Training:
    """AdamW with a linear warm-up and a cosine decay to 0, gradients clipped to the norm `clip`, weights averaged with
    the decay `ema`.  `batch_size` is over all processes; `precision` is accelerate's ("no", "bf16", "fp16").
    `dequantise` of discrete data: "uniform" within its bin, anew at each step, or "none", the middle of the bin."""

    steps: int = 1000
    batch_size: int = 128
    lr: float = 2e-3
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.01
    warmup: int = 100
    clip: float = 1.0
    ema: float = 0.999
    seed: int = 0
    precision: str = "no"
    dequantise: str = "uniform"
    workers: int = 0
    validate_every: int = 200
    checkpoint_every: int = 100
    log_every: int = 10

    def __post_init__(self):
        for name in ("steps", "batch_size", "validate_every", "checkpoint_every", "log_every"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise InputError(f"train.{name}={getattr(self, name)!r}: give a positive whole number")
        for name in ("lr", "clip"):
            if not getattr(self, name) > 0:
                raise InputError(f"train.{name}={getattr(self, name)!r}: it must be positive")
        if not 0 <= self.ema < 1:
            raise InputError(f"train.ema={self.ema!r}: it must lie in [0, 1)")
        if self.precision not in ("no", "bf16", "fp16"):
            raise InputError(f"train.precision={self.precision!r}: choose one of no, bf16, fp16")
        if self.dequantise not in ("uniform", "none"):
            raise InputError(f"train.dequantise={self.dequantise!r}: choose uniform or none")

    def rate(self, step: int) -> float:
        """The learning rate of step 0, 1, ..."""
        return self.lr * min(1, (step + 1) / (self.warmup + 1)) * 0.5 * (1 + math.cos(math.pi * step / self.steps))


def train(
    denoiser: Denoiser,
    data: Data | Tensor | Dataset,
    loss: DenoisingLoss | None = None,
    training: Training | None = None,
    folder: str | Path | None = None,
    report: Callable[..., None] | None = None,
    device: str = "auto",
    facts: dict | None = None,
    **options,
) -> Denoiser:
    """Minimises the denoising loss E[w(t) |D(x_t, t) - x_0|^2] and returns the averaged denoiser, ready to sample.

    `data` is a `Data`, a tensor (N, *shape) in the model's own units (about unit variance), or any dataset that
    `data.as_data` takes.  `options` are fields of `Training`.

    With `folder`, checkpoint.pt is written there every `checkpoint_every` steps, and a run that finds one continues
    it, or returns it if it is finished: on a CPU the same weights as of one run, to the bit.  SIGTERM and SIGINT wait
    for the end of the step (of several processes, of the next logged one) and one more checkpoint.
    `report(step, **figures)` gets the figures.  Items are dequantised afresh at each step.  `loss` is not changed:
    times that learn do so in a copy.  `facts` are plain values kept in the checkpoint.

    Raises `InputError` for wrong settings, and where another is at work in `folder`, or it is taken away, or its
    checkpoint is damaged; `FloatingPointError` when the loss stops being finite.
    """
    if training is not None and options:
        raise InputError(f"train got both `training` and {', '.join(options)}: put all of them into `training`")
    data = as_data(data)
    loss = copy.deepcopy(loss or DenoisingLoss())  # times may learn, and the next run begins where this one did
    path = None if folder is None else Path(folder) / "checkpoint.pt"
    if words := launcher.ignored():
        warnings.warn(words, stacklevel=2)
    with locks.alone(folder) if folder is not None and launcher.rank() == 0 else contextlib.nullcontext():
        trainer = _Trainer(denoiser, data, loss, training or Training(**options), path, device, facts or {})
        return trainer.run(report or (lambda step, **figures: None))


class _Trainer:
    """A training under way: what a step changes, and how it is kept."""

    def __init__(self, denoiser, data: Data, loss: DenoisingLoss, training: Training, path, device: str, facts: dict):
        processes.join(device)
        self.accelerator = _accelerator(training.precision, processes.on_cpu(device))
        self.device, self.lead = self.accelerator.device, self.accelerator.is_main_process
        self.rank, self.ranks = self.accelerator.process_index, self.accelerator.num_processes
        self.denoiser, self.data, self.loss, self.training = denoiser.to(self.device).train(), data, loss, training
        self.path, self.facts, self.step, self.seconds = path, facts, 0, 0.0
        self.ema = EMA(denoiser, training.ema)
        optimizer = torch.optim.AdamW(
            denoiser.parameters(), training.lr, training.betas, weight_decay=training.weight_decay
        )
        self.validation = Validation(data, loss, denoiser, self.device, dequantise=training.dequantise)
        self._go_on(optimizer)
        if self.ranks > 1 and isinstance(loss.times, nn.Module):
            loss.times.add_up = torch.distributed.all_reduce
        self.model, self.optimizer = self.accelerator.prepare(Objective(denoiser, loss), optimizer)

    def _go_on(self, optimizer: torch.optim.Optimizer) -> None:
        """Takes up the last checkpoint, if there is one."""
        if self.path is not None and self.lead:
            checkpoint.mend(self.path)
        self.accelerator.wait_for_everyone()
        if self.path is None or not self.path.exists():
            return
        state = checkpoint.load(self.path, self.device, ("step", "seconds", "model", "ema", "optimizer"))
        checkpoint.restore(self.path, state, self.denoiser, self.ema.model, optimizer, self.loss)
        self.step, self.seconds = state["step"], state["seconds"]

    def run(self, report: Callable[..., None]) -> Denoiser:
        """Trains to the last step; returns the averaged denoiser."""
        training, began = self.training, time.perf_counter() - self.seconds
        loader = batches(
            self.data.train,
            training.batch_size,
            training.seed,
            self.step,
            training.steps,
            self.rank,
            self.ranks,
            training.workers,
        )
        generators = torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else [])
        with generators, signals.held() as signal:
            for raw in told(loader):
                value, norm = self._update(raw)
                self.seconds = time.perf_counter() - began
                figures = self._figures(value, norm)
                if figures and self.lead:
                    report(self.step, **figures)
                saves = self._every(training.checkpoint_every)
                if saves:
                    self._save()
                asked = self._asked(signal)
                if asked:
                    if not saves:
                        self._save()
                    signal.deliver(asked)
        if self.path is not None and self.lead:  # a kill between the last checkpoint and the end of its writing left it
            checkpoint.before(self.path).unlink(missing_ok=True)
        return self.ema.model

    def _every(self, steps: int) -> bool:
        """Whether this step is one of every so many, or the last."""
        return self.step % steps == 0 or self.step == self.training.steps

    def _drawn(self, raw: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x0, t and eps: drawn for the whole batch on each process, which keeps its share."""
        data, size, part = self.data, self.training.batch_size, slice(self.rank, None, self.ranks)
        whole, dequantised = (size, *data.shape), self.training.dequantise == "uniform" and data.levels
        torch.manual_seed(seed_of(self.training.seed, self.step, 0, 1))
        u = torch.rand(whole, device=self.device)[part] if dequantised else None
        x0, t = data.encode(raw.to(self.device, non_blocking=True), u), self.loss.sample_times(self.denoiser.sde, size)
        eps = torch.randn(whole, dtype=x0.dtype, device=self.device)[part]
        if self.rank:  # what the network draws for itself, dropout, is apart
            torch.manual_seed(seed_of(self.training.seed, self.step, self.rank, 1))
        return x0, t[part], eps

    def _update(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """One step of the optimizer: this process's share of the loss, times the processes, and the gradient's norm."""
        training, step = self.training, self.step
        for group in self.optimizer.param_groups:
            group["lr"] = training.rate(step)
        value = self.model(*self._drawn(raw)) * (self.ranks / training.batch_size)
        self.accelerator.backward(value)
        norm = self.accelerator.clip_grad_norm_(self.denoiser.parameters(), training.clip)
        check_every = 1 if self.device.type == "cpu" else training.log_every  # reading a loss from a GPU waits for it
        if step % check_every == 0 or (step + 1) % training.checkpoint_every == 0 or step + 1 == training.steps:
            # Under fp16 accelerate scales the loss, and skips the steps whose gradients overflow.
            _check(value if training.precision == "fp16" else value + 0 * norm, self.denoiser, step)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        self.ema.update(self.denoiser, self.step)
        return value.detach(), norm

    def _figures(self, value: Tensor, norm: Tensor) -> dict:
        """What there is to report after this step."""
        figures = {}
        if self._every(self.training.log_every):
            mean = float(self.accelerator.reduce(value, "mean"))
            rate = self.training.rate(self.step - 1)
            figures = {"loss": mean, "gradient": float(norm), "lr": rate, "seconds": self.seconds}
        if self._every(self.training.validate_every):
            figures["validation"], figures["validation_by_level"] = self.validation(self.ema.model)
        return figures

    def _asked(self, signal: signals.Held) -> int:
        """The signal that asks to end: several processes agree on it where they wait for each other anyway."""
        if self.ranks == 1:
            return signal.number
        return processes.most(signal.number, self.device) if self.step % self.training.log_every == 0 else 0

    def _save(self) -> None:
        """Writes the checkpoint, of finite weights only."""
        if self.path is None or not self.lead:
            return
        if not all(bool(p.isfinite().all()) for p in self.denoiser.parameters()):
            _check(torch.tensor(math.nan), self.denoiser, self.step - 1)
        state = {"step": self.step, "seconds": self.seconds, "model": self.denoiser.state_dict()}
        state |= {"ema": self.ema.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        state |= {"loss": self.loss.state(), "facts": self.facts}
        checkpoint.save(self.path, state, last=self.step == self.training.steps)


def _accelerator(precision: str, cpu: bool):
    try:
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState
    except ModuleNotFoundError:
        if processes.started() > 1:
            raise
        return Single(precision, cpu)
    AcceleratorState._reset_state()  # one process may train twice, with another precision
    with launcher.hidden():
        return Accelerator(mixed_precision=precision, cpu=cpu)


def _check(value: Tensor, denoiser: Denoiser, step: int) -> None:
    if not bool(torch.isfinite(value)):
        bad = (name for name, p in denoiser.named_parameters() if not bool(torch.isfinite(p).all()))
        where = next((f"the weights {name} are not finite" for name in bad), "all weights are finite: look at the data")
        raise FloatingPointError(
            f"the loss or its gradient is not finite at step {step + 1}; {where}; the last checkpoint is kept "
            "(try a smaller train.lr)"
        )
