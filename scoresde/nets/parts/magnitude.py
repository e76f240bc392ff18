"""Layers that keep the magnitude of what passes, its root mean square, which is 1 for all of a network.

Karras et al. (2023), Analyzing and Improving the Training Dynamics of Diffusion Models, arXiv 2312.02696.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .attention import attention


def normalise(x: Tensor, *axes: int) -> Tensor:
    """x over its root mean square along the axes; 0 stays 0.  In float32 at least."""
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    norm = torch.linalg.vector_norm(x, dim=axes, keepdim=True, dtype=dtype)
    return x / (1e-4 + norm * math.sqrt(norm.numel() / x.numel())).to(x.dtype)


def mp_silu(x: Tensor) -> Tensor:
    """SiLU over its root mean square for normal x, 0.596.  Equation 81."""
    return F.silu(x) / 0.596


def mp_sum(a: Tensor, b: Tensor, t: float) -> Tensor:
    """(1 - t) a + t b over the magnitude that it has for independent a and b of magnitude 1.  Equation 88."""
    dtype = torch.promote_types(a.dtype, b.dtype)  # under autocast a sum of a layer's answer and of its input is of two
    return a.to(dtype).lerp(b.to(dtype), t) / math.hypot(1 - t, t)


def mp_cat(a: Tensor, b: Tensor, t: float = 0.5) -> Tensor:
    """a and b side by side in the channels, weighed so that the magnitude is 1, t of it from b.  Equation 103."""
    n, m = a.shape[1], b.shape[1]
    scale = math.sqrt((n + m) / ((1 - t) ** 2 + t**2))
    return torch.cat([a * (scale * (1 - t) / math.sqrt(n)), b * (scale * t / math.sqrt(m))], 1)


class MPLayer(nn.Module):
    """A linear layer, or a convolution over `dims` axes, whose weights to each output have norm 1; it has no bias.

    Where it trains, the weights are also forced to the magnitude 1 (`force`): so their relative change in a step is the
    rate of learning, which else would fall as they grow.  Equations 47 and 66.
    """

    def __init__(self, cin: int, cout: int, kernel: int = 1, dims: int = 0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(cout, cin, *[kernel] * dims))

    def forward(self, x: Tensor, gain: Tensor | float = 1.0) -> Tensor:
        axes = range(1, self.weight.ndim)
        size = math.prod(self.weight.shape[1:])
        weight = normalise(self.weight, *axes) * (gain / math.sqrt(size))
        if weight.ndim == 2:
            return F.linear(x, weight.to(x.dtype))
        conv = (F.conv1d, F.conv2d, F.conv3d)[weight.ndim - 3]
        return conv(x, weight.to(x.dtype), padding=weight.shape[2] // 2)


@torch.no_grad()
def force(net: nn.Module) -> None:
    """Gives the weights of every `MPLayer` in a network the magnitude 1.

    To be called once a forward pass in training, at its start: the optimizer's step, the average and a checkpoint have
    the weights that it left, so that one that goes on does the same.
    """
    for module in net.modules():
        if isinstance(module, MPLayer):
            weight = module.weight.data  # another pass of the same step may hold a graph of them
            weight.copy_(normalise(weight, *range(1, weight.ndim)))


class MPFourier(nn.Module):
    """c (B,) to sqrt(2) cos(2 pi (f c + p)) (B, features), of random frequencies f and phases p.  Equation 75."""

    def __init__(self, features: int):
        super().__init__()
        self.register_buffer("frequencies", 2 * math.pi * torch.randn(features))
        self.register_buffer("phases", 2 * math.pi * torch.rand(features))

    def forward(self, c: Tensor) -> Tensor:
        with torch.autocast(c.device.type, enabled=False):
            angle = c.float()[:, None] * self.frequencies.float() + self.phases.float()
            return math.sqrt(2) * angle.cos()


class MPAttention(nn.Module):
    """Attention of h (B, N, channels) to itself, or to tokens (B, L, context), by cosines: the queries, keys and values
    of a head have the magnitude 1."""

    def __init__(self, channels: int, heads: int, context: int = 0):
        super().__init__()
        self.heads = heads
        self.q = MPLayer(channels, channels)
        self.kv, self.out = MPLayer(context or channels, 2 * channels), MPLayer(channels, channels)

    def forward(self, h: Tensor, tokens: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        q = self.q(h).unflatten(-1, (1, self.heads, -1))
        kv = self.kv(h if tokens is None else tokens).unflatten(-1, (2, self.heads, -1))
        q, k, v = (normalise(part, -1).transpose(1, 2) for part in (*q.unbind(2), *kv.unbind(2)))
        found = attention(q, k, v, mask)
        return self.out(found.transpose(1, 2).flatten(2))
