"""Blocks that may forget what they computed, and compute it again in the backward pass."""

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


class Block(nn.Module):
    """A part of a network of which there are many: where `recompute` is set, it keeps none of its activations.

    Its gradients are the same, to the bit on a CPU, dropout's masks included; a step takes about one forward pass
    longer.  Chen et al. (2016), Training Deep Nets with Sublinear Memory Cost, arXiv 1604.06174.
    """

    recompute = False

    def __call__(self, *args, **named):
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(super().__call__, *args, use_reentrant=False, **named)
        return super().__call__(*args, **named)
