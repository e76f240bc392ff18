"""U-ViT, a transformer to which everything is a token, with long skips."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from torch import Tensor, nn

from ...conditions import Kind
from ...errors import InputError
from ...settings import Count, Positive, Range
from ..base import Network
from ..parts.blocks import zero
from ..parts.conditioning import Conditioner, Embedded
from ..parts.embedding import frequencies, waves
from ..parts.patches import Patches
from ..parts.transformer import TransformerBlock, begin


class UViT(Network):
    """A transformer over patches, the level and what is known: `net(x, c)`, x (B, C, *space), c (B,) -> like x.

    The first half of the blocks are joined to the last half by long skips, and a convolution of 3 pixels makes the
    answer.  The sizes of the paper are `nets.presets.uvit`.  Another network of that name, of convolutions around a
    transformer, is `SimpleUViT`.

    Bao et al. (2022), All are Worth Words, arXiv 2209.12152.

    Arguments:
        shape, patch, width, heads, ratio, dropout, outputs: as in `DiT`.
        blocks: of the transformer, an odd number: half of the others before the middle one, and half after it.
        conditions: kinds by their names: it is then `net(x, c, cond)`; labels and vectors are one token, sequences are
            tokens, and pictures are channels beside x.

    Raises:
        InputError: as `DiT` does, and an even number of blocks.
    """

    def __init__(
        self,
        shape: Sequence[Count],
        patch: Count = 2,
        width: Annotated[int, Range(2, 2**16)] = 512,
        blocks: Count = 13,
        heads: Count = 8,
        ratio: Positive = 4.0,
        dropout: Annotated[float, Range(0, below=1)] = 0.0,
        outputs: Count = 1,
        conditions: Mapping[str, Kind] | None = None,
    ):
        super().__init__()
        if blocks % 2 == 0:
            raise InputError(f"blocks={blocks}: give an odd number, as one is in the middle", "blocks")
        if width % 2:
            raise InputError(f"width={width}: give an even number", "width")
        self.shape, self.outputs, self.patches = tuple(shape), outputs, Patches(shape, patch)
        self.conditions = dict(conditions or {})
        self.register_buffer("frequencies", frequencies(width // 2))
        self.conditioner = told = Conditioner(conditions, width) if conditions else None
        extra, beside = (told.channels, told.vectors + told.length) if told else (0, 0)
        self.enter = nn.Linear((shape[0] + extra) * self.patches.pixels, width)
        self.places = nn.Parameter(0.02 * torch.randn(1 + beside + self.patches.count, width))
        block = lambda: TransformerBlock(width, heads, ratio=ratio, dropout=dropout, bias=False)
        self.down = nn.ModuleList(block() for _ in range(blocks // 2))
        self.middle, self.up = block(), nn.ModuleList(block() for _ in range(blocks // 2))
        self.join = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(blocks // 2))
        channels = outputs * shape[0]
        self.norm, self.out = nn.LayerNorm(width, eps=1e-6), nn.Linear(width, channels * self.patches.pixels)
        begin(self)
        self.leave = zero(getattr(nn, f"Conv{len(shape) - 1}d")(channels, channels, 3, padding=1))

    def forward(self, x: Tensor, c: Tensor, cond: Mapping[str, Tensor] | None = None) -> Tensor:
        given = self.conditioner(cond or {}, x) if self.conditioner else Embedded()
        x = x if given.channels is None else torch.cat([x, given.channels], 1)
        h, mask = self._tokens(self.enter(self.patches.fold(x)), c, given)
        skips = []
        for block in self.down:
            h = block(h, None, None, mask)
            skips.append(h)
        h = self.middle(h, None, None, mask)
        for join, block in zip(self.join, self.up, strict=True):
            h = block(join(torch.cat([h, skips.pop()], -1)), None, None, mask)
        return self.leave(self.patches.unfold(self.out(self.norm(h[:, -self.patches.count :]))))

    def _tokens(self, h: Tensor, c: Tensor, given: Embedded) -> tuple[Tensor, Tensor | None]:
        """Level, vector, sequences and patches with their places, and which of them are there; None: all."""
        parts = [waves(c, self.frequencies).to(h.dtype)[:, None]]
        parts += [] if given.vector is None else [given.vector[:, None]]
        before = len(parts)
        parts += [] if given.tokens is None else [given.tokens]
        mask = given.mask
        if mask is not None:
            sure = lambda n: mask.new_ones(len(mask), n)
            mask = torch.cat([sure(before), mask, sure(h.shape[1])], 1)
        return torch.cat([*parts, h], 1) + self.places, mask
