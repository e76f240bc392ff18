"""Training by denoising score matching: the whole loop."""

import contextlib
import copy
import math
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..answers import derivatives
from ..data import Data, as_data, check_data
from ..denoiser import Denoiser, device_of
from ..errors import InputError
from ..loss import DenoisingLoss
from ..machine import launcher, locks, processes, signals
from ..machine.devices import accelerator
from ..machine.progress import Advance, fewer, shown
from ..model import checkpoint, moments
from ..model.description import describe
from ..model.folder import Trained, facts, load
from ..model.state import plain_state
from ..settings import checked
from .average import EMA
from .book import Book
from .guards import check_finite, look, prepare
from .objective import Objective, Validation
from .order import batches, seed_of, told
from .restore import restore
from .settings import Training


@checked
@derivatives
def train(
    denoiser: Denoiser,
    data: Any,
    loss: DenoisingLoss | None = None,
    training: Training | None = None,
    folder: str | Path | None = None,
    report: Callable[..., None] | None = None,
    device: str = "auto",
    fresh: bool = False,
    progress: bool | Callable = True,
    say: Callable[[str], None] | None = None,
    made: dict | None = None,
    **options,
) -> Trained:
    """Minimises the denoising loss E[w(t) |D(x_t, t) - x_0|^2] and returns the averaged denoiser, ready to sample.

    With a `folder`, checkpoint.pt is written there every `checkpoint_every` steps, and a run that finds one continues
    it, or returns it if it is finished: on a CPU the same weights as of one run, to the bit.  The folder knows what
    makes its model (network, SDE, loss, training, data), and refuses another; more `steps` go on from where it is.  The
    command line makes the same folder, and takes the same lock.  SIGTERM, SIGINT and SIGHUP wait for the end of the
    step (of several processes, of the next logged one) and one more checkpoint.  Items are dequantised afresh at each
    step.

    Arguments:
        denoiser: its weights are where training starts; a trained one, of `load` or `train`, is trained further.
        data: a `Data`, a dataset, or a tensor (N, *shape) in the model's own units (unit variance): see `as_data`.
        loss: it is not changed: times that learn do so in a copy.
        training: the settings, or give its fields as `options`.
        report: called as report(step, **figures).
        progress: show the steps done, the loss and the time left, on standard error, where that takes 2 seconds or
            more; a function (step, words) gets them instead, after every step: words() are for reading.
        fresh: remove the model that is in the folder first.
        say: who gets the lines that there may be to say; by default they are warnings.
        made: more of what makes the model (`model.describe`), for the folder to know.

    Returns:
        A `Denoiser` with the averaged weights, and with `shape`, `encode` and `decode` of the data.

    Raises:
        InputError: wrong settings, or data that cannot be trained on as it is (`check_data`); another model in the
            folder, or another command at work in it; the folder was taken away, or its checkpoint is damaged.
        FloatingPointError: the loss stops being finite.
    """
    if training is not None and options:
        raise InputError(f"train got both `training` and {', '.join(options)}: put all of them into `training`")
    start = copy.deepcopy(denoiser.denoiser).requires_grad_(True) if isinstance(denoiser, Trained) else denoiser
    data = as_data(data)
    notes = check_data(data)
    loss = copy.deepcopy(loss or DenoisingLoss())  # times may learn, and the next run begins where this one did
    training = training or Training(**options)
    book = Book(
        None if folder is None else Path(folder).expanduser(), describe(start, data, loss, training), training.steps
    )
    book.add(made or {})
    say = say or (lambda words: warnings.warn(words, stacklevel=5))
    if words := launcher.ignored():
        say(words)
    processes.join(device)
    lead = launcher.rank() == 0
    with locks.alone(book.folder, say=say) if book.folder is not None and lead else contextlib.nullcontext():
        if fresh:
            look(start, data)
        if lead and (words := book.prepare(fresh)):
            say(f"warning: {words}")
        processes.wait(device)  # all see the same files
        if book.finished():
            return load(book.folder, str(device_of(start)), denoiser=start)
        processes.wait(device)  # all have looked
        for words in notes if lead else ():
            say(words)
        trainer, steps = _Trainer(start, data, loss, training, book, device), training.steps
        shorter = fewer("steps=", steps, "a smaller network or batch_size takes less")
        with shown(progress, "training", steps, trainer.step, shorter, lead) as advance:
            return trainer.run(report or (lambda step, **figures: None), advance)


