"""Averages of a model's weights: exponential ones, and power functions of the step; several at once."""

import copy
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from ..adapters import Adapter, adapter_of, merge
from ..model.kept import weights
from ..model.kept.state import load_trained, plain_state, trained, trained_state
from ..model.trained.known import Known
from . import power, snapshots
from .settings import Training


def copied(module: nn.Module) -> nn.Module:
    """A deep copy; of tensors that were computed from weights (torch's old weight_norm) their present values."""
    derived = [v for m in module.modules() for v in vars(m).values() if torch.is_tensor(v) and not v.is_leaf]
    return copy.deepcopy(module, {id(v): v.detach().clone() for v in derived})


def warmed(decay: float) -> Callable[[int], float]:
    """d of a step, with a warm-up, which keeps the random start out of the average."""
    return lambda step: min(decay, (1 + step) / (10 + step))


class Average:
    """theta_avg <- d theta_avg + (1 - d) theta, d a function of the step 1, 2, ...; of the weights that are trained.

    Averages are in float32 at least, which bfloat16 would round away.
    """

    def __init__(self, model: nn.Module, decay: Callable[[int], float]):
        self.names, self.decay = list(trained(model)), decay
        self.averages = [self._begun(p) for p in trained(model).values()]

    @staticmethod
    def _begun(p: Tensor) -> Tensor:
        return p.detach().to(torch.promote_types(p.dtype, torch.float32), copy=True)

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Takes the weights of `model` after its optimiser's step number `step` (1 is the first)."""
        theirs = [p.to(a.dtype) for a, p in zip(self.averages, trained(model).values(), strict=True)]
        torch._foreach_lerp_(self.averages, theirs, 1 - self.decay(step))

    def state(self) -> dict[str, Tensor]:
        """The averages by the names of their weights."""
        return dict(zip(self.names, self.averages, strict=True))

    @torch.no_grad()
    def load(self, state: dict[str, Tensor]) -> None:
        """Takes what `state` gave.  Raises `RuntimeError` as torch does."""
        for average, name in zip(self.averages, self.names, strict=True):
            average.copy_(state[name])


class EMA(Average):
    """The exponential average, d = `warmed(decay)`, in a module of its own; buffers are copied.

    `model` is a copy in evaluation mode, without gradients.
    """

    def __init__(self, model: nn.Module, decay: float):
        self.model = copied(model).eval().requires_grad_(False)
        super().__init__(self.model, warmed(decay))

    @staticmethod
    def _begun(p: Tensor) -> Tensor:
        return p if p.dtype not in (torch.bfloat16, torch.float16) else p.float()

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        super().update(model, step)
        for mine, average in zip(trained(self.model).values(), self.averages, strict=True):
            if mine is not average:
                mine.copy_(average)
        for mine, buffer in zip(self.model.buffers(), model.buffers(), strict=True):
            mine.copy_(buffer)

    def state(self) -> dict[str, Tensor]:
        """The state of `model`, its weights as they are averaged."""
        return trained_state(self.model) | super().state()

    @torch.no_grad()
    def load(self, state: dict[str, Tensor]) -> None:
        load_trained(self.model, state)
        super().load(state)


class Averages:
    """All averages of a training: the model's own, the others of `train.ema`, and the power functions of snapshots."""

    def __init__(self, model: nn.Module, training: Training):
        self.training = training
        first, *others = training.ema if isinstance(training.ema, tuple | list) else (training.ema,)
        self.own = EMA(model, first)
        self.beside = {str(float(d)): Average(model, warmed(d)) for d in others}
        widths = training.sigma_rel if training.snapshots else ()
        self.powers = {float(s): Average(model, power.decay(power.gamma_of(s))) for s in widths}

    @property
    def model(self) -> nn.Module:
        """The module with the model's own average."""
        return self.own.model

    def update(self, model: nn.Module, step: int) -> None:
        """Takes the weights of `model` after step number `step`."""
        for average in (self.own, *self.beside.values(), *self.powers.values()):
            average.update(model, step)

    def state(self) -> dict:
        """What a checkpoint keeps: `ema`, and `averages` where there are others."""
        others = {name: a.state() for name, a in self._others().items()}
        return {"ema": self.own.state()} | ({"averages": others} if others else {})

    def load(self, state: dict) -> None:
        """Takes what `state` gave.  Raises `RuntimeError` or `KeyError` for what does not fit."""
        self.own.load(state["ema"])
        for name, average in self._others().items():
            average.load(state["averages"][name])

    def _others(self) -> dict[str, Average]:
        return self.beside | {f"power-{s}": a for s, a in self.powers.items()}

    def keep(self, folder: Path, step: int) -> None:
        """Writes a snapshot of the averages by power functions, if one is due."""
        if self.powers and (step % self.training.snapshots == 0 or step == self.training.steps):
            dtype = getattr(torch, self.training.snapshot_dtype)
            snapshots.save(folder, step, {s: a.state() for s, a in self.powers.items()}, dtype)

    def merged(self) -> Adapter | None:
        """The adapter of the model's own average, which is merged; None of weights that were all trained."""
        found = adapter_of(self.model)
        merge(self.model)
        return found if found.layers else None

    def save(self, folder: Path, model: Known) -> None:
        """Keeps the averages beside the model's own, which `load(folder, ema=...)` takes."""
        for name, average in self.beside.items():
            whole = plain_state(self.model) if model.adapter is None else {}
            state = weights.with_space(whole | average.state(), model.space)
            weights.write(weights.average_path(folder, name), state, model.step)
