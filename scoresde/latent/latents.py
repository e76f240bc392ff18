"""Data of latents."""

from pathlib import Path
from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..data import Affine, Data, Tensors, stack
from ..data.items import held
from ..denoiser import device_of
from ..errors import InputError
from ..model import TrainedAutoencoder
from ..model.kept.splits import splits
from ..model.named import named
from ..noise import Stream, normal
from ..settings import LATER, Seed, Text, checked

BATCH = 256  # items that are looked at at once


@checked
def latents(
    data: Data,
    autoencoder: Text | Path | TrainedAutoencoder,
    folder: Text | Path | None = None,
    posterior: Literal["sample", "mean"] = "sample",
    seed: Seed = 0,
    standardize: Annotated[bool, LATER] = True,
) -> Data:
    """Data whose items are latents z ~ q(z | x) of other items x, with what those come with.

    In the model's space each channel has mean 0 and variance 1, of the training items.  `decode` of the data and of a
    model of it gives items like x again, and a model's folder has the autoencoder.

    Rombach, Blattmann, Lorenz, Esser, Ommer (2022), arXiv 2112.10752.

    Arguments:
        data: of items x.
        autoencoder: a `TrainedAutoencoder`, or its folder.
        folder: where the latents are kept for the next time; None: they are computed now.
        posterior: "sample": one z for each item, drawn by (seed, its number); "mean": the mean of q(z | x).
        seed: of those that are drawn.
        standardize: False: the model's space is that of the latents themselves, as where both were trained together
            (`objectives.LSGM`).

    Returns:
        A `Data` of shape (C, *space), with `codec`, the autoencoder, and `origin`, the data of x.

    Raises:
        InputError: an autoencoder of other items, or that gives latents which are not finite.
    """
    found = autoencoder
    if isinstance(found, str | Path):
        found = named("autoencoder", found, TrainedAutoencoder)
    there, here = (found.shape, found.levels), (tuple(data.shape), data.levels)
    if there != here:
        say = lambda shape, levels: f"{shape} with {levels} levels" if levels else f"{shape}"
        raise InputError(f"the autoencoder is of items {say(*there)}, and {data.name} has {say(*here)}", "autoencoder")
    parts = _kept(data, found, folder, posterior, seed)
    for name, z in zip(("train", "test"), parts, strict=True):
        if not bool(z.isfinite().all()):
            bad = int((~z.isfinite().flatten(1).all(1)).sum())
            raise InputError(
                f"the latents of {bad} of {len(z)} {name} items are not finite: train another", "autoencoder"
            )
    axes = (0, *range(2, parts[0].ndim))
    mean, std = parts[0].double().mean(axes), parts[0].double().std(axes)
    if bool((std < 1e-6).any()):
        flat = (std < 1e-6).nonzero()[:, 0].tolist()
        raise InputError(
            f"channels {flat} of the latents are constant, the posterior collapsed: a smaller kl", "autoencoder"
        )
    per = lambda value: value.reshape(-1, *[1] * (parts[0].ndim - 2))
    sets = [
        Tensors(z, cond={name: held(part, name) for name in data.conditions})
        for z, part in zip(parts, (data.train, data.test), strict=True)
    ]
    space = Affine(per(1 / std), per(-mean / std)) if standardize else Affine()
    kinds = dict(data.conditions)
    return Data(f"{data.name} latents", *sets, space, conditions=kinds, judge=data.judge, codec=found, origin=data)


def _kept(
    data: Data, model: TrainedAutoencoder, folder: str | Path | None, posterior: str, seed: int
) -> tuple[Tensor, Tensor]:
    """The latents of both splits, float32, read from the folder if they are there."""
    make = lambda: tuple(
        _seen(part, data, model, seed if posterior == "sample" else None, start)
        for part, start in ((data.train, 0), (data.test, len(data.train)))
    )
    how = posterior if posterior == "mean" else f"{posterior}{seed}"
    place = Path("." if folder is None else folder).expanduser()
    path = None if folder is None else place / f"latents-{data.fingerprint}-{model.weights}-{how}.npz"
    return splits(path, [(len(part), *model.latent_shape) for part in (data.train, data.test)], make)


@torch.no_grad()
def _seen(items: Dataset, data: Data, model: TrainedAutoencoder, seed: int | None, start: int) -> Tensor:
    """z of all items, the first of which has the number `start`."""
    device, found = device_of(model), [torch.empty(0, *model.latent_shape)]
    for index in torch.arange(len(items)).split(BATCH):
        x, eps = data.encode(stack(items, index)).to(device), None
        if seed is not None:
            like = torch.empty(len(index), *model.latent_shape, device=device)
            eps = normal(like, (start + index).to(device), seed, *Stream.LATENT())
        found.append(model.compress(x, eps).float().cpu())
    return torch.cat(found)
