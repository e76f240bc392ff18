"""The linear autoencoder whose density is known: probabilistic principal component analysis."""

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..data import Data, stack
from ..errors import InputError
from ..machine import files
from ..making import node_of
from ..model import Autoencoder, TrainedAutoencoder
from ..model.description import FORMAT, about, without_inputs
from ..model.folder import MODEL, load
from ..model.trained.known import facts
from ..nets.autoencoder import Gaussian, LinearCodec
from ..settings import Count, Positive, Text, checked

AT_ONCE, LARGEST = 4096, 4096  # items that are looked at together; numbers of an item
LEAST = 1e-10  # of the mean variance: below it nothing is left beside the latents


@checked
def pca(
    data: Data, latent: Count, spread: Positive = 1.0, folder: Text | Path | None = None, fresh: bool = False
) -> TrainedAutoencoder:
    """The linear autoencoder of greatest likelihood, in closed form: probabilistic principal component analysis.

        p(z) = N(0, I)    p(x | z) = N(W z + mu, s^2 I)    p(x) = N(mu, W W^T + s^2 I)

    With the eigenvectors U and the greatest eigenvalues l_k of the covariance of x: s^2 is the mean of those that are
    left, and W = U diag(l_k - s^2)^(1/2).  The posterior is then N(M^-1 W^T (x - mu), s^2 M^-1), M = diag(l_k), and it
    is q(z | x) with `spread` = 1; any other spread has the known gap

        KL(q(z | x), p(z | x)) = K (spread^2 - 1 - 2 log spread) / 2

    of K latents.  For data with levels p(v | z) is the mass of p(x | z) in the bins, and the posterior that of bins
    that are narrow beside s.

    Tipping, Bishop (1999), Probabilistic Principal Component Analysis, Journal of the Royal Statistical Society B 61.

    Arguments:
        data: of items x of any shape, up to 4096 numbers; the training items are looked at.
        latent: K, below the numbers of an item; the latents are vectors (K,).
        spread: of the std of q(z | x), over that of the posterior.
        folder: where it is kept; None: nowhere.
        fresh: in the place of another that is there.

    Returns:
        A `TrainedAutoencoder`, with a likelihood.

    Raises:
        InputError: items of more numbers, or that K of their directions tell altogether; another model in the folder.
    """
    size = math.prod(data.shape)
    if size > LARGEST:
        raise InputError(f"{data.name} has items of {size} numbers: pca takes up to {LARGEST}", "data")
    net = LinearCodec(data.shape, latent)
    mean, values, vectors = _spectrum(data)
    rest = values[: size - latent].mean()
    if rest < LEAST * values.mean():
        words = f"{data.name} has no more than {int((values > LEAST * values.mean()).sum())} directions: give fewer"
        raise InputError(f"latent={latent}: {words}", "latent")
    own, turn = values[size - latent :].flip(0), vectors[:, size - latent :].flip(1)
    back = turn * (own - rest).clamp_min(0).sqrt()
    state = {"mean": mean, "back": back, "into": (back / own).T, "log_std": (rest / own).log() / 2 + math.log(spread)}
    net.load_state_dict({name: value.float() for name, value in state.items()})
    made = Autoencoder(net, Gaussian(latent), likelihood=True)
    with torch.no_grad():
        made.log_std.fill_(float(rest.log()) / 2)
    model = TrainedAutoencoder(made, facts(data), 0)
    model.about = _described(made, data, spread)
    return model if folder is None else _kept(Path(folder).expanduser(), model, fresh)


def _spectrum(data: Data) -> tuple[Tensor, Tensor, Tensor]:
    """The mean (D,), and the eigenvalues, growing, and eigenvectors of the covariance of the training items."""
    n, total, square, shift = len(data.train), 0.0, 0.0, None
    for index in torch.arange(n).split(AT_ONCE):
        x = data.encode(stack(data.train, index)).double().flatten(1)
        shift = x.mean(0) if shift is None else shift  # about a point near the mean, for the sake of the digits
        total, square = total + (x - shift).sum(0), square + (x - shift).T @ (x - shift)
    away = total / n
    values, vectors = torch.linalg.eigh(square / n - away[:, None] * away)
    return shift + away, values.clamp_min(0), vectors


def _described(made: Autoencoder, data: Data, spread: float) -> dict[str, Any]:
    known = {"format": FORMAT, "kind": "autoencoder", "net": without_inputs(node_of(made.net), ("shape",))}
    known |= {"bottleneck": node_of(made.bottleneck), "likelihood": True}
    return known | {"loss": {"loss": "pca", "spread": spread}, "data": about(data, [])}


def _kept(folder: Path, model: TrainedAutoencoder, fresh: bool) -> TrainedAutoencoder:
    """The model, once it is in the folder."""
    if (folder / MODEL).exists() and not fresh:
        found = load(folder)
        if getattr(found, "weights", "") == model.weights:
            return found
        raise InputError(f"{folder} holds another model: give another folder, or say fresh=true", "folder")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MODEL).unlink(missing_ok=True)
    model.save(folder)
    files.write_json(folder / MODEL, model.about)
    return model
