"""The exponential moving average of a model's weights."""

import copy

import torch
from torch import Tensor, nn

from ..model.state import load_state, plain_name, plain_state


def copied(module: nn.Module) -> nn.Module:
    """A deep copy; of tensors that were computed from weights (torch's old weight_norm) their present values."""
    derived = [v for m in module.modules() for v in vars(m).values() if torch.is_tensor(v) and not v.is_leaf]
    return copy.deepcopy(module, {id(v): v.detach().clone() for v in derived})


class EMA:
    """theta_ema <- d theta_ema + (1 - d) theta, with d = min(decay, (1 + step) / (10 + step)); buffers are copied.

    The warm-up keeps the random start out of the average.  `model` is a copy in evaluation mode, without gradients;
    averages are in float32 at least, which bfloat16 would round away.
    """

    def __init__(self, model: nn.Module, decay: float):
        self.model, self.decay = copied(model).eval().requires_grad_(False), decay
        self.averages = [p if p.dtype not in (torch.bfloat16, torch.float16) else p.float() for p in self._weights()]

    def _weights(self) -> list[Tensor]:
        return list(self.model.parameters())

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Takes the weights of `model` after its optimiser's step number `step` (1 is the first)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        theirs = [p.to(a.dtype) for a, p in zip(self.averages, model.parameters(), strict=True)]
        torch._foreach_lerp_(self.averages, theirs, 1 - decay)
        for mine, average in zip(self._weights(), self.averages, strict=True):
            if mine is not average:
                mine.copy_(average)
        for mine, buffer in zip(self.model.buffers(), model.buffers(), strict=True):
            mine.copy_(buffer)

    def state(self) -> dict[str, Tensor]:
        """The state of `model`, its weights as they are averaged."""
        return plain_state(self.model) | dict(zip(self._names(), self.averages, strict=True))

    @torch.no_grad()
    def load(self, state: dict[str, Tensor]) -> None:
        """Takes what `state` gave.  Raises `RuntimeError` as torch does."""
        load_state(self.model, state)
        for average, name in zip(self.averages, self._names(), strict=True):
            average.copy_(state[name])

    def _names(self) -> list[str]:
        return [plain_name(name) for name, _ in self.model.named_parameters()]
