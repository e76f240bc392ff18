"""What all networks share."""

from collections.abc import Mapping
from types import MappingProxyType

from torch import Tensor, nn

from ..conditions import Kind
from ..making import recorded


class Network(nn.Module):
    """A network whose arguments are checked against their annotations and kept, so that a folder can make it again.

    A subclass of one's own, `net(x, c)` with annotated arguments, is kept in the same way.  One with `conditions`,
    kinds by their names, is called as `net(x, c, cond)`.
    """

    conditions: Mapping[str, Kind] = MappingProxyType({})

    def __init_subclass__(cls, **options) -> None:
        super().__init_subclass__(**options)
        if "__init__" in cls.__dict__:
            cls.__init__ = recorded(cls.__init__)

    def forward(self, x: Tensor, c: Tensor, cond: Mapping[str, Tensor] | None = None) -> Tensor:
        """The answer of the network.

        Arguments:
            x: (B, C, *space), or (B, *shape) of a network of any shape.
            c: log(sigma / alpha) (B,).
            cond: tensors by name with B rows each; what is absent is missing.

        Returns:
            Like x, its first axis `outputs` times as long in a network that has them.

        Raises:
            NotImplementedError: a class that does not write it.
        """
        raise NotImplementedError(f"{type(self).__name__} has no forward(x, c)")
