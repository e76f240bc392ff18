"""The transformer block that all transformers here share, and the layers around the blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional as F

from .attention import CrossAttention, RMSNorm, SelfAttention
from .blocks import zero
from .runs import Block

if TYPE_CHECKING:
    from .conditioning import Embedded


class SwiGLU(nn.Module):
    """W_3 (silu(W_1 h) * W_2 h), of two thirds of the hidden width, which has the parameters of an MLP of the whole.

    Shazeer (2020), arXiv 2002.05202.
    """

    def __init__(self, width: int, hidden: int, dropout: float):
        super().__init__()
        hidden = 2 * hidden // 3
        self.enter, self.dropout = nn.Linear(width, 2 * hidden), nn.Dropout(dropout)
        self.leave = nn.Linear(hidden, width)

    def forward(self, h: Tensor) -> Tensor:
        a, b = self.enter(h).chunk(2, -1)
        return self.leave(self.dropout(F.silu(a) * b))


def mlp(width: int, hidden: int, dropout: float) -> nn.Module:
    """Two layers with GELU between them."""
    layers = nn.Linear(width, hidden), nn.GELU("tanh"), nn.Dropout(dropout), nn.Linear(hidden, width)
    return nn.Sequential(*layers)


class TransformerBlock(Block):
    """Self-attention, attention to tokens of the width `context` > 0, and an MLP, each added to what comes in.

    With a `level` > 0, the width of an embedding of the level, it shifts and scales the input of the first and the
    last, and scales what they give, which is nothing before training: adaLN-zero (Peebles, Xie, 2022, arXiv
    2212.09748, section 3.2).

    Arguments:
        width: of the tokens.
        heads: of attention, a divisor of it.
        level, context: see above; 0: none.
        ratio: the hidden width of the MLP, of `width`.
        dropout: the chance of a hidden feature of the MLP.
        modern: RMS norms for layer norms, of queries and keys too, and SwiGLU for GELU.
        bias: whether queries, keys and values have one.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        level: int = 0,
        context: int = 0,
        ratio: float = 4.0,
        dropout: float = 0.0,
        modern: bool = False,
        bias: bool = True,
    ):
        super().__init__()
        norm = lambda: RMSNorm(width) if modern else _norm(width, level)
        self.first, self.attend = norm(), SelfAttention(width, heads, bias, normed=modern)
        self.cross = CrossAttention(width, context, heads) if context else None
        self.second, self.mlp = norm(), (SwiGLU if modern else mlp)(width, int(ratio * width), dropout)
        self.modulate = nn.Linear(level, 6 * width) if level else None

    def forward(
        self,
        h: Tensor,
        level: Tensor | None = None,
        given: Embedded | None = None,
        mask: Tensor | None = None,
        turn: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        told = self.modulate(level)[:, None].chunk(6, -1) if self.modulate else (0, 0, 1) * 2
        h = h + told[2] * self.attend(self.first(h) * (1 + told[1]) + told[0], mask, turn)
        if self.cross is not None:
            h = h + self.cross(h, given.tokens, given.mask)
        return h + told[5] * self.mlp(self.second(h) * (1 + told[4]) + told[3])


def _norm(width: int, level: int) -> nn.Module:
    return nn.LayerNorm(width, eps=1e-6, elementwise_affine=not level)


class Leave(nn.Module):
    """The last layer: tokens, normalised, shifted and scaled by the level, to patches; 0 before training."""

    def __init__(self, width: int, level: int, size: int, modern: bool = False):
        super().__init__()
        self.norm = RMSNorm(width) if modern else _norm(width, level)
        self.modulate, self.out = nn.Linear(level, 2 * width), nn.Linear(width, size)

    def forward(self, h: Tensor, level: Tensor) -> Tensor:
        shift, scale = self.modulate(level)[:, None].chunk(2, -1)
        return self.out(self.norm(h) * (1 + scale) + shift)


def begin(net: nn.Module) -> None:
    """The weights of a transformer before training: Glorot's in the linear layers, biases of 0, and 0 in what
    modulates and what leaves, so that each block is the identity and the answer 0."""
    for module in net.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for module in net.modules():
        if isinstance(module, TransformerBlock | Leave) and module.modulate is not None:
            zero(module.modulate)
        if isinstance(module, Leave | CrossAttention):
            zero(module.out)
