"""What training needs of accelerate, and what takes its place for one process where it is not installed."""

from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError
from . import launcher


def best_device() -> str:
    """What `device=auto` takes: cuda, mps or cpu, the first that there is."""
    return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"


class Single:
    """One process on one device; `mixed_precision` is "no" or "bf16" (fp16 needs accelerate's scaled gradients).

    Raises `InputError` for fp16.
    """

    is_main_process, process_index, num_processes = True, 0, 1

    def __init__(self, mixed_precision: str, cpu: bool):
        if mixed_precision == "fp16":
            raise InputError("precision=fp16 needs accelerate: pip install accelerate, or say bf16 or no", "precision")
        self.device = torch.device("cpu" if cpu else best_device())
        self.bf16 = mixed_precision == "bf16"

    def prepare(self, model: nn.Module, *optimizers: torch.optim.Optimizer):
        """All, the model's forward under autocast where that is asked for."""
        model.to(self.device)
        if not self.bf16:
            return model, *optimizers

        def forward(*args: Any) -> Tensor:
            with torch.autocast(self.device.type, torch.bfloat16):
                value = model(*args)
            return value if value.dtype == torch.float64 else value.float()

        return forward, *optimizers

    def backward(self, loss: Tensor) -> None:
        """Gradients."""
        loss.backward()

    def clip_grad_norm_(self, parameters, norm: float) -> Tensor:
        """Clips them to a norm, and returns the norm that they had."""
        return nn.utils.clip_grad_norm_(parameters, norm)

    def wait_for_everyone(self) -> None:
        """There is nobody else."""

    def reduce(self, value: Tensor, how: str) -> Tensor:
        """The mean of one."""
        return value


def accelerator(precision: str, cpu: bool, some: bool = False):
    """accelerate's `Accelerator`, or `Single` where there is none; `some`: a forward may use some parameters only."""
    try:
        from accelerate import Accelerator, DistributedDataParallelKwargs
        from accelerate.state import AcceleratorState
    except ModuleNotFoundError:
        if launcher.started() > 1:
            raise
        return Single(precision, cpu)
    AcceleratorState._reset_state()  # one process may train twice, with another precision
    with launcher.hidden():
        handlers = [DistributedDataParallelKwargs(find_unused_parameters=True)] if some else None
        return Accelerator(mixed_precision=precision, cpu=cpu, kwargs_handlers=handlers)
