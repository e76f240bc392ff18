"""What all networks share."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

from torch import nn

from ..conditions import Kind
from ..making import recorded


class Network(nn.Module):
    """A network whose arguments are checked against their annotations and kept, so that a folder can make it again.

    A subclass of one's own, `net(x, c)` with annotated arguments, is kept in the same way.  One with `conditions`,
    kinds by their names, is called as `net(x, c, cond)`.  `later` are the arguments that its class did not always have:
    what is said of a network leaves them out at their defaults, so that a folder of before holds the same one.
    """

    conditions: Mapping[str, Kind] = MappingProxyType({})
    later: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **options) -> None:
        super().__init_subclass__(**options)
        if "__init__" in cls.__dict__:
            cls.__init__ = recorded(cls.__init__)
