"""Training by denoising score matching: the whole loop."""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from .. import noise
from ..data import Data, from_tensor, stack
from ..denoiser import Denoiser
from ..errors import InputError
from ..loss import DenoisingLoss
from . import checkpoint, processes, signals
from .ema import EMA
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


class _Objective(nn.Module):
    """The loss as a module's forward, so that accelerate's wrappers (precision, processes) see all of it."""

    def __init__(self, denoiser: Denoiser, loss: DenoisingLoss):
        super().__init__()
        self.denoiser, self.loss = denoiser, loss
        # Times that learn go to the device, and among processes follow the first one's.
        self.times = loss.times if isinstance(loss.times, nn.Module) else None

    def forward(self, x0: Tensor) -> Tensor:
        return self.loss(self.denoiser, x0).mean()


class Validation:
    """The loss on fixed test data, times and noise, the times stratified; also its means in 8 bins of the times.

    It keeps a copy of the loss as it is given: times that learn would not be fixed.
    """

    def __init__(
        self,
        data: Data,
        loss: DenoisingLoss,
        denoiser: Denoiser,
        device: torch.device,
        n: int = 512,
        dequantise: str = "uniform",
    ):
        n, loss = min(n, len(data.test)), copy.deepcopy(loss)
        raw, index = stack(data.test, range(n)), torch.arange(n)
        u = noise.uniform(raw.float(), index, 0, 0) if dequantise == "uniform" else None
        self.x0 = data.encode(raw, u).to(device)
        self.eps = noise.normal(self.x0, index.to(device), 0, 1, 0)
        # Strata are dealt out in a fixed order that does not follow the data's.
        strata = torch.randperm(n, generator=torch.Generator().manual_seed(0))
        self.t = loss.place((strata + 0.5) / n, denoiser.sde).to(device)
        self.bins, self.loss = strata * 8 // n, loss

    @torch.no_grad()
    def __call__(self, denoiser: Denoiser) -> tuple[float, list[float]]:
        parts = zip(self.x0.split(256), self.t.split(256), self.eps.split(256), strict=True)
        losses = torch.cat([self.loss.at(denoiser, *part) for part in parts]).cpu()
        return float(losses.mean()), [float(losses[self.bins == b].mean()) for b in range(8) if (self.bins == b).any()]


