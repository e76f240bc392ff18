"""An autoencoder: items to latents, and back."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ...answers import answered
from ...denoiser import device_of
from ...errors import InputError
from ...nets.autoencoder import Codebook, Coded, Gaussian, Plain
from ...noise import Stream, normal
from ...sampling.hardware import Fitting, OutOfMemory
from ...spaces import Bins, Space
from .known import Known
from .tiles import Tiles

AT_ONCE = 128  # items that are looked at together
HELD_OUT = Stream.HELD_OUT_NOISE()  # by which z is drawn for bounds
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
        """How many codes there are, of a codebook; None of others."""
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

    @torch.no_grad()
    def bits(self, raw: Tensor, space: Bins, seed: int = 0) -> Tensor:
        """An upper bound of -log2 P(v) / D of raw levels v, in two parts whose sum it is.

            -log2 P(v | z) / D,  z ~ q(z | v)      and      KL(q(z | v) || N(0, I)) / (D log 2)

        Of a codebook of K codes the second is log2 K of each place: all are as likely.

        Kingma, Welling (2014), arXiv 1312.6114.

        Arguments:
            raw: v (B, *shape).
            space: of the data's values.
            seed: of z; that of row i is the same whatever B is.

        Returns:
            (B, 2), float64.

        Raises:
            InputError: an autoencoder without `likelihood`, or whose latents have no distribution.
        """
        if isinstance(self.bare.bottleneck, Plain):
            raise InputError("the latents of this autoencoder have no distribution, and so there is no bound", "bits")
        device, places, rows = device_of(self), math.prod(self.latent_shape[1:]), []
        for index in torch.arange(len(raw), device=device).split(AT_ONCE):
            part = raw.to(device)[index]
            like = torch.zeros(len(index), *self.latent_shape, device=device)
            found = self.coded(space.encode(part), normal(like, index, seed, *HELD_OUT))
            nats = -self.log_likelihood(part, found.z, space)
            cost = found.cost if self.codes is None else torch.full_like(nats, places * math.log(self.codes))
            rows.append(torch.stack([nats, cost], 1).double().cpu())
        return torch.cat(rows) / (math.prod(self.bare.net.shape) * math.log(2))

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
        bottleneck: a `nets.Gaussian`, `nets.Codebook` or `nets.Plain`, of the network's `latent` and as many features.
        likelihood: whether it has p(v | z), of data with levels v: the mass in the bins of N(x(z), s^2), s learned.

    Raises:
        InputError: a bottleneck of another number of channels than the network's.
    """

    def __init__(self, net: nn.Module, bottleneck: Gaussian | Codebook | Plain, likelihood: bool = False):
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

    tiles: Tiles | None = None  # by which latents are decoded; None: whole
    at_once: int = AT_ONCE  # items that are decoded together, fewer where memory ran out

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
        """Raw values (B, *shape) of latents z (B, *latent_shape), on the CPU.

        Some at a time, half as many where memory runs out, and in `tiles`, if there are any.

        Raises:
            MemoryError: not even one fits.
        """
        device, dtype = device_of(self), next(self.parameters()).dtype

        def some(start: int, stop: int, _: None) -> Tensor:
            part = z[start:stop].to(device, dtype)
            x = self.expand(part) if self.tiles is None else self.tiles.decoded(self.bare.net.up, part, self.shape)
            return self.decode(x).cpu()

        fitting = Fitting(self, some, self.at_once, None)
        try:
            found = fitting(0, len(z))
        except OutOfMemory as error:
            raise MemoryError(f"one item of {self.name} ran out of memory: decode it in (smaller) tiles") from error
        self.at_once = fitting.size
        return torch.cat(found) if found else self.decode(z.new_zeros(0, *self.shape)).cpu()

    @torch.no_grad()
    def compressed(self, raw: Tensor) -> Tensor:
        """Latents (B, *latent_shape) of raw values (B, *shape), the means of q(z | x), on the CPU, some at a time."""
        device = device_of(self)
        return torch.cat([self.compress(self.encode(part).to(device)).cpu() for part in raw.split(AT_ONCE)])

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
