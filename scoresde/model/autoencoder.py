"""An autoencoder: items to latents, and back."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..answers import answered
from ..denoiser import device_of
from ..errors import InputError
from ..nets.autoencoder import Codebook, Coded, Gaussian
from ..spaces import Bins, Space
from .known import Known

AT_ONCE = 128  # items that are looked at together
START = -2.0  # of log s, s a seventh of half the range
LEAST = -5.0  # of log s, of a component


class Coding(nn.Module, ABC):
    """What an autoencoder answers, trained (`TrainedAutoencoder`) or not (`Autoencoder`)."""

    @property
    @abstractmethod
    def bare(self) -> "Autoencoder":
        """The networks that it answers by."""

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Of one item's latents z."""
        return tuple(self.bare.net.latent_shape)

    @property
    def codes(self) -> int | None:
        """How many codes there are, of a codebook; None of a Gaussian bottleneck."""
        bottleneck = self.bare.bottleneck
        return bottleneck.size if isinstance(bottleneck, Codebook) else None

    def coded(self, x: Tensor, eps: Tensor | None = None) -> Coded:
        """z of x, with what it costs and, of a codebook, its codes.

        Arguments:
            x: (B, *shape), in the model's space.
            eps: N(0, I) (B, *latent_shape), by which z is drawn from q(z | x); None: its mean.

        Raises:
            InputError: the network answers with another shape.
        """
        net, bottleneck = self.bare.net, self.bare.bottleneck
        space = self.latent_shape[1:]
        h = answered(net.down(x), (len(x), bottleneck.features, *space), f"the encoder of {type(net).__name__}")
        return bottleneck(h, eps)

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The mean and log std (B, *latent_shape) of q(z | x), of x (B, *shape).

        Raises:
            InputError: an autoencoder of codes, say, which has none.
        """
        if not isinstance(self.bare.bottleneck, Gaussian):
            raise InputError("the latents are no Gaussian ones: they have no density", "bottleneck")
        return self.bare.bottleneck.posterior(self.bare.net.down(x))

    def compress(self, x: Tensor, eps: Tensor | None = None) -> Tensor:
        """z (B, *latent_shape) of x (B, *shape), drawn from q(z | x) by eps, or its mean: see `coded`."""
        return self.coded(x, eps).z

    def log_likelihood(self, raw: Tensor, z: Tensor, space: Space) -> Tensor:
        """log P(v | z) of raw levels v (B, *shape), in nats: `Bins.log_mass` of N(x(z), s^2), or of a mixture that the
        network gives each number (`components` of `nets.Codec`); of values without levels log p(v | z), in their units.

        Raises:
            InputError: an autoencoder without `likelihood`.
        """
        log_std = self.bare.log_std
        if log_std is None:
            raise InputError("the autoencoder has no likelihood: train it with loss=levels", "likelihood")
        if not getattr(self.bare.net, "components", 0):
            mean = self.expand(z)
            return _each(raw, mean, log_std.exp().expand_as(mean), space).flatten(1).sum(1)
        log_weight, mean, own = self.bare.net.mixture(z)
        each = log_weight + _each(raw, mean, (log_std + own).clamp_min(LEAST).exp(), space)
        return each.logsumexp(0).flatten(1).sum(1)

    def expand(self, z: Tensor) -> Tensor:
        """x (B, *shape) in the model's space, of z (B, *latent_shape).

        Raises:
            InputError: the network answers with another shape.
        """
        net = self.bare.net
        return answered(net.up(z), (len(z), *net.shape), f"the decoder of {type(net).__name__}")


class Autoencoder(Coding):
    """An encoder and a decoder of items x, and what lies between: z ~ q(z | x), or the code of a book.

    Trained by `objectives.Autoencode`.

    Arguments:
        net: its `down(x)` (B, features, *space), `up(z)` like x, `shape` and `latent_shape` are those of `nets.Codec`.
        bottleneck: a `nets.Gaussian` or a `nets.Codebook`, of the network's `latent` and as many features.
        likelihood: whether it has p(v | z), of data with levels v: the mass in the bins of N(x(z), s^2), s learned; of
            data without levels that density.

    Raises:
        InputError: a bottleneck of another number of channels than the network's.
    """

    def __init__(self, net: nn.Module, bottleneck: Gaussian | Codebook, likelihood: bool = False):
        super().__init__()
        latent = net.latent_shape[0]
        if bottleneck.latent != latent:
            words = f"the network has {latent} channels of latents and the bottleneck {bottleneck.latent}"
            raise InputError(f"{words}: give as many", "bottleneck")
        self.net, self.bottleneck = net, bottleneck
        self.log_std = nn.Parameter(torch.tensor(START)) if likelihood else None

    @property
    def bare(self) -> "Autoencoder":
        return self

    def forward(self, x: Tensor, eps: Tensor | None = None) -> tuple[Tensor, Coded]:
        """x (B, *shape) again, of its latents, drawn by eps or their means, and these."""
        found = self.coded(x, eps)
        return self.expand(found.z), found


class TrainedAutoencoder(Known, Coding):
    """A trained `Autoencoder`, which answers as that does, with what it knows of its data (`Known`).

    Arguments:
        autoencoder: is put into evaluation mode, without gradients.
        facts, step: as in `Model`.
    """

    def __init__(self, autoencoder: Autoencoder, facts: Mapping[str, Any], step: int):
        super().__init__()
        self.autoencoder = autoencoder.eval().requires_grad_(False)
        self.know(facts, step)
        self.eval()

    @property
    def bare(self) -> Autoencoder:
        return self.autoencoder

    @torch.no_grad()
    def restored(self, z: Tensor) -> Tensor:
        """Raw values (B, *shape) of latents z (B, *latent_shape), on the CPU, some at a time."""
        device, dtype = device_of(self), next(self.parameters()).dtype
        return torch.cat([self.decode(self.expand(part.to(device, dtype))).cpu() for part in z.split(AT_ONCE)])

    @torch.no_grad()
    def reconstruct(self, raw: Tensor) -> Tensor:
        """Raw values (B, *shape) of raw values, by the mean of their latents."""
        parts = (self.compress(self.encode(part).to(device_of(self))) for part in raw.split(AT_ONCE))
        return torch.cat([self.restored(z) for z in parts])

    def forward(self, x: Tensor, eps: Tensor | None = None) -> tuple[Tensor, Coded]:
        """x (B, *shape) again, of its latents, drawn by eps or their means, and these."""
        return self.autoencoder(x, eps)


def _each(raw: Tensor, mean: Tensor, std: Tensor, space: Space) -> Tensor:
    """log of the mass of N(mean, std^2) in the bins of raw v (B, *shape), or of the density at v, like mean."""
    if isinstance(space, Bins):
        return space.log_masses(raw, mean, std)
    far = (space(raw.to(mean.dtype)) - mean) / std
    scale = torch.as_tensor(space.scale, device=far.device, dtype=far.dtype).abs().log()
    return scale - 0.5 * far.square() - std.log() - 0.5 * math.log(2 * math.pi)
