"""The training loop: it knows an objective, its batches, its average and its files, and no loss, SDE or space."""

import contextlib
import math
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..adapters import adapt
from ..answers import derivatives
from ..data import Batch, Data, check_data
from ..errors import InputError, outside
from ..machine import launcher, locks, processes, signals
from ..machine.devices import accelerator
from ..machine.progress import Advance, fewer, shown
from ..model import checkpoint
from ..model.description import settings
from ..model.kept.state import trained, trained_state
from ..objectives import Objective
from ..objectives.guards import check_finite
from ..settings import checked
from .average import Averages
from .book import Book
from .order import batches, seed_of, told
from .restore import restore
from .running import check, running
from .settings import Training
from .start import alone


@checked
@derivatives
def fit(
    objective: Objective,
    data: Data,
    training: Training | None = None,
    folder: str | Path | None = None,
    report: Callable[..., None] | None = None,
    device: str = "auto",
    fresh: bool = False,
    progress: bool | Callable = True,
    say: Callable[[str], None] | None = None,
    made: dict | None = None,
) -> Any:
    """Minimises an objective on the training items of a data set; returns what it makes of the averaged weights.

    A classifier of noisy data, for guidance, with its folder:

        digits = scoresde.data.digits()
        classifier = NoisyClassifier(Encoder((1, 8, 8), 10, channels=32), VP())
        trained = fit(Classify(classifier, digits), digits, Training(steps=500), "classifier")
        model = ClassifierGuided(load("denoiser"), trained, label=3, scale=2.0)

    `train` is this with `objectives.Denoising`, and says what is kept in the folder.

    Arguments:
        objective: what is minimised; its parts are trained in place.
        data: whose items are drawn.
        training: the settings.
        folder, report, device, fresh, progress, say, made: as in `train`.

    Returns:
        What `objective.made` makes: a `Model` of `Denoising`, a `TrainedClassifier` of `Classify`.

    Raises:
        InputError, FloatingPointError: as `train` does.
    """
    training, notes = training or Training(), check_data(data)
    check(objective, training)
    objective.check_length(training.steps)
    book = Book(
        None if folder is None else Path(folder).expanduser(), objective.describe() | settings(training), training.steps
    )
    book.add(made or {})
    if training.lora and book.folder is not None and "start" not in book.known:
        raise InputError(f"lora={training.lora}: adapters lie on top of a trained model: say start=FOLDER", "lora")
    say = say or (lambda words: warnings.warn(words, stacklevel=outside()))
    if words := launcher.ignored():
        say(words)
    processes.join(device)
    lead = launcher.rank() == 0
    with locks.alone(book.folder, say=say) if book.folder is not None and lead else contextlib.nullcontext():
        if fresh:
            objective.look()
        if lead and (words := book.prepare(fresh)):
            say(f"warning: {words}")
        processes.wait(device)  # all see the same files
        if book.finished():
            return objective.load(book.folder)
        processes.wait(device)  # all have looked
        for words in notes if lead else ():
            say(words)
        trainer, steps = _Trainer(objective, data, training, book, device), training.steps
        shorter = fewer("steps=", steps, "a smaller network or batch_size takes less")
        with shown(progress, "training", steps, trainer.step, shorter, lead) as advance:
            return trainer.run(report or (lambda step, **figures: None), advance)


