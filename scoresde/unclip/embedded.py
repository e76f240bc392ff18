"""Data of embeddings: as items, for a prior, or beside the items, for a decoder."""

import dataclasses
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..conditions import Vector
from ..conditions.base import Drop
from ..data import Affine, Data, Tensors, stack
from ..data.items import Beside, held
from ..errors import InputError
from ..model import TrainedClip
from ..model.kept.splits import splits
from ..model.named import named, same_items
from ..settings import Text, checked

BATCH = 128  # pictures that are looked at at once: of 1000 each takes five times as long on a CPU


@runtime_checkable
class Embedder(Protocol):
    """What gives embeddings of pictures (B, `size`), as a `Clip` does."""

    def of_picture(self, x: Tensor) -> Tensor:
        """The embeddings of pictures x (B, C, *space), in the model's space."""


@checked
def embeddings(data: Data, clip: Text | Path | Embedder, folder: Text | Path | None = None) -> Data:
    """Data whose items are the CLIP's embeddings of the pictures, with what those come with: what a prior learns.

    In the model's space they have mean 0 and, over all their numbers, mean square 1.

    Arguments:
        data: of pictures.
        clip: a `TrainedClip`, its folder, or what has of_picture(x), `size` and, for a `folder`, `weights`.
        folder: where the embeddings are kept for the next time; None: they are computed now.

    Returns:
        A `Data` of shape (E,).

    Raises:
        InputError: a CLIP of other pictures.
    """
    train, test = _both(data, clip, folder)
    mean = train.double().mean(0)
    scale = 1 / float((train.double() - mean).square().mean().sqrt().clamp_min(1e-12))
    names = [*data.conditions]
    parts = [
        Tensors(x, cond={name: held(part, name) for name in names})
        for x, part in ((train, data.train), (test, data.test))
    ]
    return Data(f"{data.name} embeddings", *parts, Affine(scale, -scale * mean), conditions=dict(data.conditions))


@checked
def embedded(
    data: Data,
    clip: Text | Path | Embedder,
    name: Text = "embedding",
    folder: Text | Path | None = None,
    drop: Drop = 0.1,
) -> Data:
    """The data, whose items come with the CLIP's embedding of each as one more condition: what a decoder learns.

    Arguments:
        data, clip, folder: as in `embeddings`.
        name: of the condition, a `Vector`.
        drop: the chance with which training takes it away.

    Returns:
        A `Data` of the same items.

    Raises:
        InputError: a CLIP of other pictures; a condition of that name that is there already.
    """
    if name in data.conditions:
        raise InputError(f"name={name!r}: the items of {data.name} have a condition of that name", "name")
    train, test = _both(data, clip, folder)
    beside = lambda part, value: Beside(part, {k: held(part, k) for k in data.conditions} | {name: value})
    mean, std = train.double().mean(0), train.double().std(0).clamp_min(1e-6)
    kinds = dict(data.conditions) | {name: Vector(train.shape[1], tuple(mean.tolist()), tuple(std.tolist()), drop=drop)}
    return dataclasses.replace(data, train=beside(data.train, train), test=beside(data.test, test), conditions=kinds)


def _both(data: Data, clip: Any, folder: str | Path | None) -> tuple[Tensor, Tensor]:
    """The embeddings (N, E) of both splits, float32, read from the folder if they are there."""
    said = f"clip={clip}" if isinstance(clip, str | Path) else "clip"
    clip = named("clip", clip, TrainedClip) if isinstance(clip, str | Path) else clip
    if not hasattr(clip, "of_picture"):
        raise InputError(f"clip is a {type(clip).__name__}: give a CLIP, or its folder (task=contrastive)", "clip")
    same_items(said, clip, data, data.name)
    parts = (data.train, data.test)
    place = Path("." if folder is None else folder).expanduser()
    path = None if folder is None else place / f"embeddings-{data.fingerprint}-{clip.weights}.npz"
    make = lambda: tuple(_seen(part, data, clip) for part in parts)
    return splits(path, [(len(part), clip.size) for part in parts], make)


@torch.no_grad()
def _seen(items: Dataset, data: Data, clip: Any) -> Tensor:
    """f of all items, clean."""
    device = next((p.device for p in getattr(clip, "parameters", lambda: ())()), torch.device("cpu"))
    found = []
    for index in torch.arange(len(items)).split(BATCH):
        found.append(clip.of_picture(data.encode(stack(items, index)).to(device)).float().cpu())
    return torch.cat(found) if found else torch.empty(0, clip.size)
