"""An adapter apart from its network."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ..errors import InputError
from ..settings import nearest


class Adapter:
    """Delta W = U V of the weights W of some layers, U (out, r) and V (r, n), with n = W[0].numel().

        a, b = load_adapter("runs/inverted"), load_adapter("runs/rotated")
        model = scoresde.load("runs/base").adapted(0.5 * a + b)

    `0.5 * a` scales Delta W; `a + b` adds it up exactly, by the layer, as an adapter of both ranks together.

    Hu et al. (2021), arXiv 2106.09685.

    Arguments:
        state: LAYER.up, the U of a layer, and LAYER.down, its V.

    Raises:
        InputError: tensors that are no such pairs.
    """

    def __init__(self, state: Mapping[str, Tensor]):
        self.state = {name: value.detach() for name, value in state.items()}
        self.layers = tuple(dict.fromkeys(name.rpartition(".")[0] for name in self.state))
        for layer in self.layers:
            up, down = (self.state.get(f"{layer}.{part}") for part in ("up", "down"))
            if up is None or down is None or up.ndim != 2 or down.ndim != 2 or up.shape[1] != down.shape[0]:
                raise InputError(f"state: layer {layer!r} needs LAYER.up (out, r) and LAYER.down (r, n)", "state")

    @property
    def parameters(self) -> int:
        """How many numbers it has."""
        return sum(value.numel() for value in self.state.values())

    def delta(self, layer: str) -> Tensor:
        """Delta W of a layer, (out, n)."""
        return self.state[f"{layer}.up"] @ self.state[f"{layer}.down"]

    def merged(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The `state` of a network, its weights by their names, with Delta W added to each LAYER.weight.

        Raises `InputError` for a layer that is not there, or is of another shape.
        """
        found = dict(state)
        for layer in self.layers:
            weight = found.get(f"{layer}.weight")
            if weight is None:
                there = [name.removesuffix(".weight") for name in found if name.endswith(".weight")]
                raise InputError(f"the adapter has a layer {layer!r} that the network lacks{nearest(layer, there)}")
            delta = self.delta(layer)
            if tuple(delta.shape) != tuple(weight.flatten(1).shape):
                words = f"the adapter's layer {layer!r} is of a weight {tuple(delta.shape)}"
                raise InputError(f"{words}, and the network's is {tuple(weight.flatten(1).shape)}")
            found[f"{layer}.weight"] = weight + delta.to(weight).reshape(weight.shape)
        return found

    def __mul__(self, scale: float) -> "Adapter":
        return Adapter({k: v * scale if k.endswith(".up") else v for k, v in self.state.items()})

    __rmul__ = __mul__

    def __add__(self, other: "Adapter") -> "Adapter":
        found = {**other.state, **self.state}
        for name in self.state.keys() & other.state.keys():
            axis = int(name.endswith(".up"))
            found[name] = torch.cat([self.state[name], other.state[name].to(self.state[name])], axis)
        return Adapter(found)
