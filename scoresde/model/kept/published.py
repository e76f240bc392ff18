"""Weights that others published, in local files: read as tensors alone, and taken by a network of their layout."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from ...errors import InputError, last_line

ENDS = (".safetensors", ".pth", ".pt", ".bin")


def state_of(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by their names; whole and half precision as float32.

    Raises `InputError` for a file that is not there, holds anything but tensors by names, or numbers that are not
    finite.
    """
    if not path.is_file():
        raise InputError(f"{path} is no file: give the weights of one, {', '.join(ENDS)}")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            found = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # of torch or of safetensors, as it happens to be
        raise InputError(f"{path} is not a file of weights alone ({last_line(error)[:100]})") from None
    if not isinstance(found, Mapping) or not all(isinstance(v, Tensor) for v in found.values()):
        raise InputError(f"{path} holds a {type(found).__name__}: give a file of tensors by their names")
    found = {str(k): v.float() if v.is_floating_point() else v for k, v in found.items()}
    if bad := [name for name, value in found.items() if not value.isfinite().all()]:
        raise InputError(f"{path}: the weights {bad[0]} are not finite")
    return found


def take(net: nn.Module, state: Mapping[str, Tensor], path: Path, what: str) -> None:
    """Gives a network these weights, those of `path`.  Raises `InputError` where they are none of `what`."""
    own = net.state_dict()
    lacks, more = (sorted(a.keys() - b.keys()) for a, b in ((own, state), (state, own)))
    others = [name for name, value in own.items() if name in state and value.shape != state[name].shape]
    if lacks or more or others:
        words = f"it lacks {lacks[0]}" if lacks else f"it has {more[0]} beside them" if more else ""
        if not words:
            shapes = [tuple(part[others[0]].shape) for part in (state, own)]
            words = f"its {others[0]} is {shapes[0]}, not {shapes[1]}"
        raise InputError(f"{path} holds no weights of {what}: {words}")
    net.load_state_dict(dict(state))
