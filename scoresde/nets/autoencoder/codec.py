"""The network of an autoencoder: residual blocks down to a small grid, and up again."""

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor, nn

from ...errors import InputError
from ...settings import LATER, Count, Range, Whole
from ...spaces.folds import folded, unfolded
from ..base import Network
from ..parts.blocks import norm, zero


class Codec(Network):
    """An encoder x (B, C, *space) -> h (B, features, *space / f) and a decoder z (B, latent, *space / f) -> like x.

    f = patch 2^(len(mults) - 1): pixels of a patch are channels, and between two entries of `mults` the resolution
    halves.  Residual blocks of group norms, SiLU and two convolutions, without a level; for series, images and volumes.
    What lies between h and z is a bottleneck: `nets.Gaussian` or `nets.Codebook`.

    Rombach, Blattmann, Lorenz, Esser, Ommer (2022), arXiv 2112.10752; Esser, Rombach, Ommer (2021), arXiv 2012.09841.

    Arguments:
        shape: of x, (C, *space) with 1 to 3 space axes, each a multiple of f.
        latent: the channels of z.
        features: the channels of h.
        channels: of the first layer, a multiple of 8.
        mults: the factors of `channels`, one for each resolution.
        blocks: residual blocks for each of them.
        patch: pixels of a side that become channels: 2 makes a network four times as cheap on pictures.
        dropout: the chance of a feature within a block.
        components: of p(x_i | z), a mixture of so many normal distributions for each number of x (`mixture`), which an
            `Autoencoder` with a likelihood needs the network for; x(z) is then its mean.  0: one, of mean x(z).

    Raises:
        InputError: data without a channel and one to three space axes, or of sizes that f does not divide.
    """

    def __init__(
        self,
        shape: Sequence[Count],
        latent: Count = 4,
        features: Count = 8,
        channels: Annotated[int, Range(8, 2**16)] = 32,
        mults: Sequence[Count] = (1, 2, 2),
        blocks: Count = 1,
        patch: Count = 1,
        dropout: Annotated[float, Range(0, below=1)] = 0.0,
        components: Annotated[Whole, LATER] = 0,
    ):
        super().__init__()
        self.shape, self.latent, self.patch, self.components = tuple(shape), latent, patch, components
        if not 2 <= len(self.shape) <= 4:
            raise InputError(f"shape={self.shape}: give (channels, *space) with 1 to 3 space axes", "shape")
        if channels % 8:
            raise InputError(f"channels={channels}: give a multiple of 8", "channels")
        self.factor, dims = patch * 2 ** (len(mults) - 1), len(self.shape) - 1
        if bad := [n for n in self.shape[1:] if n % self.factor]:
            words = f"patch {patch} and {len(mults)} resolutions divide sizes by {self.factor}"
            raise InputError(f"shape={self.shape}: {words}, which does not divide {bad[0]}", "shape")
        conv = getattr(nn, f"Conv{dims}d")
        widths, pixels = [m * channels for m in mults], self.shape[0] * patch**dims
        layer = lambda cin, cout, **more: conv(cin, cout, 3, padding=1, **more)
        several = lambda width: [Residual(conv, width, width, dropout) for _ in range(blocks)]
        ending = lambda width, cout: [norm(width), nn.SiLU(), layer(width, cout)]
        down = [layer(pixels, widths[0])]
        for i, width in enumerate(widths):
            down += [layer(widths[i - 1], width, stride=2)] * bool(i) + several(width)
        self.encoder = nn.Sequential(*down, Residual(conv, widths[-1], widths[-1], dropout), *ending(width, features))
        up = [layer(latent, widths[-1]), Residual(conv, widths[-1], widths[-1], dropout)]
        for i in reversed(range(len(widths))):
            up += several(widths[i])
            up += [nn.Upsample(scale_factor=2), layer(widths[i], widths[i - 1])] if i else []
        self.decoder = nn.Sequential(*up, *ending(widths[0], pixels * max(1, 3 * components)))

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Of z."""
        return (self.latent, *(n // self.factor for n in self.shape[1:]))

    @property
    def last(self) -> nn.Parameter:
        """The weight of the decoder's last layer: where the gradients of several losses are compared."""
        return self.decoder[-1].weight

    def down(self, x: Tensor) -> Tensor:
        """h (B, features, *space / f) of x (B, *shape)."""
        return self.encoder(folded(x, self.patch))

    def up(self, z: Tensor) -> Tensor:
        """What is like x (B, *shape) of z (B, latent, *space / f)."""
        if not self.components:
            return unfolded(self.decoder(z), self.patch)
        log_weight, mean, _ = self.mixture(z)
        return (log_weight.exp() * mean).sum(0)

    def mixture(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log weights, means and log deviations (components, B, *shape) of p(x_i | z), of z (B, latent, *space / f).

        The deviations are in units of the autoencoder's own s; the means begin apart.
        """
        parts = torch.stack([unfolded(part, self.patch) for part in self.decoder(z).chunk(3 * self.components, 1)])
        log_weight, mean, log_std = parts.unflatten(0, (3, self.components))
        apart = torch.linspace(-1, 1, self.components + 2, device=z.device, dtype=z.dtype)[1:-1]
        return log_weight.log_softmax(0), mean + apart.reshape(-1, *[1] * (mean.ndim - 1)), log_std

    def forward(self, x: Tensor) -> Tensor:
        """h of x."""
        return self.down(x)


class Residual(nn.Module):
    """x + f(x), two convolutions behind a norm and SiLU each, the second of which begins at 0."""

    def __init__(self, conv: type, cin: int, cout: int, dropout: float = 0.0):
        super().__init__()
        self.body = nn.Sequential(
            *(norm(cin), nn.SiLU(), conv(cin, cout, 3, padding=1)),
            *(norm(cout), nn.SiLU(), nn.Dropout(dropout), zero(conv(cout, cout, 3, padding=1))),
        )
        self.skip = conv(cin, cout, 1) if cin != cout else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.skip(x) + self.body(x)
