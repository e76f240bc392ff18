"""What a model of latents says of the items: a lower bound on their log-probability, term by term."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ..denoiser import Given, device_of
from ..errors import InputError
from ..likelihood import elbo, log_likelihood
from ..likelihood.brief import Result
from ..model import Model, TrainedAutoencoder
from ..noise import Stream, normal
from ..settings import Count, Seed, Whole, checked


@dataclass(frozen=True, repr=False)
class LatentBound(Result):
    """A lower bound in nats, for each row: `log_prob` = `reconstruction` + `prior` + `entropy`.

    Arguments:
        log_prob: the bound (B,), on log P(v) of levels, or on log p in the data's own units.
        stderr: that of `log_prob` (B,): over its draws of z, or where there is one that of `prior` alone.
        reconstruction: log p(x | z) (B,).
        prior: log p(z) (B,), by the flow of the latents, or a bound on it.
        entropy: -log q(z | x) (B,).
        nfe: evaluations made for a row (B,).
    """

    log_prob: Tensor
    stderr: Tensor
    reconstruction: Tensor
    prior: Tensor
    entropy: Tensor
    nfe: Tensor


@checked
def bound(
    model: Model,
    raw: Tensor,
    by: Literal["flow", "elbo"] = "flow",
    draws: Count = 1,
    seed: Seed = 0,
    offset: Whole = 0,
    cond: Given = None,
    **how: Any,
) -> LatentBound:
    """The evidence lower bound on log p(x) of a model of latents and its autoencoder:

        log p(x) >= E [log p(x | z) + log p(z) - log q(z | x)],    z ~ q(z | x)
                       reconstruction  prior     entropy

    each a mean over `draws` of z.  The gap is KL(q(z | x), p(z | x)): with the exact posterior each single draw gives
    log p(x).  With by="elbo" log p(z) is its own lower bound, and the gap greater by the gap of that one.

    Kingma, Welling (2014), arXiv 1312.6114; Vahdat, Kreis, Kautz (2021), arXiv 2106.05931.

    Arguments:
        model: of latents, with its `codec`, which has a likelihood: of loss=levels, `latent.pca` or `objectives.LSGM`.
        raw: items (B, *shape) in their own values, of the codec's.
        by: of log p(z): "flow" (`likelihood.log_likelihood`) or "elbo" (`likelihood.elbo`).
        draws: of z; their mean is the bound.
        seed, offset: row i has the random numbers of sample number `offset + i`.
        cond: the conditions of the rows, by name.
        how: keywords of the function that gives log p(z).

    Returns:
        A `LatentBound`.

    Raises:
        InputError: a model without a codec, or one whose codec has no density: a codebook, or no likelihood.
    """
    codec = with_density(model)
    device, dtype = device_of(codec), next(codec.parameters()).dtype
    raw = raw.to(device)
    log_p = log_likelihood if by == "flow" else elbo
    with torch.no_grad():
        x = codec.encode(raw) if codec.levels else codec.space(raw.to(dtype))
        mean, log_std = (part.double() for part in codec.posterior(x.to(dtype)))
    index, found = torch.arange(offset, offset + len(raw), device=device), []
    for i in range(draws):
        eps = normal(mean, index, seed, *Stream.POSTERIOR(i))
        z = mean + log_std.exp() * eps
        with torch.no_grad():
            back = codec.log_likelihood(raw, z.to(dtype), codec.space).double()
        own = log_p(model, model.space(z), seed=seed + i, offset=offset, cond=cond, **how)
        entropy = (log_std + (eps.square() + math.log(2 * math.pi)) / 2).flatten(1).sum(1)
        spent = torch.as_tensor(own.nfe, dtype=torch.float64, device=device).expand(len(raw))
        prior = own.log_prob.double() + model.space.log_det(model.shape)
        found.append(torch.stack([back, prior, entropy, own.stderr.double(), spent], 1))
    return _together(torch.stack(found))


def _together(found: Tensor) -> LatentBound:
    """Of the terms, standard errors and evaluations (draws, B, 5)."""
    draws, each = len(found), found[..., :3].sum(2)
    back, prior, entropy, _, _ = found.mean(0).unbind(1)
    stderr = each.std(0) / math.sqrt(draws) if draws > 1 else found[0, :, 3]
    return LatentBound(each.mean(0), stderr, back, prior, entropy, found[..., 4].sum(0))


def has_density(codec: object) -> bool:
    """Whether a codec is an autoencoder with q(z | x) and p(x | z)."""
    return isinstance(codec, TrainedAutoencoder) and codec.codes is None and codec.bare.log_std is not None


def with_density(model: Model) -> TrainedAutoencoder:
    """The codec of a model of latents, where it has q(z | x) and p(x | z).  Raises `InputError` where it has not."""
    codec = getattr(model, "codec", None)
    if not isinstance(codec, TrainedAutoencoder):
        raise InputError(
            "the model has no codec that is an autoencoder: give one of latents; of others log_likelihood is log p",
            "model",
        )
    if not has_density(codec):
        lacks = "its latents are codes" if codec.codes is not None else "it was trained without a likelihood"
        words = "train one with loss=levels (task.loss=levels), or give log_likelihood of the latents"
        raise InputError(f"the autoencoder has no density, as {lacks}: {words}", "model")
    return codec
