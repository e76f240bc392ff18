"""How networks run while they train: compiled, in the layout that convolutions prefer, or without their activations."""

import contextlib
from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from ..denoiser import Preconditioned
from ..errors import InputError
from .settings import Training

LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}


def check(module: nn.Module, training: Training) -> None:
    """Raises `InputError` for a setting of how networks run that finds nothing to work on in a module."""
    for name, found, what in (
        ("compile", _nets, "the network of a Preconditioned"),
        ("channels_last", _weights, "convolutions over two or three axes"),
        ("recompute", _blocks, "the blocks of this package's networks"),
    ):
        if getattr(training, name) and not found(module):
            raise InputError(f"{name}=True: it is for {what}, and there is none", name)


@contextlib.contextmanager
def running(module: nn.Module, training: Training) -> Iterator[None]:
    """Runs the networks in a module as a training's settings say, and leaves all as it was."""
    nets = _nets(module) if training.compile else []
    weights = _weights(module) if training.channels_last else []
    blocks = _blocks(module) if training.recompute else []
    before = [net._compiled_call_impl for net in nets]
    try:
        for net in nets:
            net.compile()
        for p in weights:
            p.data = p.data.contiguous(memory_format=LAYOUTS[p.ndim])
        for block in blocks:
            block.recompute = True
        yield
    finally:
        for net, call in zip(nets, before, strict=True):
            net._compiled_call_impl = call
        for p in weights:
            p.data = p.data.contiguous()
        for block in blocks:
            block.recompute = False


def _nets(module: nn.Module) -> list[nn.Module]:
    return [m.net for m in module.modules() if isinstance(m, Preconditioned)]


def _weights(module: nn.Module) -> list[nn.Parameter]:
    return [p for p in module.parameters() if is_lazy(p) or p.ndim in LAYOUTS]


def _blocks(module: nn.Module) -> list[nn.Module]:
    return [m for m in module.modules() if hasattr(m, "recompute")]
