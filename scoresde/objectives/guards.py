"""What a training is not begun with, and what it stops at."""

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from ..data import Data, collate
from ..denoiser import Denoiser, device_of
from ..errors import InputError


@torch.no_grad()
def prepare(denoiser: Denoiser, data: Data) -> None:
    """Gives lazy modules their weights.  Raises `InputError` if there is nothing to train."""
    if any(isinstance(p, UninitializedParameter) for p in denoiser.parameters()):
        first = collate(data.train, [0], denoiser.conditions).to(device_of(denoiser))
        denoiser(data.encode(first.x), denoiser.sde.t_max, first.cond)
    if not any(p.requires_grad for p in denoiser.parameters()):
        raise InputError(
            f"denoiser={type(denoiser).__name__} has no parameters that require gradients: nothing to train"
        )


@torch.no_grad()
def look(denoiser: Denoiser, data: Data) -> None:
    """Asks a denoiser once, before what stands in its place is removed.  Raises `InputError` for a wrong answer."""
    prepare(denoiser, data)
    mode = denoiser.training
    first = collate(data.train, [0], denoiser.conditions).to(device_of(denoiser))
    denoiser.eval()(data.encode(first.x), denoiser.sde.t_max, first.cond)
    denoiser.train(mode)


def check_finite(value: Tensor, product: nn.Module, step: int) -> None:
    """Raises `FloatingPointError` if the loss or a gradient's norm is not finite, and names what is not."""
    if not bool(torch.isfinite(value)):
        bad = (name for name, p in product.named_parameters() if not bool(torch.isfinite(p).all()))
        where = next((f"the weights {name} are not finite" for name in bad), "all weights are finite: look at the data")
        raise FloatingPointError(
            f"the loss or its gradient is not finite at step {step + 1}; {where}; the last checkpoint is kept "
            "(try a smaller lr)"
        )
