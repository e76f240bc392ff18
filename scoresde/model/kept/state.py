"""The state of a module by the names of its plain form: torch.compile puts a name of its own in front."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ... import adapters


def plain_state(module: nn.Module) -> dict[str, Tensor]:
    """Its state, by the names that it has without torch.compile."""
    return {plain_name(name): value for name, value in module.state_dict().items()}


def load_state(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Takes what `plain_state` gave, of a compiled module or of a plain one.  Raises `RuntimeError` as torch does."""
    names = {plain_name(name): name for name in module.state_dict()}
    module.load_state_dict({names.get(name, name): value for name, value in state.items()})


def plain_name(name: str) -> str:
    """A name without what torch.compile adds to it."""
    return name.replace("_orig_mod.", "")


def trained(module: nn.Module) -> dict[str, nn.Parameter]:
    """The weights that a training averages, by their plain names: of a module with adapters theirs, else all."""
    return adapters.own(module) or {plain_name(name): p for name, p in module.named_parameters()}


def trained_state(module: nn.Module) -> dict[str, Tensor]:
    """What a training keeps of a module: the state of its adapters, or else of all of it."""
    return {name: p.detach() for name, p in adapters.own(module).items()} or plain_state(module)


@torch.no_grad()
def load_trained(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Takes what `trained_state` gave.  Raises `RuntimeError` as torch does, also for other adapters."""
    own = adapters.own(module)
    if not own:
        load_state(module, state)
    elif {name: p.shape for name, p in own.items()} != {name: value.shape for name, value in state.items()}:
        raise RuntimeError("the adapters have other layers or another rank")
    for name, p in own.items():
        p.copy_(state[name])
