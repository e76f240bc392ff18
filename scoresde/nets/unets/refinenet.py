"""NCSNv2's RefineNet."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...conditions import Kind, Picture
from ...errors import InputError
from ...settings import Count, Range, Whole
from ..base import Network
from ..parts.blocks import zero
from ..parts.conditioning import Conditioner
from ..parts.embedding import LevelEmbedding
from ..parts.runs import Block
from ..parts.scales.levels import check_settings
from ..parts.scales.resampling import Halve


class RefineNet(Network):
    """Residual blocks down, the last of them dilated, and blocks that refine the coarse by the fine on the way up:
    `net(x, c)`, x (B, C, *space), c (B,) -> like x.

    As in NCSNv2 it does not see c: a score that is its answer divided by sigma is what `Preconditioned` makes of any
    network, rule `eps`.  With `level` c enters every norm, as the number of sigma did in NCSN.

    Song, Ermon (2020), arXiv 2006.09011, appendix B, as for CIFAR-10: 29,694,083 parameters at 3 x 32 x 32, without the
    buffer of sigmas; Song, Ermon (2019), arXiv 1907.05600; Lin et al. (2016), arXiv 1611.06612.

    Arguments:
        shape: of x, (C, *space) with 1 to 3 space axes.
        channels: of the first layer, a multiple of 8.
        mults: the factors of `channels`, one for each level; of NCSNv2 for 128x128 (1, 2, 2, 4, 4), for
            256x256 (1, 2, 2, 2, 4, 4).
        dilated: how many of the last levels keep the resolution, their convolutions dilated by 2, 4, ...
        level: whether c is seen.
        conditions: kinds by their names: it is then `net(x, c, cond)`; labels and vectors, and the mean of tokens,
            enter the norms, pictures are channels beside x.
        outputs: how many tensors like x the answer is, side by side in its channels.

    Raises:
        InputError: data without a channel and one to three space axes, or settings that do not go together.
    """

    def __init__(
        self,
        shape: Sequence[Count],
        channels: Annotated[int, Range(8, 2**16)] = 128,
        mults: Sequence[Count] = (1, 2, 2, 2),
        dilated: Whole = 2,
        level: bool = False,
        conditions: Mapping[str, Kind] | None = None,
        outputs: Count = 1,
    ):
        super().__init__()
        self.shape, self.level, self.conditions = tuple(shape), level, dict(conditions or {})
        if not 2 <= len(self.shape) <= 4:
            words = f"a RefineNet needs data of shape (channels, *space) with 1 to 3 space axes, not {self.shape}"
            raise InputError(f"{words}: take an MLP")
        check_settings(channels, 1, mults)
        dims, told, extra = len(self.shape) - 1, 0, 0
        if level or any(not isinstance(kind, Picture) for kind in self.conditions.values()):
            told = 4 * channels
        if level:
            self.embed = LevelEmbedding(told)
        if conditions:
            self.conditioner = Conditioner(self.conditions, 4 * channels)
            extra = self.conditioner.channels
        widths = [m * channels for m in mults]
        self.enter = _conv(dims, self.shape[0] + extra, channels)
        self.down, self.up = _down(dims, channels, widths, dilated, told), _up(dims, widths)
        self.norm = _Norm(widths[0], told)
        self.leave = zero(_conv(dims, widths[0], outputs * self.shape[0]))

    def forward(self, x: Tensor, c: Tensor, cond: Mapping[str, Tensor] | None = None) -> Tensor:
        told = self.embed(c) if self.level else None
        if self.conditions:
            given = self.conditioner(cond or {}, x)
            x = x if given.channels is None else torch.cat([x, given.channels], 1)
            told = given.vector if told is None else told if given.vector is None else told + given.vector
        told = None if told is None else F.silu(told)
        h, found = self.enter(x), []
        for first, second in zip(self.down[::2], self.down[1::2], strict=True):
            h = second(first(h, told), told)
            found.append(h)
        h = self.up[0]([found.pop()])
        for layer in self.up[1:]:
            h = layer([found.pop(), h])
        return self.leave(F.elu(self.norm(h, told)))


def _conv(dims: int, cin: int, cout: int, size: int = 3, dilation: int = 1, bias: bool = True) -> nn.Module:
    conv = getattr(nn, f"Conv{dims}d")
    return conv(cin, cout, size, padding=dilation * (size // 2), dilation=dilation, bias=bias)


def _down(dims: int, channels: int, widths: Sequence[int], dilated: int, told: int) -> nn.ModuleList:
    """Two blocks for each level; the first of a level halves the resolution, or is dilated."""
    down = nn.ModuleList()
    for i, (cin, cout) in enumerate(zip([channels, *widths], widths, strict=False)):
        dilation = 2 ** max(0, i + 1 - max(1, len(widths) - dilated))
        down.append(_Residual(dims, cin, cout, dilation, i > 0, told))
        down.append(_Residual(dims, cout, cout, dilation, False, told))
    return down


def _up(dims: int, widths: Sequence[int]) -> nn.ModuleList:
    """A block for each level, from the coarsest, which answers with the channels of the next."""
    up, before = nn.ModuleList(), []
    for i in reversed(range(len(widths))):
        features = widths[max(0, i - 1)] if before or not i else widths[i]
        up.append(_Refine(dims, [widths[i], *before], features, 1 if i else 3))
        before = [features]
    return up


class _Norm(nn.Module):
    """Instance norm, and what it takes away, the channels' means, given back beside each other (InstanceNorm++)."""

    def __init__(self, channels: int, told: int):
        super().__init__()
        self.alpha, self.gamma = (nn.Parameter(1 + 0.02 * torch.randn(channels)) for _ in range(2))
        self.beta = nn.Parameter(torch.zeros(channels))
        self.modulate = zero(nn.Linear(told, 2 * channels)) if told else None

    def forward(self, x: Tensor, told: Tensor | None) -> Tensor:
        space, wide = tuple(range(2, x.ndim)), (..., *[None] * (x.ndim - 2))
        means = x.mean(space)
        apart = (means - means.mean(1, keepdim=True)) / (means.var(1, keepdim=True) + 1e-5).sqrt()
        h = (x - means[wide]) / (x.var(space, correction=0, keepdim=True) + 1e-5).sqrt()
        gamma, beta = self.gamma, self.beta
        if self.modulate is not None and told is not None:
            scale, shift = self.modulate(told).chunk(2, 1)
            gamma, beta = (gamma * (1 + scale))[wide], (beta + shift)[wide]
        else:
            gamma, beta = gamma[wide], beta[wide]
        return gamma * (h + (self.alpha * apart)[wide]) + beta


