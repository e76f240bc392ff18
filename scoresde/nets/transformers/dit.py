"""DiT, a transformer over patches that the level modulates."""

from collections.abc import Mapping, Sequence
from typing import Annotated

from torch import Tensor, nn
from torch.nn import functional as F

from ...conditions import Kind
from ...settings import Count, Positive, Range
from ..base import Network
from ..parts.conditioning import Conditioner, tell
from ..parts.embedding import LevelEmbedding
from ..parts.patches import Patches
from ..parts.positions import sincos
from ..parts.transformer import Leave, TransformerBlock, begin


class DiT(Network):
    """A transformer over patches: `net(x, c)`, x (B, C, *space), c (B,) -> like x.

    The level, and what is added to it, shifts, scales and gates every block (adaLN-zero).  The sizes of the paper are
    `nets.presets.dit`.

    Peebles, Xie (2022), Scalable Diffusion Models with Transformers, arXiv 2212.09748.

    Arguments:
        shape: of x, (C, *space) with 1 to 3 space axes.
        patch: the pixels of a patch along each axis, a divisor of each size; an axis that is shorter is one patch.
        width: of the tokens, an even number.
        blocks: of the transformer.
        heads: of attention, a divisor of `width`.
        ratio: the hidden width of the MLPs, of `width`.
        dropout: the chance of a hidden feature of the MLPs.
        outputs: how many tensors like x the answer has, side by side in the channels.
        conditions: kinds by their names: it is then `net(x, c, cond)`; labels and vectors are added to the level's
            embedding, pictures are channels beside x, and each block attends to tokens.

    Raises:
        InputError: data without a channel and one to three space axes, or settings that do not go together.
    """

    def __init__(
        self,
        shape: Sequence[Count],
        patch: Count = 2,
        width: Annotated[int, Range(2, 2**16)] = 384,
        blocks: Count = 12,
        heads: Count = 6,
        ratio: Positive = 4.0,
        dropout: Annotated[float, Range(0, below=1)] = 0.0,
        outputs: Count = 1,
        conditions: Mapping[str, Kind] | None = None,
    ):
        super().__init__()
        self.shape, self.outputs, self.patches = tuple(shape), outputs, Patches(shape, patch)
        self.conditions = dict(conditions or {})
        self.embed = LevelEmbedding(width, waves=128)
        self.conditioner = Conditioner(conditions, width) if conditions else None
        extra, context = (self.conditioner.channels, self.conditioner.sequences) if conditions else (0, False)
        self.enter = nn.Linear((shape[0] + extra) * self.patches.pixels, width)
        self.register_buffer("positions", sincos(self.patches.grid, width), persistent=False)
        self.blocks = nn.ModuleList(
            TransformerBlock(width, heads, width, context * width, ratio, dropout) for _ in range(blocks)
        )
        self.leave = Leave(width, width, outputs * shape[0] * self.patches.pixels)
        begin(self)

    def forward(self, x: Tensor, c: Tensor, cond: Mapping[str, Tensor] | None = None) -> Tensor:
        x, level, given = tell(self.conditioner, x, self.embed(c), cond)
        level, h = F.silu(level), self.enter(self.patches.fold(x)) + self.positions.to(x.dtype)
        for block in self.blocks:
            h = block(h, level, given)
        return self.patches.unfold(self.leave(h, level))