def train(
    denoiser: Denoiser,
    data: Data | Tensor,
    loss: DenoisingLoss | None = None,
    training: Training | None = None,
    folder: str | Path | None = None,
    report: Callable[..., None] | None = None,
    device: str = "auto",
    facts: dict | None = None,
    **options,
) -> Denoiser:
    """Minimises the denoising loss E[w(t) |D(x_t, t) - x_0|^2] and returns the averaged denoiser, ready to sample.

    `data` is a `Data` or a tensor (N, *shape) in the model's own units (about unit variance).  `options` are fields of
    `Training`.  With `folder`, checkpoint.pt is written there every `checkpoint_every` steps, and a run that finds one
    continues it, or returns it if it is finished: on a CPU the same weights as of one run, to the bit.  SIGTERM and
    SIGINT wait for the end of the step (of several processes, of the next logged one) and one more checkpoint.
    `report(step, **figures)` gets the figures.  Items are dequantised afresh at each step.  `loss` is not changed:
    times that learn do so in a copy.  `facts` are plain values kept in the checkpoint.

    Raises `InputError` for wrong settings, `FloatingPointError` when the loss stops being finite.
    """
    if training is not None and options:
        raise InputError(f"train got both `training` and {', '.join(options)}: put all of them into `training`")
    training = training or Training(**options)
    loss = copy.deepcopy(loss or DenoisingLoss())  # times may learn, and the next run begins where this one did
    data = from_tensor(data, standardize=None) if torch.is_tensor(data) else data
    report = report or (lambda step, **figures: None)
    path = None if folder is None else Path(folder) / "checkpoint.pt"
    processes.join(device)
    accelerator = _accelerator(training.precision, processes.on_cpu(device))
    device, lead = accelerator.device, accelerator.is_main_process
    denoiser.to(device).train()
    ema = EMA(denoiser, training.ema)
    optimizer = torch.optim.AdamW(
        denoiser.parameters(), training.lr, training.betas, weight_decay=training.weight_decay
    )
    validation = Validation(data, loss, denoiser, device, dequantise=training.dequantise)
    step, seconds = 0, 0.0
    if path is not None and lead:
        checkpoint.mend(path)
    accelerator.wait_for_everyone()
    if path is not None and path.exists():
        state = checkpoint.load(path, device, ("step", "seconds", "model", "ema", "optimizer"))
        try:
            denoiser.load_state_dict(state["model"])
            ema.model.load_state_dict(state["ema"])
            optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError) as error:
            raise InputError(f"{path} holds another network: give another folder, or remove it") from error
        loss.load_state(state.get("loss", {}))
        step, seconds = state["step"], state["seconds"]
    model, optimizer = accelerator.prepare(_Objective(denoiser, loss), optimizer)
    encode = data.dequantize if training.dequantise == "uniform" else data.encode
    rank, ranks = accelerator.process_index, accelerator.num_processes
    loader = batches(
        data.train, training.batch_size, training.seed, step, training.steps, rank, ranks, training.workers
    )
    check_every = 1 if device.type == "cpu" else training.log_every  # reading a loss from a GPU waits for it

    def save() -> None:
        if path is not None and lead:
            if not all(bool(p.isfinite().all()) for p in denoiser.parameters()):
                _check(torch.tensor(math.nan), denoiser, step - 1)
            state = {"step": step, "seconds": seconds, "model": denoiser.state_dict(), "ema": ema.model.state_dict()}
            state |= {"optimizer": optimizer.state_dict(), "loss": loss.state(), "facts": facts or {}}
            checkpoint.save(path, state, last=step == training.steps)

    began = time.perf_counter() - seconds
    generators = torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])
    with generators, signals.held() as signal:
        for raw in told(loader):
            torch.manual_seed(seed_of(training.seed, step, rank, 1))
            for group in optimizer.param_groups:
                group["lr"] = training.rate(step)
            value = model(encode(raw.to(device, non_blocking=True)))
            accelerator.backward(value)
            norm = accelerator.clip_grad_norm_(denoiser.parameters(), training.clip)
            saves = (step + 1) % training.checkpoint_every == 0 or step + 1 == training.steps
            if saves or step % check_every == 0:
                # Under fp16 accelerate scales the loss, and skips the steps whose gradients overflow.
                _check(value if training.precision == "fp16" else value + 0 * norm, denoiser, step)
            optimizer.step()
            optimizer.zero_grad()
            step += 1
            ema.update(denoiser, step)
            seconds = time.perf_counter() - began
            figures = {}
            if step % training.log_every == 0 or step == training.steps:
                figures = {
                    "loss": float(value.detach()),
                    "gradient": float(norm),
                    "lr": training.rate(step - 1),
                    "seconds": seconds,
                }
            if step % training.validate_every == 0 or step == training.steps:
                figures["validation"], figures["validation_by_level"] = validation(ema.model)
            if figures and lead:
                report(step, **figures)
            if saves:
                save()
            # Several processes end at the same step, which they agree on where they wait for each other anyway.
            asked = signal.number if ranks == 1 else 0
            if ranks > 1 and step % training.log_every == 0:
                asked = processes.most(signal.number, device)
            if asked:
                if not saves:
                    save()
                signal.deliver(asked)
    return ema.model


def _accelerator(precision: str, cpu: bool):
    try:
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState
    except ModuleNotFoundError:
        if processes.started() > 1:
            raise
        return Single(precision, cpu)
    AcceleratorState._reset_state()  # one process may train twice, with another precision
    return Accelerator(mixed_precision=precision, cpu=cpu)


def _check(value: Tensor, denoiser: Denoiser, step: int) -> None:
    if not bool(torch.isfinite(value)):
        bad = (name for name, p in denoiser.named_parameters() if not bool(torch.isfinite(p).all()))
        where = next((f"the weights {name} are not finite" for name in bad), "all weights are finite: look at the data")
        raise FloatingPointError(
            f"the loss or its gradient is not finite at step {step + 1}; {where}; the last checkpoint is kept "
            "(try a smaller train.lr)"
        )
