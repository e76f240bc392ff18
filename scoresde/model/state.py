"""The state of a module by the names of its plain form: torch.compile puts a name of its own in front."""

from collections.abc import Mapping

from torch import Tensor, nn


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
