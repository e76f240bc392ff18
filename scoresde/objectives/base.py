"""What an objective is."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from ..conditions import Kind
from ..data import Batch, Data
from ..errors import InputError
from ..model.kept.state import load_state, plain_state


class Objective(nn.Module, ABC):
    """What one training minimises; its children with gradients are trained, frozen ones are used.

    `product` is what is averaged and given back.  `turns` are the names of those who move, each with an optimizer of
    its own: one, or several that take turns in every step, as a critic and a generator do.  `takes` are the names of
    the conditions that its batches have.

    A step is a function of (seed, step): all its random numbers come from `draw`, which several processes call alike
    for the whole batch, each of them keeping its `part`.  `state` is what must be kept beside the product's weights.
    """

    turns: ClassVar[tuple[str, ...]] = ("",)
    product: nn.Module
    takes: tuple[str, ...] = ()

    def train(self, mode: bool = True) -> "Objective":
        """As torch's, but that frozen children, which are used and not trained, stay in evaluation mode."""
        super().train(mode)
        for part in self.children():
            own = list(part.parameters())
            if own and not any(p.requires_grad for p in own):
                part.eval()
        return self

    @property
    def moves(self) -> tuple[str, ...]:
        """Who moves in a step, in this order: each of `turns` once, or one of a faster time scale several times.

        A step is one batch and, at its end, one step of the average, whoever moves how often in it; a turn draws anew
        at each of its moves, and takes them all at its `rate`.  Checkpoints stand between steps.
        """
        return self.turns

    def rate(self, turn: str) -> float:
        """What the step's learning rate is multiplied by for this turn: 1, but for a player of another time scale."""
        return 1.0

    def trained(self, turn: str) -> list[nn.Parameter]:
        """The parameters that the optimizer of this turn moves."""
        return list(self.product.parameters())

    @classmethod
    def asks(cls, shape: Sequence[int], **settings: Any) -> dict[str, Kind]:
        """The conditions, by name, that a network of data of a shape must take beside theirs for these settings."""
        return {}

    @abstractmethod
    def draw(self, batch: Batch, size: int, part: slice, turn: str) -> Any:
        """The random numbers of a step, by torch's generator, with its items.

        Arguments:
            batch: the items of this process, raw.
            size: of the whole batch, over all processes.
            part: which rows of it these are.
            turn: who moves, one of `turns`.

        Returns:
            What `forward` takes.
        """

    @abstractmethod
    def forward(self, drawn: Any, turn: str) -> Tensor:
        """The loss of each row (B,), from what was drawn, for this turn."""

    def others(self, data: Data) -> Sequence[Dataset]:
        """The training items of other shapes (`Data.buckets`) that batches are of too.

        Raises `InputError` where the data has some, and this objective is of items of one shape.
        """
        if data.buckets:
            words = f"{type(self).__name__} is of items of one shape, and {data.name} has {len(data.buckets) + 1}"
            raise InputError(f"{words}: say aspect=1")
        return ()

    def check_length(self, steps: int) -> None:
        """Raises `InputError` for a training of so many steps that ends before what it makes is there."""
        return None

    def within(self, folder: Path | None) -> None:
        """Is told the folder of its training, None where nothing is kept, before `begin`."""
        return None

    def averaged(self, average: nn.Module) -> None:
        """Is told the average of the product, which follows it in place, before the first step of a training."""
        return None

    def after(self, step: int, average: nn.Module) -> None:
        """Runs when step number `step` (1 is the first) has been made, with the average of the product so far."""
        return None

    @abstractmethod
    def begin(self, device: torch.device) -> None:
        """Gives lazy parts their weights, on the device, and draws what `check` looks at."""

    def check(self, average: nn.Module) -> dict[str, Any]:
        """Figures of the average, the averaged product, on held-out data with fixed numbers."""
        return {}

    def several(self, add_up: Callable[[Tensor], Any]) -> None:
        """Is told, of several processes, how a tensor is summed over them in place: `add_up(tensor)`."""
        return None

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps beside the product, tensors by name.

        All children with gradients, a critic's say, unless a subclass says what else learns, such as a target.
        """
        return named(self._beside())

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Takes the state that `state` gave.  Raises `RuntimeError` as torch does."""
        load_named(self._beside(), state)

    def _beside(self) -> list[tuple[str, nn.Module]]:
        others = ((name, part) for name, part in self.named_children() if part is not self.product)
        return [(name, part) for name, part in others if any(p.requires_grad for p in part.parameters())]

    @abstractmethod
    def look(self) -> None:
        """Asks all parts once, before anything is removed or begun.  Raises `InputError` for a wrong answer."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What makes the product, as plain data: its kind, its parts and their settings."""

    @abstractmethod
    def made(self, average: nn.Module, step: int) -> Any:
        """The model of the average, the averaged product, at a step, as `load` gives it: it has `save(folder)`."""

    @abstractmethod
    def load(self, folder: Path) -> Any:
        """The finished model of a folder, with the weights in the product."""

    @property
    def facts(self) -> dict[str, Any]:
        """Plain types and tensors that a checkpoint keeps, to be used without the data."""
        return {}


def named(parts: Iterable[tuple[str, nn.Module]]) -> dict[str, Tensor]:
    """The states of several parts by their names: for `Objective.state`."""
    return {f"{name}.{key}": value for name, part in parts for key, value in plain_state(part).items()}


def load_named(parts: Iterable[tuple[str, nn.Module]], state: dict[str, Tensor]) -> None:
    """Takes what `named` gave."""
    for name, part in parts:
        own = {k.removeprefix(f"{name}."): v for k, v in state.items() if k.startswith(f"{name}.")}
        load_state(part, own)
