"""A network of one vector for what a sample is told: a text, a label, numbers."""

from collections.abc import Mapping
from typing import Annotated

from torch import Tensor, nn

from ..conditions import Kind, Picture
from ..errors import InputError
from ..making import recorded
from ..settings import Count, Range
from .parts.conditioning import Conditioner


class Reader(nn.Module):
    """One condition as a vector: `net(value)`, value (B, ...) as the kind has it -> (B, outputs).

    It is read as denoisers read it (`Conditioner`): tokens by their kind's transformer, a label by a table; a linear
    layer follows.

    Arguments:
        conditions: the condition's kind, by its name.
        outputs: how many numbers.
        width: of the features before the last layer.

    Raises:
        InputError: several conditions, or a picture.
    """

    @recorded
    def __init__(self, conditions: Mapping[str, Kind], outputs: Count, width: Annotated[int, Range(8, 2**16)] = 128):
        super().__init__()
        if len(conditions) != 1:
            raise InputError(f"conditions={list(conditions)}: give one", "conditions")
        ((self.name, self.kind),) = conditions.items()
        if isinstance(self.kind, Picture):
            raise InputError(
                f"condition {self.name} is a Picture: give a text, a label, tokens or numbers", "conditions"
            )
        self.outputs, self.told, self.leave = outputs, Conditioner(conditions, width), nn.Linear(width, outputs)

    def forward(self, value: Tensor) -> Tensor:
        """(B, outputs) of a value's rows (B, ...)."""
        return self.leave(self.told({self.name: value}, value).vector)
