"""What a network costs: its layers, parameters, operations, and what it keeps for the gradient."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from ..conditions import Kind


@dataclass(frozen=True)
class Layer:
    """A part of a network.

    Arguments:
        name: where it is.
        kind: its class.
        shape: of its answer, without the rows; None where it is no one tensor.
        parameters: how many numbers it learns.
        flops: operations of one row, forward.
    """

    name: str
    kind: str
    shape: tuple[int, ...] | None
    parameters: int
    flops: int


@dataclass(frozen=True)
class Cost:
    """What a network costs.

    Arguments:
        layers: its parts, in the order in which they are called.
        parameters: how many numbers it learns.
        flops: operations of one row, forward; a step of training takes three times as many.
        kept: bytes of one row that wait for the gradient.
        weights: bytes of the parameters.
    """

    layers: tuple[Layer, ...]
    parameters: int
    flops: int
    kept: int
    weights: int

    def memory(self, rows: int) -> int:
        """Bytes of a step of AdamW on so many rows: weights, their gradient, its two moments, their average, and what
        waits for the gradient.

        Arguments:
            rows: of a step.

        Returns:
            Bytes, without what libraries keep for themselves.
        """
        return 5 * self.weights + rows * self.kept


def cost(net: nn.Module, shape: Sequence[int], conditions: Mapping[str, Kind] | None = None) -> Cost:
    """Calls a network once, forward, on one row of zeros.

    Operations are those of matrix products, convolutions and attention, two for each multiplication with its sum, as
    torch.utils.flop_counter counts them; what else there is takes time, and is not counted.

    Arguments:
        net: net(x, c), or net(x, c, cond) with `conditions`.
        shape: of x, without the rows.
        conditions: kinds by name, which are given as missing.

    Returns:
        What it costs.
    """
    from torch.utils.flop_counter import FlopCounterMode

    like = next((p for p in net.parameters() if p.is_floating_point()), torch.zeros(()))
    x, c = torch.zeros(1, *shape, dtype=like.dtype, device=like.device), torch.zeros(1, device=like.device)
    given = ({name: kind.missing(1, like.device) for name, kind in conditions.items()},) if conditions else ()
    shapes: dict[str, tuple[int, ...] | None] = {}
    parts = dict(_parts(net))

    def watch(name: str):
        def hook(module, inputs, out) -> None:
            shapes.setdefault(name, tuple(out.shape[1:]) if torch.is_tensor(out) else None)

        return hook

    hooks = [part.register_forward_hook(watch(name)) for name, part in parts.items()]
    mode = net.training
    try:
        with FlopCounterMode(display=False) as counter, _Kept(net) as kept:
            net.eval()(x, c, *given)
    finally:
        net.train(mode)
        for hook in hooks:
            hook.remove()
    counts, root = counter.get_flop_counts(), type(net).__name__
    layers = tuple(
        Layer(name, type(parts[name]).__name__, shape, _size(parts[name]), _sum(counts.get(f"{root}.{name}")))
        for name, shape in shapes.items()
    )
    weights = sum(p.numel() * p.element_size() for p in net.parameters())
    return Cost(layers, _size(net), _sum(counts["Global"]), kept.bytes, weights)


def _parts(net: nn.Module, before: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The children by their names; of a list of parts, each."""
    for name, part in net.named_children():
        if isinstance(part, nn.ModuleList | nn.ModuleDict):
            yield from _parts(part, f"{before}{name}.")
        else:
            yield f"{before}{name}", part


def _sum(flops: Mapping | None) -> int:
    return sum((flops or {}).values())


def _size(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


class _Kept(saved_tensors_hooks):
    """Counts the bytes that wait for the gradient, each memory once, the parameters' apart."""

    def __init__(self, net: nn.Module):
        self.bytes, self.seen = 0, {p.untyped_storage().data_ptr() for p in net.parameters()}
        super().__init__(self._pack, lambda x: x)

    def _pack(self, x: Tensor) -> Tensor:
        where = x.untyped_storage().data_ptr()
        if where not in self.seen:
            self.seen.add(where)
            self.bytes += x.untyped_storage().nbytes()
        return x

    def __enter__(self) -> "_Kept":
        super().__enter__()
        return self
