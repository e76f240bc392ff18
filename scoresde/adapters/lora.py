"""Adapters within a network: what is trained in its place."""

import math
from collections import Counter

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ..errors import InputError
from .adapter import Adapter


class _LowRank(nn.Module):
    """W + U V; U is 0 at first, V normal of variance 1 / n."""

    def __init__(self, weight: Tensor, rank: int, generator: torch.Generator):
        super().__init__()
        out, n = weight.flatten(1).shape
        rank = min(rank, out, n)
        v = torch.randn(rank, n, generator=generator) / math.sqrt(n)
        self.up, self.down = nn.Parameter(weight.new_zeros(out, rank)), nn.Parameter(v.to(weight))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + (self.up @ self.down).reshape(weight.shape)


def adapt(module: nn.Module, rank: int, seed: int = 0) -> nn.Module:
    """Puts an adapter W + U V on the weight of every linear and convolution layer, in place; all else is frozen.

    Of any module, that is: on each `weight` of two axes or more, however many space axes or groups a convolution has;
    tables of embeddings, and weights that have two names or are computed from others, stay as they are.  At first U is
    0, and nothing has changed.

    Hu et al. (2021), arXiv 2106.09685.

    Arguments:
        module: a network, or whatever has networks in it.
        rank: of U V; of a smaller weight, its own.
        seed: of V.

    Returns:
        The module.

    Raises:
        InputError: it has no such layer, or adapters already.
    """
    if own(module):
        raise InputError("the network has adapters already: merge them first")
    names = Counter(id(p) for _, p in module.named_parameters(remove_duplicate=False))
    layers = [layer for layer in module.modules() if _adaptable(layer) and names[id(layer.weight)] == 1]
    if not layers:
        raise InputError(f"lora={rank}: the {type(module).__name__} has no linear or convolution layer", "lora")
    module.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for layer in layers:
        parametrize.register_parametrization(layer, "weight", _LowRank(layer.weight, rank, generator))
    return module


def _adaptable(layer: nn.Module) -> bool:
    weight = layer._parameters.get("weight")
    return weight is not None and weight.ndim > 1 and not isinstance(layer, nn.Embedding | nn.EmbeddingBag)


def _adapted(module: nn.Module) -> dict[str, nn.Module]:
    """The layers with adapters, by the names that they have without torch.compile."""
    found = {}
    for name, layer in module.named_modules():
        if parametrize.is_parametrized(layer, "weight") and isinstance(layer.parametrizations.weight[-1], _LowRank):
            found[name.replace("_orig_mod.", "")] = layer
    return found


def own(module: nn.Module) -> dict[str, nn.Parameter]:
    """The weights of a module's adapters, LAYER.up and LAYER.down; none of a module without."""
    parts = {name: layer.parametrizations.weight[-1] for name, layer in _adapted(module).items()}
    return {f"{name}.{kind}": getattr(part, kind) for name, part in parts.items() for kind in ("up", "down")}


def adapter_of(module: nn.Module) -> Adapter:
    """The adapter in a module, a copy; an empty one of a module without."""
    return Adapter({name: value.detach().clone() for name, value in own(module).items()})


def merge(module: nn.Module) -> nn.Module:
    """Adds the adapters of a module to its weights, in place: a plain network, which answers as it did before."""
    return _removed(module, True)


def strip(module: nn.Module) -> nn.Module:
    """Takes the adapters of a module away, in place: the network of before them."""
    return _removed(module, False)


def _removed(module: nn.Module, keep: bool) -> nn.Module:
    for layer in _adapted(module).values():
        parametrize.remove_parametrizations(layer, "weight", leave_parametrized=keep)
    return module
