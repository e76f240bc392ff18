"""The perceptual distance by features and weights of channels that others published: LPIPS."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import InputError
from ...model.kept.published import ENDS, state_of
from ...settings import Text, checked
from .losses import Perceptual

# Layers of torchvision's networks by their numbers: of a convolution its padding (and stride), of a pooling its size.
# A map is what comes after the last relu before each pooling, and of AlexNet after every relu.
VGG, ALEX = "VGG16", "AlexNet"
CONVOLUTIONS = {
    VGG: dict.fromkeys((0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28), (1, 1)),
    ALEX: {0: (2, 4), 3: (2, 1), 6: (1, 1), 8: (1, 1), 10: (1, 1)},
}
POOLED = {VGG: ({4, 9, 16, 23}, 2), ALEX: ({2, 5}, 3)}  # the places of a pooling, and its size; its stride is 2
TOLD = {VGG: (2, 7, 14, 21, 28), ALEX: (0, 3, 6, 8, 10)}  # the convolutions whose relus are maps
LEAST = {VGG: 16, ALEX: 31}  # pixels a side
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # by which the networks see pictures in [-1, 1]


class Maps(nn.Module):
    """The maps (B, C_l, H_l, W_l) of pictures x (B, 1 or 3, H, W) in [-1, 1] by the frozen convolutions of a network.

    Simonyan, Zisserman (2015), arXiv 1409.1556 (VGG16); Krizhevsky, Sutskever, Hinton (2012) (AlexNet); of the weights
    whatever lies behind the last convolution is not used.

    Arguments:
        kind: "VGG16" or "AlexNet".
        state: weights by torchvision's names, features.0.weight, features.0.bias, ...
    """

    def __init__(self, kind: str, state: Mapping[str, Tensor]):
        super().__init__()
        self.kind = kind
        for k in CONVOLUTIONS[kind]:
            for part in ("weight", "bias"):
                self.register_buffer(f"{part}{k}", state[f"features.{k}.{part}"], persistent=False)
        shift, scale = (torch.tensor(v).reshape(1, 3, 1, 1) for v in (SHIFT, SCALE))
        self.register_buffer("shift", shift, persistent=False)
        self.register_buffer("scale", scale, persistent=False)

    def forward(self, x: Tensor) -> list[Tensor]:
        x, found = (x - self.shift) / self.scale, []
        pooled, size = POOLED[self.kind]
        for k in range(max(CONVOLUTIONS[self.kind]) + 1):
            if k in pooled:
                x = F.max_pool2d(x, size, 2)
            elif k in CONVOLUTIONS[self.kind]:
                padding, stride = CONVOLUTIONS[self.kind][k]
                x = F.relu(F.conv2d(x, getattr(self, f"weight{k}"), getattr(self, f"bias{k}"), stride, padding))
                found += [x] if k in TOLD[self.kind] else []
        return found


@checked
def lpips(weights: Text | Path, shape: Sequence[int] | None = None) -> Perceptual:
    """The perceptual distance LPIPS, by weights in local files.

    They are a network's as torchvision names them, VGG16's or AlexNet's (features.0.weight, ...), and those of the
    channels of its maps as the package lpips does (lin0.model.1.weight, ...).

    Zhang, Isola, Efros, Shechtman, Wang (2018), arXiv 1801.03924.  Nothing is downloaded, and tensors alone are read.

    Arguments:
        weights: a file (.safetensors, .pth, .pt, .bin) that has both, or a folder of files that have them together.
        shape: (C, H, W) of the pictures that it is for; None: they are not looked at.

    Returns:
        A `Perceptual` of pictures in [-1, 1].

    Raises:
        InputError: files that are not there or hold something else; pictures that are too small, or of other channels
            than 1 or 3.
    """
    place = Path(weights).expanduser()
    paths = sorted(path for path in place.glob("*") if path.suffix in ENDS) if place.is_dir() else [place]
    state = {}
    for path in paths:
        found = state_of(path)
        if both := sorted(state.keys() & found.keys()):
            raise InputError(f"weights={weights}: two of its files have {both[0]}: leave one in it", "weights")
        state |= found
    kind = VGG if "features.28.weight" in state else ALEX
    net, heads = _parts(weights, kind, state)
    if shape is not None and (len(shape) != 3 or shape[0] not in (1, 3) or min(shape[1:]) < LEAST[kind]):
        words = f"takes pictures of 1 or 3 channels, {LEAST[kind]} pixels a side at least"
        raise InputError(f"weights={weights}: {kind} {words}: these are {tuple(shape)}", "weights")
    return Perceptual(net, heads)


def _parts(weights: str | Path, kind: str, state: Mapping[str, Tensor]) -> tuple[Maps, list[Tensor]]:
    """The network, and the weights of the channels of each map."""
    names = [f"features.{k}.{part}" for k in CONVOLUTIONS[kind] for part in ("weight", "bias")]
    heads = [f"lin{layer}.model.1.weight" for layer in range(len(TOLD[kind]))]
    if lacks := [name for name in (*names, *heads) if name not in state]:
        words = f"LPIPS of {kind} takes torchvision's features.0.weight, ... and lpips' lin0.model.1.weight, ..."
        raise InputError(f"weights={weights} has no {lacks[0]}: {words}", "weights")
    width, channels = 3, []
    for k in CONVOLUTIONS[kind]:
        shape = state[f"features.{k}.weight"].shape
        if len(shape) != 4 or shape[1] != width or state[f"features.{k}.bias"].shape != shape[:1]:
            raise InputError(f"weights={weights}: features.{k} is {tuple(shape)}, behind {width} channels", "weights")
        width = shape[0]
        channels += [width] if k in TOLD[kind] else []
    for name, count in zip(heads, channels, strict=True):
        if state[name].numel() != count:
            words = f"{name} is {tuple(state[name].shape)}, of a map of {count} channels"
            raise InputError(f"weights={weights}: {words}", "weights")
    return Maps(kind, state), [state[name].flatten() for name in heads]
