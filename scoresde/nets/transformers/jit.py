"""JiT, a plain transformer over large patches of raw pixels."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...conditions import Kind
from ...errors import InputError
from ...settings import Count, Positive, Range, Whole
from ..base import Network
from ..parts.conditioning import Conditioner, Embedded, tell
from ..parts.embedding import LevelEmbedding
from ..parts.patches import Patches
from ..parts.positions import Rotary, sincos
from ..parts.transformer import Leave, TransformerBlock, begin


class JiT(Network):
    """A plain transformer over large patches: `net(x, c)`, x (B, C, *space), c (B,) -> like x.

    A patch may have more numbers than a token: noise, which fills them all, does not pass, and the data, which lie
    near few dimensions, do.  So it should predict the data: `rule="x0"`; the default weight, `loss.edm(1.0)`, makes the
    loss that of v, and the paper's times, `loss.lognormal(0.8, 0.8)`, keep it from growing where there is little noise.
    Patches pass a bottleneck; norms are of the mean square, positions turn queries and keys, and what is known of a
    sample joins the patches as tokens.  The sizes of the paper are `nets.presets.jit`.

    Li, He (2025), Back to Basics: Let Denoising Generative Models Denoise, arXiv 2511.13720.

    Arguments:
        shape, patch, width, blocks, ratio, dropout, outputs: as in `DiT`.
        heads: of attention; the width of each must be even.
        bottleneck: numbers that a patch passes on its way in.
        context: tokens in which labels and vectors, which are added to the level's embedding, enter once more.
        start: the block before which they join.
        conditions: kinds by their names: it is then `net(x, c, cond)`; sequences join the patches with the context, and
            pictures are channels beside x.

    Raises:
        InputError: as `DiT` does; a start beyond the blocks.
    """

    def __init__(
        self,
        shape: Sequence[Count],
        patch: Count = 16,
        width: Annotated[int, Range(2, 2**16)] = 768,
        blocks: Count = 12,
        heads: Count = 12,
        bottleneck: Count = 128,
        context: Whole = 32,
        start: Whole = 4,
        ratio: Positive = 4.0,
        dropout: Annotated[float, Range(0, below=1)] = 0.0,
        outputs: Count = 1,
        conditions: Mapping[str, Kind] | None = None,
    ):
        super().__init__()
        if width % (2 * heads):
            raise InputError(f"heads={heads}: give one that leaves an even width of each, of width={width}", "heads")
        if start >= blocks:
            raise InputError(f"start={start}: give a whole number below blocks={blocks}", "start")
        self.shape, self.outputs, self.patches = tuple(shape), outputs, Patches(shape, patch)
        self.conditions = dict(conditions or {})
        self.start, self.embed = start, LevelEmbedding(width, waves=128)
        self.conditioner = told = Conditioner(conditions, width) if conditions else None
        size = (shape[0] + (told.channels if told else 0)) * self.patches.pixels
        self.enter = nn.Sequential(nn.Linear(size, bottleneck, bias=False), nn.Linear(bottleneck, width))
        self.register_buffer("positions", sincos(self.patches.grid, width), persistent=False)
        self.places = nn.Parameter(0.02 * torch.randn(context, width)) if told and told.vectors and context else None
        self.turn = Rotary(self.patches.grid, width // heads)
        self.blocks = nn.ModuleList(
            TransformerBlock(width, heads, width, 0, ratio, dropout, modern=True) for _ in range(blocks)
        )
        self.leave = Leave(width, width, outputs * shape[0] * self.patches.pixels, modern=True)
        begin(self)

    def forward(self, x: Tensor, c: Tensor, cond: Mapping[str, Tensor] | None = None) -> Tensor:
        x, level, given = tell(self.conditioner, x, self.embed(c), cond)
        level, h, mask = F.silu(level), self.enter(self.patches.fold(x)) + self.positions.to(x.dtype), None
        for i, block in enumerate(self.blocks):
            if i == self.start:
                h, mask = self._join(h, given)
            h = block(h, level, None, mask, self.turn)
        return self.patches.unfold(self.leave(h[:, -self.patches.count :], level))

    def _join(self, h: Tensor, given: Embedded) -> tuple[Tensor, Tensor | None]:
        """The sequences and the context before the patches, and which of them are there; None: all."""
        parts = [] if given.tokens is None else [given.tokens]
        parts += [] if self.places is None else [given.vector[:, None] + self.places]
        h, mask = torch.cat([*parts, h], 1), given.mask
        return h, mask if mask is None else F.pad(mask, (0, h.shape[1] - mask.shape[1]), value=True)
