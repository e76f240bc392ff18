"""How parts of a network run: again in the backward pass, or outside of compiled code."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch
from torch import nn

P = ParamSpec("P")
R = TypeVar("R")


class Block(nn.Module):
    """A part of a network of which there are many: where `recompute` is set, it keeps none of its activations.

    Its gradients are the same, to the bit on a CPU, dropout's masks included; a step takes about one forward pass
    longer.  Chen et al. (2016), Training Deep Nets with Sublinear Memory Cost, arXiv 1604.06174.
    """

    recompute = False

    def __call__(self, *args, **named):
        if self.recompute and torch.is_grad_enabled():
            from torch.utils.checkpoint import checkpoint

            return checkpoint(super().__call__, *args, use_reentrant=False, **named)
        return super().__call__(*args, **named)


def eagerly(function: Callable[P, R], *args: P.args, **named: P.kwargs) -> R:
    """function(*args, **named), run as it is within what torch.compile compiles.

    As a decorator, torch's own takes as long to import as all of torch.
    """
    if torch.compiler.is_compiling():
        function = torch.compiler.disable(function)
    return function(*args, **named)