class _Trainer:
    """A training under way: what a step changes, and how it is kept."""

    def __init__(self, objective: Objective, data: Data, training: Training, book: Book, device: str):
        several = len(objective.turns) > 1
        self.accelerator = accelerator(training.precision, processes.on_cpu(device), several)
        self.device, self.lead = self.accelerator.device, self.accelerator.is_main_process
        self.rank, self.ranks = self.accelerator.process_index, self.accelerator.num_processes
        self.objective, self.data, self.training = objective.to(self.device).train(), data, training
        self.book, self.step, self.seconds = book, 0, 0.0
        objective.within(book.folder)
        objective.begin(self.device)
        if training.lora:
            adapt(objective.product, training.lora, training.seed)
        if training.only is not None:
            alone(objective.product, training.only)
        self.product, self.ema = objective.product, Averages(objective.product, training)
        rates = {"lr": training.lr, "betas": tuple(training.betas), "weight_decay": training.weight_decay}
        optimizers = {turn: torch.optim.AdamW(objective.trained(turn), **rates) for turn in objective.turns}
        self._go_on(optimizers)
        objective.averaged(self.ema.model)
        if self.ranks > 1:
            objective.several(torch.distributed.all_reduce)
        self.model, *prepared = self.accelerator.prepare(objective, *optimizers.values())
        self.optimizers = dict(zip(objective.turns, prepared, strict=True))

    def _go_on(self, optimizers: dict[str, torch.optim.Optimizer]) -> None:
        """Takes up the last checkpoint, if there is one."""
        path = self.book.checkpoint
        if path is None or not path.exists():
            return
        needs = ("step", "seconds", "model", "ema", "optimizer", *(("optimizers",) if len(optimizers) > 1 else ()))
        state = checkpoint.load(path, self.device, needs)
        restore(path, state, self.objective, self.ema, optimizers)
        self.step, self.seconds = state["step"], state["seconds"]

    def run(self, report: Callable[..., None], advance: Advance | None) -> Any:
        """Trains to the last step; returns what the objective makes of the average."""
        training, began = self.training, time.perf_counter() - self.seconds
        parameters = sum(p.numel() for p in trained(self.product).values())
        about = {"parameters": parameters, "examples": len(self.data.train)}
        if self.lead:
            self.book.begin(self.step, about)
        size, steps, share = training.batch_size, training.steps, (self.rank, self.ranks)
        order, objective = (self.step, steps, *share, training.workers), self.objective
        more = {"names": objective.takes, "buckets": objective.others(self.data)}
        loader = batches(self.data.train, size, training.seed, *order, **more)
        generators = torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else [])
        with generators, signals.held() as signal, told(), running(objective, training):
            for batch in loader:
                found = self._update(batch.to(self.device))
                self.seconds, value = time.perf_counter() - began, found[objective.turns[-1]][0]
                figures = self._figures(found)
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
        adapter = self.ema.merged()
        model = objective.made(self.ema.model, self.step)
        if adapter is not None:
            model.adapter = adapter
        if self.lead:
            self.book.end(model, self.ema, about)
        return model

    def _every(self, steps: int) -> bool:
        """Whether this step is one of every so many, or the last."""
        return self.step % steps == 0 or self.step == self.training.steps

    def _turn(self, k: int, turn: str, batch: Batch) -> tuple[Tensor, Tensor]:
        """One step of a turn's optimizer: this process's share of the loss, times the processes, and the gradient's
        norm.  What it draws is drawn for the whole batch on each process, which keeps its share."""
        training, step, size = self.training, self.step, self.training.batch_size
        optimizer = self.optimizers[turn]
        for group in optimizer.param_groups:
            group["lr"] = training.rate(step) * self.objective.rate(turn)
        torch.manual_seed(seed_of(training.seed, step, 0, 1 + k))
        drawn = self.objective.draw(batch, size, slice(self.rank, None, self.ranks), turn)
        if self.rank:  # what the network draws for itself, dropout, is apart
            torch.manual_seed(seed_of(training.seed, step, self.rank, 1 + k))
        value = self.model(drawn, turn).sum() * (self.ranks / size)
        self.accelerator.backward(value)
        norm = self.accelerator.clip_grad_norm_(self.objective.trained(turn), training.clip)
        check_every = 1 if self.device.type == "cpu" else training.log_every  # reading a loss from a GPU waits for it
        if step % check_every == 0 or (step + 1) % training.checkpoint_every == 0 or step + 1 == training.steps:
            # Under fp16 accelerate scales the loss, and skips the steps whose gradients overflow.
            check_finite(value if training.precision == "fp16" else value + 0 * norm, self.objective, step, turn)
        optimizer.step()
        self.objective.zero_grad()  # a turn leaves gradients in what the others move
        return value.detach(), norm

    def _update(self, batch: Batch) -> dict[str, tuple[Tensor, Tensor]]:
        """One step: every move in its order; the loss and the norm of each turn, of its last move."""
        found = {turn: self._turn(k, turn, batch) for k, turn in enumerate(self.objective.moves)}
        self.step += 1
        self.ema.update(self.product, self.step)
        if self.lead and self.book.folder is not None:
            self.ema.keep(self.book.folder, self.step)
        self.objective.after(self.step, self.ema.model)
        return found

    def _figures(self, found: dict[str, tuple[Tensor, Tensor]]) -> dict:
        """What there is to report after this step: the loss and the gradient of the last turn, and those of the others
        under their names."""
        figures, last = {}, self.objective.turns[-1]
        if self._every(self.training.log_every):
            for turn, (value, norm) in found.items():
                of = "" if turn == last else f"_{turn}"
                mean = float(self.accelerator.reduce(value, "mean"))
                figures |= {f"loss{of}": mean, f"gradient{of}": float(norm)}
            figures |= {"lr": self.training.rate(self.step - 1), "seconds": self.seconds}
        if self._every(self.training.validate_every):
            figures |= self.objective.check(self.ema.model)
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
        if not all(bool(p.isfinite().all()) for p in self.objective.parameters()):
            check_finite(torch.tensor(math.nan), self.objective, self.step - 1)
        first, *others = (optimizer.state_dict() for optimizer in self.optimizers.values())
        state = {"step": self.step, "seconds": self.seconds, "model": trained_state(self.product)}
        state |= {**self.ema.state(), "optimizer": first, "loss": self.objective.state()}
        state |= {"optimizers": others} if others else {}
        state |= {"facts": self.objective.facts}
        checkpoint.save(self.book.checkpoint, state, last=self.step == self.training.steps)
