"""A weight of the loss that is learned, by level."""

import math

import torch
from torch import Tensor, nn

WAVES = 64


class Uncertainty(nn.Module):
    """u(c), trained beside the denoiser to bring the losses of all levels to one size:

        loss e^(-u(c)) + u(c),    c = log(sigma / alpha)

    which is least where e^u is the mean loss at c, so that there all levels have the gradient of a mean loss of 1.
    It begins at 0, the loss as it is.  u is a weighted sum of fixed random waves of c / 4, and one constant.

    Karras, Aittala, Lehtinen, Hellsten, Aila, Laine (2023), EDM2, arXiv 2312.02696, appendix B.2; after Kendall, Gal,
    Cipolla (2018), arXiv 1705.07115.
    """

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.register_buffer("frequencies", 2 * math.pi * torch.randn(WAVES, generator=generator), persistent=False)
        self.register_buffer("phases", 2 * math.pi * torch.rand(WAVES, generator=generator), persistent=False)
        self.weight, self.bias = nn.Parameter(torch.zeros(WAVES)), nn.Parameter(torch.zeros(()))

    def at(self, c: Tensor) -> Tensor:
        """u of c (B,): (B,)."""
        waves = torch.cos(c.to(self.weight.dtype)[:, None] / 4 * self.frequencies + self.phases)
        return waves @ self.weight + self.bias

    def forward(self, losses: Tensor, c: Tensor) -> Tensor:
        """The losses (B,) of rows at the levels c (B,), weighted."""
        u = self.at(c.to(losses.device)).to(losses.dtype)
        return losses * torch.exp(-u) + u