class _Residual(Block):
    def __init__(self, dims: int, cin: int, cout: int, dilation: int, begins: bool, told: int):
        super().__init__()
        width = cin if begins else cout
        self.norms = nn.ModuleList([_Norm(cin, told), _Norm(width, told)])
        self.first, self.second = _conv(dims, cin, width, 3, dilation), _conv(dims, width, cout, 3, dilation)
        self.skip = _conv(dims, cin, cout, 1 if dilation == 1 else 3, dilation) if begins or cin != cout else None
        self.halve = Halve() if begins and dilation == 1 else nn.Identity()

    def forward(self, x: Tensor, told: Tensor | None) -> Tensor:
        h = self.first(F.elu(self.norms[0](x, told)))
        h = self.halve(self.second(F.elu(self.norms[1](h, told))))
        return h + (x if self.skip is None else self.halve(self.skip(x)))


class _Units(nn.Module):
    """So many residual units of two convolutions each."""

    def __init__(self, dims: int, channels: int, units: int):
        super().__init__()
        self.convs = nn.ModuleList(_conv(dims, channels, channels, bias=False) for _ in range(2 * units))

    def forward(self, x: Tensor) -> Tensor:
        for first, second in zip(self.convs[::2], self.convs[1::2], strict=True):
            x = x + second(F.elu(first(F.elu(x))))
        return x


class _Refine(nn.Module):
    """Sums what comes in, the fine first, at its resolution; then pools in a chain, and smooths."""

    def __init__(self, dims: int, cins: list[int], features: int, units: int):
        super().__init__()
        self.adapt = nn.ModuleList(_Units(dims, cin, 2) for cin in cins)
        self.merge = nn.ModuleList(_conv(dims, cin, features) for cin in cins) if len(cins) > 1 else None
        self.chain = nn.ModuleList(_conv(dims, features, features, bias=False) for _ in range(2))
        self.leave = _Units(dims, features, units)

    def forward(self, xs: list[Tensor]) -> Tensor:
        mode = ("linear", "bilinear", "trilinear")[xs[0].ndim - 3]
        pool = getattr(F, f"max_pool{xs[0].ndim - 2}d")
        hs = [adapt(x) for adapt, x in zip(self.adapt, xs, strict=True)]
        if self.merge is not None:
            fine, coarse = (conv(h) for conv, h in zip(self.merge, hs, strict=True))
            hs = [fine + F.interpolate(coarse, size=fine.shape[2:], mode=mode, align_corners=True)]
        h = path = F.elu(hs[0])
        for conv in self.chain:
            path = conv(pool(path, 5, stride=1, padding=2))
            h = h + path
        return self.leave(h)
