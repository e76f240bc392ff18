"""Attention that networks share."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import InputError

FEW = 2**16  # weights of a head below which a CPU's half precision multiplies them out


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(q k' / sqrt(d)) v, over what the mask says is there.

    On a CPU torch's own takes 2 to 10 times as long in half precision as the two products apart, where these are
    small, and as itself in single precision elsewhere.  Vaswani et al. (2017), arXiv 1706.03762.

    Arguments:
        q: (B, heads, N, d).
        k, v: (B, heads, L, d).
        mask: (B, L), true where a key is there.
    """
    mask = mask if mask is None else mask[:, None, None]
    if q.device.type != "cpu" or q.dtype not in (torch.bfloat16, torch.float16):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    if q.shape[-2] * k.shape[-2] >= FEW:
        return F.scaled_dot_product_attention(q.float(), k.float(), v.float(), attn_mask=mask).to(v.dtype)
    weights = (q * q.shape[-1] ** -0.5) @ k.mT
    weights = weights if mask is None else weights.masked_fill(~mask, -torch.inf)
    return weights.softmax(-1).to(v.dtype) @ v


class CrossAttention(nn.Module):
    """Attention of h (B, N, channels) to tokens (B, L, context): what is added to h; nothing, before training.

    Vaswani et al. (2017), arXiv 1706.03762; in U-Nets Rombach et al. (2022), arXiv 2112.10752.
    """

    def __init__(self, channels: int, context: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(channels)
        self.q, self.kv = nn.Linear(channels, channels), nn.Linear(context, 2 * channels)
        self.out = nn.Linear(channels, channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, h: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        q = self.q(self.norm(h)).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k, v = self.kv(tokens).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        found = attention(q, k, v, mask)
        return self.out(found.transpose(1, 2).flatten(2))


class RMSNorm(nn.RMSNorm):
    """x over its root mean square, with learned scales, in the type of x.  Zhang, Sennrich (2019), arXiv 1910.07467."""

    def __init__(self, width: int):
        super().__init__(width, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)


class SelfAttention(nn.Module):
    """Attention of h (B, N, width) to itself, of those of its tokens that the mask (B, N) says are there.

    Arguments:
        width: of the tokens.
        heads: a divisor of it.
        bias: whether queries, keys and values have one.
        normed: whether queries and keys are normalised to unit mean square, with a learned scale (Dehghani et al.,
            2023, arXiv 2302.05442).

    Raises:
        InputError: heads that cannot share the width.
    """

    def __init__(self, width: int, heads: int, bias: bool = True, normed: bool = False):
        super().__init__()
        if width % heads:
            raise InputError(f"heads={heads}: give a divisor of width={width}", "heads")
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=bias), nn.Linear(width, width)
        self.q_norm, self.k_norm = (RMSNorm(width // heads) if normed else nn.Identity() for _ in range(2))

    def forward(self, h: Tensor, mask: Tensor | None = None, turn: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        q, k, v = self.qkv(h).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = self.q_norm(q), self.k_norm(k)
        if turn is not None:
            q, k = turn(q), turn(k)
        found = attention(q, k, v, mask)
        return self.out(found.transpose(1, 2).flatten(2))
