"""A network that adds to the noise of a normal distribution."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..settings import Count
from .base import Network


class Mixed(Network):
    """The expected noise of N(0, I), mixed with a network's, channel by channel: for the rule "eps".

        net(x, c) = (1 - a) sigma / n x + a f(x, c),    n^2 = alpha^2 + sigma^2,  x here x_t / n

    The first part alone is exact where x_0 ~ N(0, I); a in (0, 1) is learned for each channel, and begins small, so
    that a training begins at that distribution: for latents that are trained with the model, and are near it.

    Vahdat, Kreis, Kautz (2021), Score-based Generative Modeling in Latent Space, arXiv 2106.05931, section 3.2.

    Arguments:
        shape: of x, channels first.
        net: f(x, c), or f(x, c, cond) with `conditions`, of an answer like x.
        start: a at the beginning.

    Raises:
        InputError: a network of several outputs.
    """

    def __init__(self, shape: Sequence[Count], net: nn.Module, start: float = 0.05):
        super().__init__()
        self.net, self.conditions = net, dict(getattr(net, "conditions", None) or {})
        if (outputs := getattr(net, "outputs", 1)) != 1:
            raise InputError(f"net has outputs={outputs}: a mixture with a normal needs outputs=1", "net")
        if not 0 < start < 1:
            raise InputError(f"start={start}: give a share between 0 and 1", "start")
        self.mixing = nn.Parameter(torch.full((shape[0], *[1] * (len(shape) - 1)), math.log(start / (1 - start))))

    def forward(self, x: Tensor, c: Tensor, cond: Mapping[str, Tensor] | None = None) -> Tensor:
        """The mixture, of x (B, *shape), like x.

        Arguments:
            x: x_t / n (B, *shape).
            c: log(sigma / alpha) (B,).
            cond: tensors by name with B rows each; what is absent is missing.

        Returns:
            (B, *shape).
        """
        f = self.net(x, c, cond or {}) if self.conditions else self.net(x, c)
        a, sigma = self.mixing.sigmoid(), torch.sigmoid(2 * c).sqrt().to(x.dtype)
        return (1 - a) * sigma.reshape(-1, *[1] * (x.ndim - 1)) * x + a * f
