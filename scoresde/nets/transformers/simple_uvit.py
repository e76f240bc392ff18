"""Simple diffusion's UViT: convolutions around a transformer."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...conditions import Kind
from ...errors import InputError
from ...settings import LATER, Count, Positive, Range
from ..base import Network
from ..parts.blocks import ConvBlock, norm, zero
from ..parts.conditioning import Conditioner, tell
from ..parts.embedding import LevelEmbedding
from ..parts.patches import Patches
from ..parts.transformer import TransformerBlock, begin


class SimpleUViT(Network):
    """Few convolutions around a deep transformer: `net(x, c)`, x (B, C, *space), c (B,) -> like x.

    Resolution halves after each entry of `mults`, and most of the parameters are in the middle, where the pixels are
    few.  The dropout is in the transformer alone, as the paper found better.  The level modulates the transformer as in
    `DiT`.  `UViT` is another network.  The size of the paper is `nets.presets.simple_uvit`.

    Hoogeboom, Heek, Salimans (2023), Simple diffusion, arXiv 2301.11093, section 3.3.

    Arguments:
        shape: of x, (C, *space) with 1 to 3 space axes, of any size.
        channels: of the first layer, a multiple of 8.
        mults: the factors of `channels`, one for each resolution above the transformer's.
        convolutions: residual blocks for each of them, on the way down and on the way up.
        width: of the transformer's tokens.
        blocks: of the transformer.
        heads, ratio, outputs: as in `DiT`.
        dropout: the chance of a hidden feature of the transformer's MLPs.
        conditions: as in `DiT`; the transformer attends to tokens.
        patch: the pixels of a patch along each axis, a divisor of each size, which are channels of the first
            convolution and of the answer: no features at the full resolution, as the paper has it from 256 pixels on.

    Raises:
        InputError: data without a channel and one to three space axes, or settings that do not go together.
    """

    def __init__(
        self,
        shape: Sequence[Count],
        channels: Annotated[int, Range(8, 2**16)] = 64,
        mults: Sequence[Count] = (1, 2),
        convolutions: Count = 2,
        width: Count = 512,
        blocks: Count = 8,
        heads: Count = 8,
        ratio: Positive = 4.0,
        dropout: Annotated[float, Range(0, below=1)] = 0.0,
        outputs: Count = 1,
        conditions: Mapping[str, Kind] | None = None,
        patch: Annotated[Count, LATER] = 1,
    ):
        super().__init__()
        shape = tuple(shape)
        self.shape, self.outputs = shape, outputs
        if not 2 <= len(shape) <= 4:
            raise InputError(f"shape={shape}: give (channels, *space) with 1 to 3 space axes", "shape")
        if channels % 8:
            raise InputError(f"channels={channels}: give a multiple of 8", "channels")
        if not mults:
            raise InputError("mults=[]: give at least one whole number", "mults")
        self.patches = Patches(shape, patch) if patch > 1 else None
        pixels, space = (self.patches.pixels, self.patches.grid) if self.patches else (1, shape[1:])
        level, conv, self.conditions = 4 * channels, getattr(nn, f"Conv{len(shape) - 1}d"), dict(conditions or {})
        self.embed = LevelEmbedding(level)
        self.conditioner = Conditioner(conditions, level) if conditions else None
        extra, context = (self.conditioner.channels, self.conditioner.sequences) if conditions else (0, False)
        widths = [m * channels for m in mults]
        for _ in mults:
            space = tuple((s + 1) // 2 for s in space)
        self.places = nn.Parameter(0.02 * torch.randn(torch.Size(space).numel(), width))
        self.blocks = nn.ModuleList(
            TransformerBlock(width, heads, level, context * level, ratio, dropout) for _ in range(blocks)
        )
        begin(self)
        self.enter = conv((shape[0] + extra) * pixels, widths[0], 3, padding=1)
        block = lambda cin, cout: ConvBlock(conv, cin, cout, level, 0.0, 0)
        self.down = nn.ModuleList(nn.ModuleList(block(w, w) for _ in range(convolutions)) for w in widths)
        self.up = nn.ModuleList(nn.ModuleList(block(2 * w, w) for _ in range(convolutions)) for w in widths)
        pairs = list(zip(widths, [*widths[1:], width], strict=True))
        self.shrink = nn.ModuleList(conv(a, b, 3, stride=2, padding=1) for a, b in pairs)
        self.grow = nn.ModuleList(conv(b, a, 3, padding=1) for a, b in pairs)
        answer = outputs * shape[0] * pixels
        self.leave = nn.Sequential(norm(widths[0]), nn.SiLU(), zero(conv(widths[0], answer, 3, padding=1)))

    def forward(self, x: Tensor, c: Tensor, cond: Mapping[str, Tensor] | None = None) -> Tensor:
        x, level, given = tell(self.conditioner, x, self.embed(c), cond)
        x = x if self.patches is None else self.patches.folded(x)
        level, h, skips = F.silu(level), self.enter(x), []
        for blocks, shrink in zip(self.down, self.shrink, strict=True):
            for block in blocks:
                h = block(h, level, given)
                skips.append(h)
            h = shrink(h)
        tokens = h.flatten(2).transpose(1, 2) + self.places
        for block in self.blocks:
            tokens = block(tokens, level, given)
        h = tokens.transpose(1, 2).reshape(h.shape)
        for blocks, grow in reversed([*zip(self.up, self.grow, strict=True)]):
            h = grow(F.interpolate(h, size=skips[-1].shape[2:], mode="nearest"))
            for block in blocks:
                h = block(torch.cat([h, skips.pop()], 1), level, given)
        answer = self.leave(h)
        return answer if self.patches is None else self.patches.unfolded(answer)
