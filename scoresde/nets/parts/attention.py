"""Attention that networks share."""

from torch import Tensor, nn
from torch.nn import functional as F


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
        found = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None])
        return self.out(found.transpose(1, 2).flatten(2))
