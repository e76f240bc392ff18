"""Autoencoders that others trained."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..data import Bins, Data
from ..errors import InputError
from ..machine import files
from ..making import node_of
from ..model import TrainedAutoencoder
from ..model.description import FORMAT, about, without_inputs
from ..model.folder import MODEL
from ..model.kept.published import ENDS, state_of, take
from ..model.trained.autoencoder import Autoencoder
from ..model.trained.known import facts
from ..nets import Plain, TinyCodec
from ..settings import Text, checked

PARTS = ("encoder", "decoder")
ENDS_OF = ("0.weight", "14.weight")  # of the encoder: its first layer and its last
LAYOUT = "the tiny autoencoders (nets.TinyCodec)"


@checked
def pretrained(
    data: Data, weights: Text | Path | Sequence[Text | Path], folder: Text | Path | None = None
) -> TrainedAutoencoder:
    """An autoencoder of pictures by weights of others, in local files: one that `latents` takes as its own.

    They are those of a `nets.TinyCodec`, whose channels and latents their shapes say: TAESD and its kin (Bohan, 2023),
    of pictures in [0, 1].  Tensors alone are read, nothing of the files is run.

    Arguments:
        data: pictures with levels, (channels, H, W), both sizes a multiple of 8.
        weights: a folder with a file whose name has "encoder" in it and one with "decoder" (.safetensors, .pth, .pt,
            .bin), or these two files.
        folder: where a model folder of it is written, for `data.autoencoder`; None: nowhere.

    Returns:
        A `TrainedAutoencoder` with a `nets.Plain` bottleneck.

    Raises:
        InputError: pictures that are none of its; files that are not there, of another layout, or damaged.
    """
    if not isinstance(data.space, Bins) or _plain(data.space.scale) != 2 or _plain(data.space.shift) != -1:
        words = "the weights are of pictures with levels, black -1 and white 1"
        raise InputError(f"{data.name} has none of these: {words}")
    paths = _paths(weights)
    states = [state_of(path) for path in paths]
    net = _network(data, states, paths)
    for name, state, path in zip(PARTS, states, paths, strict=True):
        take(getattr(net, name), state, path, f"the {name} of {LAYOUT}")
    made = Autoencoder(net, Plain(net.latent))
    model = TrainedAutoencoder(made, facts(data), 0)
    known = {"format": FORMAT, "kind": "autoencoder", "net": without_inputs(node_of(net), ("shape",))}
    known |= {"bottleneck": node_of(made.bottleneck), "likelihood": False}
    model.about = known | {"loss": {"pretrained": [path.name for path in paths]}, "data": about(data, [])}
    if folder is not None:
        place = Path(folder).expanduser()
        place.mkdir(parents=True, exist_ok=True)
        model.save(place)
        files.write_json(place / MODEL, model.about)
    return model


def _plain(value: float | Tensor) -> float | None:
    return None if torch.is_tensor(value) and value.ndim else float(value)


def _paths(weights: str | Path | Sequence[str | Path]) -> list[Path]:
    """The files of the encoder and of the decoder."""
    if not isinstance(weights, str | Path):
        if len(weights) != 2:
            raise InputError(
                f"weights: give two files, of the encoder and of the decoder, not {len(weights)}", "weights"
            )
        return [Path(path).expanduser() for path in weights]
    place = Path(weights).expanduser()
    there = sorted(path for path in place.glob("*") if path.suffix in ENDS) if place.is_dir() else []
    found = [[path for path in there if name in path.name.lower()] for name in PARTS]
    if [len(part) for part in found] != [1, 1]:
        words = (
            "is no folder" if not place.is_dir() else f"has {len(found[0])} of an encoder, {len(found[1])} of a decoder"
        )
        remedy = f"give a folder with one file each ({', '.join(ENDS)}), or the two files"
        raise InputError(f"weights={weights} {words}: {remedy}", "weights")
    return [part[0] for part in found]


def _network(data: Data, states: Sequence[Mapping[str, Tensor]], paths: Sequence[Path]) -> TinyCodec:
    """The untrained network that the shapes of the encoder's weights say."""
    first, last = (states[0].get(name) for name in ENDS_OF)
    for name, value in zip(ENDS_OF, (first, last), strict=True):
        if value is None or value.ndim != 4:
            words = "it has none" if value is None else f"it is {tuple(value.shape)}"
            raise InputError(f"{paths[0]} holds no weights of the encoder of {LAYOUT}, a {name}: {words}")
    if len(data.shape) != 3 or first.shape[1] != data.shape[0]:
        words = f"{paths[0]} is of pictures of {first.shape[1]} channels, and {data.name} has {data.shape}"
        raise InputError(words)
    return TinyCodec(data.shape, len(last), len(first), any(".pool." in name for name in states[0]))
