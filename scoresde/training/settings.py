"""The settings of a training."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from ..errors import InputError
from ..settings import LATER, Checked, Count, Positive, Range, Scale, Seed, Text, Whole
from .power import Width

BelowOne = Annotated[float, Range(0, below=1)]


@dataclass(frozen=True)
class Training(Checked):
    """The settings of a training: AdamW with a linear warm-up and a cosine decay to 0, and averaged weights.

    Arguments:
        steps: of the optimizer.
        batch_size: items a step, over all processes.
        lr: the learning rate after the warm-up.
        betas, weight_decay: AdamW's.
        warmup: steps in which the rate rises.
        clip: the largest norm of the gradient; infinite: none.
        ema: the decay of the averaged weights a step; of several the first is the model's.
        snapshots: steps between two snapshots of averages by powers of the step, of which `task=ema` makes others; 0:
            none are kept.
        sigma_rel: the widths of those averages, shares of the steps (`training.power`).
        snapshot_dtype: the type in which snapshots are written; averages are in float32 always.
        start: the folder of a trained model, with whose weights it begins; of a command also the words that train it.
        lora: the rank of adapters, which alone are trained, on top of `start`; None: all weights are.
        only: a word; weights whose names have it are trained, and all others stay as they begin; None: all are.
        seed: of all random numbers.
        precision: accelerate's, "no", "bf16" or "fp16".
        dequantise: of discrete data: "uniform" within its bin, anew at each step, or "none", the middle of the bin.
        workers: processes that read items; 0: this one.
        compile: run the network by torch.compile, which takes a minute or two to begin.
        channels_last: convolutions keep the channels of a pixel side by side: faster on a GPU in bf16, seldom on a CPU.
        recompute: blocks keep no activations, and compute them again in the backward pass (gradient checkpointing):
            less memory, a step about a third longer.
        validate_every, checkpoint_every, log_every: steps between two validations, checkpoints and lines of figures.

    Raises:
        InputError: settings out of range.
    """

    steps: Count = 1000
    batch_size: Count = 128
    lr: Positive = 2e-3
    betas: tuple[BelowOne, BelowOne] = (0.9, 0.99)
    weight_decay: Scale = 0.01
    warmup: Whole = 100
    clip: Annotated[float, Range(above=0, high=math.inf)] = 1.0
    ema: BelowOne | Annotated[tuple[BelowOne, ...], "a number from 0 on and below 1, or a list of such"] = 0.999
    snapshots: Annotated[Whole, LATER] = 0
    sigma_rel: Annotated[tuple[Width, ...], LATER] = (0.05, 0.1, 0.2)
    snapshot_dtype: Annotated[Literal["float32", "float16"], LATER] = "float32"
    start: Text | tuple[Text, ...] | None = None
    lora: Annotated[Count | None, LATER] = None
    only: Annotated[Text | None, LATER] = None
    seed: Seed = 0
    precision: Literal["no", "bf16", "fp16"] = "no"
    dequantise: Literal["uniform", "none"] = "uniform"
    workers: Annotated[int, Range(0, 512)] = 0
    compile: bool = False
    channels_last: bool = False
    recompute: bool = False
    validate_every: Count = 200
    checkpoint_every: Count = 100
    log_every: Count = 10

    def __post_init__(self):
        super().__post_init__()
        for name, least in (("ema", 1), ("sigma_rel", int(self.snapshots > 0))):
            several = getattr(self, name)
            if isinstance(several, tuple | list) and len(set(several)) < max(least, len(several)):
                raise InputError(f"{name}={list(several)}: give at least one, and none twice", name)

    def rate(self, step: int) -> float:
        """The learning rate of a step, 0, 1, ..."""
        return self.lr * min(1, (step + 1) / (self.warmup + 1)) * 0.5 * (1 + math.cos(math.pi * step / self.steps))
