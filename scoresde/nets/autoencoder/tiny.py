"""The network of the tiny autoencoders that others published the weights of."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...errors import InputError
from ...settings import Count
from ..base import Network

FACTOR, BLOCKS, GROUPS = 8, 3, 4


class TinyCodec(Network):
    """An encoder and a decoder of pictures, small and quick, whose weights others have published.

    Their parts have the names of those weights, TAESD's and its kin's (Bohan, 2023), which fit as they are: see
    `latent.pretrained`.

    Down: a convolution, a block, and thrice a halving convolution and three blocks.  Up: 3 tanh(z / 3), a convolution,
    and thrice three blocks, a doubling and a convolution; a block.  A block is relu(x + f(x)), f three convolutions
    with relus between; with `pool` those at the resolution of the latents begin with x + g(x), g two convolutions of
    size 1 around a group norm.  Pictures are within [0, 1] there and [-1, 1] here.

    Arguments:
        shape: of x, (3, H, W), sizes that 8 divides.
        latent: the channels of z, and of h, which it is.
        channels: of all layers.
        pool: whether blocks at the lowest resolution have a g.

    Raises:
        InputError: items that are no such pictures.
    """

    def __init__(self, shape: Sequence[Count], latent: Count = 4, channels: Count = 64, pool: bool = False):
        super().__init__()
        self.shape, self.latent = tuple(shape), latent
        if len(self.shape) != 3 or any(n % FACTOR for n in self.shape[1:]):
            words = f"give (channels, height, width), both a multiple of {FACTOR}"
            raise InputError(f"shape={self.shape}: {words}", "shape")
        layer = lambda cin, cout, **how: nn.Conv2d(cin, cout, 3, padding=1, **how)
        several = lambda deep: [_Block(channels, pool and deep) for _ in range(BLOCKS)]
        down, up = [layer(self.shape[0], channels), _Block(channels, False)], []
        for k in range(3):
            down += [layer(channels, channels, stride=2, bias=False), *several(k == 2)]
            up += [*several(k == 0), nn.Upsample(scale_factor=2), layer(channels, channels, bias=False)]
        self.encoder = nn.Sequential(*down, layer(channels, latent))
        start, end = [_Soft(), layer(latent, channels), nn.ReLU()], [_Block(channels, False)]
        self.decoder = nn.Sequential(*start, *up, *end, layer(channels, self.shape[0]))

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Of z."""
        return (self.latent, *(n // FACTOR for n in self.shape[1:]))

    @property
    def last(self) -> nn.Parameter:
        """The weight of the decoder's last layer."""
        return self.decoder[-1].weight

    def down(self, x: Tensor) -> Tensor:
        """h (B, latent, H / 8, W / 8) of x (B, *shape)."""
        return self.encoder((x + 1) / 2)

    def up(self, z: Tensor) -> Tensor:
        """What is like x (B, *shape), of z (B, latent, H / 8, W / 8)."""
        return 2 * self.decoder(z) - 1

    def forward(self, x: Tensor) -> Tensor:
        """h of x."""
        return self.down(x)


class _Soft(nn.Module):
    """3 tanh(z / 3): latents that are too large are brought near."""

    def forward(self, z: Tensor) -> Tensor:
        return 3 * torch.tanh(z / 3)


class _Block(nn.Module):
    def __init__(self, channels: int, pool: bool):
        super().__init__()
        layer = lambda: nn.Conv2d(channels, channels, 3, padding=1)
        self.conv = nn.Sequential(layer(), nn.ReLU(), layer(), nn.ReLU(), layer())
        self.pool = None
        if pool:
            wide, point = 4 * channels, lambda cin, cout: nn.Conv2d(cin, cout, 1, bias=False)
            parts = [point(channels, wide), nn.GroupNorm(GROUPS, wide), nn.ReLU(), point(wide, channels)]
            self.pool = nn.Sequential(*parts)

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.pool is None else x + self.pool(x)
        return torch.relu(x + self.conv(x))
