"""The four families by name: how each is made, trained, sampled and scored, and what its bits/dim are."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import diffusion
import flow
import gan
import torch
import vae
from family import dequantised
from torch import Tensor

from scoresde.data import Data
from scoresde.likelihood import ImportanceWeighted, discrete_bits_per_dim
from scoresde.objectives import Objective

DRAWS = {"vae": 128, "flow": 32}  # of the importance-weighted bounds


@dataclass(frozen=True)
class Member:
    """A family: `objective(data)` and the `settings` of its training, `generate(model, n, seed)` in the data's own
    values, `bits(model, raw, data, seed)` with `bits` and `bits_stderr` in bits/dim, of the `kind` that is said."""

    title: str
    kind: str
    objective: Callable[[Data], Objective]
    settings: dict[str, Any]
    generate: Callable[[Any, int, int], Tensor]
    bits: Callable[[Any, Tensor, Data, int], dict[str, float]]


@torch.no_grad()
def _of_vae(model, raw, data, seed):
    each = -model.net.log_prob(raw, DRAWS["vae"], seed).double() / (raw[0].numel() * math.log(2))
    elbo = model.net.log_prob(raw, 1, seed).double() / (raw[0].numel() * math.log(2))
    found = {"bits": float(each.mean()), "bits_stderr": float(each.std()) / math.sqrt(len(each))}
    return found | {"bits_one_draw": -float(elbo.mean())}


def _of_density(log_density):
    def bits(model, raw, data, seed):
        found = discrete_bits_per_dim(dequantised(lambda x: log_density(model, x), raw, data, seed), data)
        return {"bits": found.total, "bits_stderr": found.stderr}

    return bits


@torch.no_grad()
def _of_flow(model, raw, data, seed):
    density = lambda x: model.net.log_density(x.float())
    found = _of_density(lambda model, x: density(x))(model, raw, data, seed)
    several = ImportanceWeighted(DRAWS["flow"]).log_prob(density, raw, data, torch.arange(len(raw)), seed)
    return found | {"bits_several_draws": discrete_bits_per_dim(several, data).total}


MEMBERS = {
    "vae": Member(
        "VAE",
        f"a bound, {DRAWS['vae']} draws of z",
        vae.objective,
        vae.SETTINGS,
        lambda model, n, seed: model.generate(n, seed),
        _of_vae,
    ),
    "gan": Member(
        "GAN",
        "it has no likelihood",
        gan.objective,
        gan.SETTINGS,
        lambda model, n, seed: model.generate(n, seed),
        lambda model, raw, data, seed: {},
    ),
    "flow": Member(
        "flow",
        "exact density, dequantised",
        flow.objective,
        flow.SETTINGS,
        lambda model, n, seed: model.generate(n, seed),
        _of_flow,
    ),
    "diffusion": Member(
        "diffusion",
        "density by its flow, dequantised",
        diffusion.objective,
        diffusion.SETTINGS,
        diffusion.generate,
        _of_density(diffusion.log_density),
    ),
}


@torch.no_grad()
def means(model, n: int, seed: int) -> Tensor:
    """Of a VAE the means of the pixels, given z ~ N(0, I), in place of what is drawn from P(v | z)."""
    return torch.cat([model.net.generate(part, seed, means=True) for part in torch.arange(n).split(256)])
