"""Data of latents."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor

from ..data import Affine, Data, Tensors, stack
from ..data.items import held
from ..data.look import spaced
from ..denoiser import device_of
from ..errors import InputError
from ..machine import launcher
from ..machine.progress import shown
from ..model import TrainedAutoencoder
from ..model.kept.splits import splits
from ..model.named import named
from ..nets import Gaussian
from ..settings import LATER, Seed, Text, checked
from .encoded import BATCH, Encoded

SOME = 8192  # items of each split that say what the mean and the deviation are, where latents are not kept


@checked
def latents(
    data: Data,
    autoencoder: Text | Path | TrainedAutoencoder,
    folder: Text | Path | None = None,
    posterior: Literal["sample", "mean"] = "sample",
    seed: Seed = 0,
    standardize: Annotated[bool, LATER] = True,
    kept: Annotated[bool, LATER] = True,
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
        kept: in memory, all of them; False: each is made whenever it is asked for, of data that is too large for that.

    Returns:
        A `Data` of shape (C, *space), with `codec`, the autoencoder, and `origin`, the data of x.

    Raises:
        InputError: an autoencoder of other items, or one that gives latents which are not finite or say nothing;
            latents that are to be kept and not kept.
    """
    found = autoencoder
    if isinstance(found, str | Path):
        found = named("autoencoder", found, TrainedAutoencoder)
    there, here = (found.shape, found.levels), (tuple(data.shape), data.levels)
    if there != here:
        say = lambda shape, levels: f"{shape} with {levels} levels" if levels else f"{shape}"
        raise InputError(f"autoencoder: it is of items {say(*there)}, and {data.name} has {say(*here)}", "autoencoder")
    if not kept and folder is not None:
        raise InputError("kept=False: there is nothing to keep in a folder: leave it out", "kept")
    own = lambda part: {name: held(part, name) for name in data.conditions}
    drawn, splits_of = (seed if posterior == "sample" else None), ((data.train, 0), (data.test, len(data.train)))
    sets = [Encoded(part, data, found, drawn, start, own(part)) for part, start in splits_of]
    if kept:
        sets = [
            Tensors(z, cond=part.cond)
            for z, part in zip(_kept(sets, folder, posterior + str(seed) * (drawn is not None)), sets, strict=True)
        ]
    mean, std = _moments([part.rows(spaced(len(part), len(part) if kept else SOME)) for part in sets])
    per = lambda value: value.reshape(-1, *[1] * (len(found.latent_shape) - 1))
    more = {"conditions": dict(data.conditions), "notes": (*data.notes, *_said(data, found)), "judge": data.judge}
    space = Affine(per(1 / std), per(-mean / std)) if standardize else Affine()
    return Data(f"{data.name} latents", *sets, space, **more, codec=found, origin=data)


def _moments(parts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The mean and the deviation of each channel of latents.  Raises `InputError` where they are of no use."""
    for name, z in zip(("train", "test"), parts, strict=True):
        if not bool(z.isfinite().all()):
            bad = int((~z.isfinite().flatten(1).all(1)).sum())
            words = f"autoencoder: the latents of {bad} of {len(z)} {name} items are not finite: train another"
            raise InputError(words, "autoencoder")
    axes = (0, *range(2, parts[0].ndim))
    mean, std = parts[0].double().mean(axes), parts[0].double().std(axes)
    if bool((std < 1e-6).any()):
        flat = (std < 1e-6).nonzero()[:, 0].tolist()
        raise InputError(
            f"autoencoder: channels {flat} of the latents are constant, the posterior collapsed: a smaller kl",
            "autoencoder",
        )
    return mean, std


@torch.no_grad()
def _said(data: Data, model: TrainedAutoencoder) -> list[str]:
    """A note on channels of a Gaussian's latents that say nothing of items.  Raises `InputError` where none does."""
    own = model.bare
    if not isinstance(own.bottleneck, Gaussian):
        return []
    index = spaced(len(data.train), BATCH)
    silent = own.bottleneck.silent(own.net.down(data.encode(stack(data.train, index)).to(device_of(model))))
    channels = silent.nonzero()[:, 0].tolist()
    if len(channels) == len(silent):
        words = "autoencoder: the latents say nothing of items (less than 0.01 nats a place), the posterior collapsed"
        raise InputError(f"{words}: train one with a smaller kl", "autoencoder")
    return [f"channels {channels} of the latents say nothing, the posterior collapsed there"] if channels else []


def _kept(parts: Sequence[Encoded], folder: str | Path | None, how: str) -> tuple[Tensor, Tensor]:
    """The latents of both splits, float32, read from the folder if they are there."""
    data, model = parts[0].data, parts[0].model
    place = Path("." if folder is None else folder).expanduser()
    path = None if folder is None else place / f"latents-{data.fingerprint}-{model.weights}-{how}.npz"
    return splits(path, [(len(part), *model.latent_shape) for part in parts], lambda: _made(parts))


def _made(parts: Sequence[Encoded]) -> tuple[Tensor, ...]:
    """The latents of both splits, and meanwhile how far this is."""
    done, total = 0, sum(len(part) for part in parts)
    with shown(launcher.rank() == 0, "encoding", total) as advance:
        made = []
        for part in parts:
            made.append(torch.empty(len(part), *part.model.latent_shape))
            for some in np.array_split(np.arange(len(part)), max(1, len(part) // 2048)):
                made[-1][some] = part.rows(some)
                done += len(some)
                if advance is not None:
                    advance(done, f"{done} of {total} items")
    return tuple(made)
