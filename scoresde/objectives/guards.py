"""What a training is not begun with, and what it stops at."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from ..conditions import Kind, of_items
from ..data import Data, collate
from ..denoiser import device_of
from ..errors import InputError
from ..model.kinds import KINDS


@torch.no_grad()
def prepare(product: nn.Module, data: Data) -> None:
    """Gives lazy modules of what is trained their weights.  Raises `InputError` if nothing is to train."""
    if any(isinstance(p, UninitializedParameter) for p in product.parameters()):
        _ask(product, data)
    if not any(p.requires_grad for p in product.parameters()):
        word = next((k for k, kind in KINDS.items() if isinstance(product, kind.bare)), "product")
        raise InputError(f"{word}={type(product).__name__} has no parameters that require gradients: nothing to train")


@torch.no_grad()
def look(product: nn.Module, data: Data) -> None:
    """Asks it once, before what stands in its place is removed.  Raises `InputError` for a wrong answer."""
    prepare(product, data)
    mode = product.training
    _ask(product.eval(), data)
    product.train(mode)


def _ask(product: nn.Module, data: Data) -> None:
    names = of_items(getattr(product, "conditions", {}))
    first = collate(data.train, [0], names).to(device_of(product))
    product(data.encode(first.x), product.sde.t_max, *([first.cond] if names else []))


@torch.no_grad()
def check_shapes(product: nn.Module, data: Data) -> None:
    """Raises `InputError` for what is trained if it does not take items of one of the other shapes of the data."""
    names, mode = of_items(getattr(product, "conditions", {})), product.training
    product.eval()
    for items in data.buckets:
        first = collate(items, [0], names).to(device_of(product))
        try:
            product(data.encode(first.x), product.sde.t_max, *([first.cond] if names else []))
        except (RuntimeError, ValueError) as error:
            shape, net = tuple(first.x.shape[1:]), type(getattr(product, "net", product)).__name__
            words = f"{net} takes items of {tuple(data.shape)} and none of {shape}, which {data.name} has too"
            raise InputError(f"{words}: choose net=unet, or aspect=1", "net") from error
    product.train(mode)


def refuse_other_conditions(conditions: Mapping[str, Kind], data: Data) -> None:
    """Raises `InputError` for conditions of a model that the data has not, or has of another kind."""
    for name, kind in of_items(conditions).items():
        there = data.conditions.get(name)
        if there is None:
            known = f"it has {', '.join(data.conditions)}" if data.conditions else "its items come with none"
            known = f"say data.including([{name!r}])" if name in data.more else known
            raise InputError(f"condition {name!r} is not in {data.name}: {known}", "cond")
        if not there.fits(kind):
            other = " of another tokenizer or encoder" if str(there) == str(kind) else ""
            raise InputError(f"condition {name} is {there} in {data.name}, and the model takes {kind}{other}", "cond")


def check_finite(value: Tensor, objective: nn.Module, step: int, turn: str = "") -> None:
    """Raises `FloatingPointError` if the loss or a gradient's norm is not finite, and names what is not."""
    if not bool(torch.isfinite(value)):
        bad = (name for name, p in objective.named_parameters() if not bool(torch.isfinite(p).all()))
        where = next(
            (f"the weights {name.removeprefix('product.')} are not finite" for name in bad),
            "all weights are finite: look at the data",
        )
        raise FloatingPointError(
            f"the {f'{turn} ' if turn else ''}loss or its gradient is not finite at step {step + 1}; {where}; the last "
            "checkpoint is kept (try a smaller lr)"
        )