class _Trainer:
    """A training under way: what a step changes, and how it is kept."""

    def __init__(self, denoiser, data: Data, loss: DenoisingLoss, training: Training, book: Book, device: str):
        self.accelerator = accelerator(training.precision, processes.on_cpu(device))
        self.device, self.lead = self.accelerator.device, self.accelerator.is_main_process
        self.rank, self.ranks = self.accelerator.process_index, self.accelerator.num_processes
        self.denoiser, self.data, self.loss, self.training = denoiser.to(self.device).train(), data, loss, training
        self.book, self.facts, self.step, self.seconds = book, facts(data), 0, 0.0
        prepare(denoiser, data)
        self.ema = EMA(denoiser, training.ema)
        optimizer = torch.optim.AdamW(
            denoiser.parameters(), training.lr, tuple(training.betas), weight_decay=training.weight_decay
        )
        self.validation = Validation(data, loss, denoiser, self.device, dequantise=training.dequantise)
        self._go_on(optimizer)
        if self.ranks > 1 and isinstance(loss.times, nn.Module):
            loss.times.add_up = torch.distributed.all_reduce
        self.model, self.optimizer = self.accelerator.prepare(Objective(denoiser, loss), optimizer)

    def _go_on(self, optimizer: torch.optim.Optimizer) -> None:
        """Takes up the last checkpoint, if there is one."""
        path = self.book.checkpoint
        if path is None or not path.exists():
            return
        state = checkpoint.load(path, self.device, ("step", "seconds", "model", "ema", "optimizer"))
        restore(path, state, self.denoiser, self.ema, optimizer, self.loss)
        self.step, self.seconds = state["step"], state["seconds"]

    def run(self, report: Callable[..., None], advance: Advance | None) -> Trained:
        """Trains to the last step; returns the averaged denoiser."""
        training, began = self.training, time.perf_counter() - self.seconds
        parameters = sum(p.numel() for p in self.denoiser.parameters())
        about = {"parameters": parameters, "examples": len(self.data.train)}
        if self.lead:
            self.book.begin(self.step, about)
        size, steps, share = training.batch_size, training.steps, (self.rank, self.ranks)
        loader = batches(self.data.train, size, training.seed, self.step, steps, *share, training.workers)
        generators = torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else [])
        with generators, signals.held() as signal, told():
            for raw in loader:
                value, norm = self._update(raw)
                self.seconds = time.perf_counter() - began
                figures = self._figures(value, norm)
                if figures and self.lead:
                    self.book.log(self.step, figures)
                    report(self.step, **figures)
                if advance:
                    advance(self.step, lambda value=value: self._words(value))
                saves = self._every(training.checkpoint_every)
                if saves:
                    self._save()
                asked = self._asked(signal)
                if asked:
                    if not saves:
                        self._save()
                    signal.deliver(asked)
        model = Trained(self.ema.model, self.facts, self.step)
        model.moments = moments.of_data(self.data, training.dequantise)
        if self.lead:
            self.book.end(model, about)
        return model

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
            check_finite(value if training.precision == "fp16" else value + 0 * norm, self.denoiser, step)
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

    def _words(self, value: Tensor) -> str:
        """The step, and the latest loss; before the first is logged, this process's own."""
        shown = {"loss": float(value)} | self.book.last
        figures = [f"{k} {shown[k]:.4f}" for k in ("loss", "validation") if k in shown]
        return "  ".join([f"step {self.step}/{self.training.steps}", *figures])

    def _asked(self, signal: signals.Held) -> int:
        """The signal that asks to end: several processes agree on it where they wait for each other anyway."""
        if self.ranks == 1:
            return signal.number
        return processes.most(signal.number, self.device) if self.step % self.training.log_every == 0 else 0

    def _save(self) -> None:
        """Writes the checkpoint, of finite weights only."""
        if self.book.checkpoint is None or not self.lead:
            return
        if not all(bool(p.isfinite().all()) for p in self.denoiser.parameters()):
            check_finite(torch.tensor(math.nan), self.denoiser, self.step - 1)
        state = {"step": self.step, "seconds": self.seconds, "model": plain_state(self.denoiser)}
        state |= {"ema": self.ema.state(), "optimizer": self.optimizer.state_dict()}
        state |= {"loss": self.loss.state(), "facts": self.facts}
        checkpoint.save(self.book.checkpoint, state, last=self.step == self.training.steps)
