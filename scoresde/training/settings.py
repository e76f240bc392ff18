"""The settings of a training."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from ..settings import Checked, Count, Positive, Range, Scale, Seed, Whole

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
        ema: the decay of the averaged weights a step.
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
    ema: BelowOne = 0.999
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

    def rate(self, step: int) -> float:
        """The learning rate of a step, 0, 1, ..."""
        return self.lr * min(1, (step + 1) / (self.warmup + 1)) * 0.5 * (1 + math.cos(math.pi * step / self.steps))
