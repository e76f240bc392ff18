"""What all networks share."""

from torch import nn

from ..making import recorded


class Network(nn.Module):
    """A network whose arguments are checked against their annotations and kept, so that a folder can make it again.

    A subclass of one's own, `net(x, c)` with annotated arguments, is kept in the same way.
    """

    def __init_subclass__(cls, **options) -> None:
        super().__init_subclass__(**options)
        if "__init__" in cls.__dict__:
            cls.__init__ = recorded(cls.__init__)
